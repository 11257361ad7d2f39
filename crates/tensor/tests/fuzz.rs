//! Damaged weight files, at random: a reader gives tensors or one error that names the file, never half of a network, and never
//! panics. `DMDR_FUZZ_SECONDS` says for how long (one second by default).

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use dmdr_tensor::{
    Device, Init, Kind, ParamStore, Scope, Tensor, TensorError, read_metadata, read_tensors,
};

/// splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    /// One to four damages to `bytes`, most of them in the first `header` bytes.
    fn damage(&mut self, bytes: &mut Vec<u8>, header: usize) {
        for _ in 0..=self.below(4) {
            let end = if self.below(4) == 0 {
                bytes.len()
            } else {
                header.min(bytes.len())
            };
            let place = self.below(end);
            match self.below(7) {
                0 => bytes.truncate(place),
                1 if !bytes.is_empty() => bytes[place] ^= 1 << self.below(8),
                2 if !bytes.is_empty() => bytes[place] = b"0123456789-{}[]\",:eE"[self.below(20)],
                3 => bytes.insert(place, self.next() as u8),
                4 => {
                    let end = (place + self.below(16)).min(bytes.len());
                    bytes.drain(place..end);
                }
                5 => {
                    let end = (place + self.below(32)).min(bytes.len());
                    let copy = bytes[place..end].to_vec();
                    bytes.splice(place..place, copy);
                }
                _ => {
                    // The length of a safetensors header.
                    let length = self.next() >> self.below(64);
                    let count = bytes.len().min(8);
                    bytes[..count].copy_from_slice(&length.to_le_bytes()[..count]);
                }
            }
        }
    }
}

fn network(store: &ParamStore) {
    let scope = Scope::root(store, &[]);
    let _ = scope.sub("a").param("weight", &[3, 2], Init::Zeros);
    let _ = scope.sub("b").param("bias", &[4], Init::Zeros);
}

/// Nothing was loaded, or everything was and is what was stored.
fn is_whole(
    store: &ParamStore,
    outcome: &Result<dmdr_tensor::LoadReport, TensorError>,
    path: &Path,
) {
    let sums = store
        .tensors()
        .into_values()
        .map(|t| t.abs().sum(Kind::Float));
    let is_untouched = sums.into_iter().all(|sum| sum.double_value(&[]) <= 0.0);
    if let Err(error) = outcome {
        assert!(is_untouched, "half a network was loaded: {error}");
        let folder = path.parent().expect("in a folder").display().to_string();
        assert!(
            error.to_string().contains(&folder),
            "no file is named: {error}"
        );
    }
}

#[test]
fn readers_survive_damaged_files() {
    let seconds =
        std::env::var("DMDR_FUZZ_SECONDS").map_or(1, |text| text.parse().expect("seconds"));
    let end = Instant::now() + Duration::from_secs(seconds);
    let dir = tempfile::tempdir().expect("temp dir");
    let file = dir.path().join("network.safetensors");
    let source = ParamStore::trainable(Device::Cpu, 0);
    network(&source);
    for tensor in source.group().tensors {
        let _ = tensor.set_requires_grad(false).fill_(1.0);
    }
    let notes = BTreeMap::from([("format".to_owned(), "fuzz".to_owned())]);
    source.save(&file, Kind::Float, &notes).expect("writable");
    let whole = fs::read(&file).expect("written");
    let header = 8 + u64::from_le_bytes(whole[..8].try_into().expect("eight")) as usize;

    // The same, as two shards and an index.
    let folder = dir.path().join("folder");
    fs::create_dir(&folder).expect("writable");
    let weights = "model.safetensors";
    for (shard, name) in [("1.safetensors", "a.weight"), ("2.safetensors", "b.bias")] {
        let tensors = BTreeMap::from([(name.to_owned(), source.tensor(name).detach())]);
        dmdr_tensor::write_tensors(&folder.join(shard), &tensors, Kind::Float, &BTreeMap::new())
            .expect("writable");
    }
    let index = folder.join(format!("{weights}.index.json"));
    let map = r#"{"metadata": {}, "weight_map": {"a.weight": "1.safetensors", "b.bias": "2.safetensors"}}"#;

    let mut random = Random(1);
    let (mut rounds, mut refused) = (0_u64, 0_u64);
    while Instant::now() < end {
        rounds += 1;
        let mut bytes = whole.clone();
        random.damage(&mut bytes, header);
        fs::write(&file, &bytes).expect("writable");
        let _ = read_metadata(&file);
        let found: Result<BTreeMap<String, Tensor>, TensorError> = read_tensors(&file);
        drop(found);
        let store = ParamStore::frozen(Device::Cpu);
        network(&store);
        let outcome = store.load(&file);
        refused += u64::from(outcome.is_err());
        is_whole(&store, &outcome, &file);

        let mut bytes = map.as_bytes().to_vec();
        let length = bytes.len();
        random.damage(&mut bytes, length);
        fs::write(&index, &bytes).expect("writable");
        let store = ParamStore::frozen(Device::Cpu);
        network(&store);
        let outcome = store.load_folder_of(&folder, weights, &|name| Some(name.to_owned()));
        is_whole(&store, &outcome, &index);
    }
    assert!(
        refused > rounds / 2,
        "{refused} of {rounds} were refused: hardly anything was damaged"
    );
}
