//! What counts as another file, and what does not.

use dmdr_events::OwnedRun;
use tempfile::TempDir;

use super::*;

/// A pipeline's folder and a run.
struct Scene {
    dir: TempDir,
    run: OwnedRun,
}

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("temp dir");
        let run = OwnedRun::create(dir.path(), "run").expect("writable");
        let place = Self { dir, run };
        for name in [
            "base/model_index.json",
            "base/unet/config.json",
            "base/unet/diffusion_pytorch_model.safetensors",
            "base/tokenizer/merges.txt",
        ] {
            place.write(name, name);
        }
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("writable");
        fs::write(path, text).expect("writable");
    }

    fn inputs(&self) -> Inputs {
        let named = [("teacher.weights".to_owned(), self.path("base"))];
        Inputs::listed(named.into(), "student.init").expect("readable")
    }

    fn check(&self) -> Result<Option<String>, String> {
        let checked = self.inputs().check(&self.run);
        checked.map_err(|error| error.to_string())
    }

    fn refused(&self, name: &str, words: &[&str]) {
        let error = self.check().expect_err(name);
        for word in [&[name, "teacher.weights", "student.init"], words].concat() {
            assert!(error.contains(word), "{word}: {error}");
        }
    }
}

#[test]
fn a_file_that_changed_came_or_went_is_named() {
    let place = Scene::new();
    assert_eq!(place.check(), Ok(None), "it has not begun");
    place.inputs().keep(&place.run).expect("writable");
    assert_eq!(place.check(), Ok(None));

    let weights = "base/unet/diffusion_pytorch_model.safetensors";
    place.write(weights, "base/unet/diffusion_pytorch_model.safetensorz"); // of the same size
    place.refused(weights, &["expected SHA-256", "found SHA-256"]);
    let error = place.inputs().keep(&place.run).expect_err("the same check");
    assert!(error.to_string().contains(weights), "{error}");
    place.write(weights, weights); // the old file is back, with another time
    assert_eq!(place.check(), Ok(None));

    place.write("base/tokenizer/added_tokens.json", "{}");
    place.refused("added_tokens.json", &["expected no file"]);
    fs::remove_file(place.path("base/tokenizer/added_tokens.json")).expect("there");
    fs::remove_file(place.path("base/tokenizer/merges.txt")).expect("there");
    place.refused("merges.txt", &["found no file"]);
}

#[test]
fn strays_and_other_formats_do_not_matter() {
    let place = Scene::new();
    place.inputs().keep(&place.run).expect("writable");
    for name in [
        "base/README.md",
        "base/onnx/config.json",
        "base/tokenizer.json",
        "base/unet/.cache/x.json",
        "base/unet/other.json",
        "base/unet/pytorch_lora_weights.safetensors",
        "base/unet/diffusion_pytorch_model.fp16.safetensors",
        "base/unet/diffusion_pytorch_model.fp16-00001-of-00002.safetensors",
        "base/unet/diffusion_pytorch_model.bin",
    ] {
        place.write(name, "x");
        assert_eq!(place.check(), Ok(None), "{name}");
    }
}

#[test]
fn what_was_hashed_is_not_hashed_again() {
    let place = Scene::new();
    place.inputs().keep(&place.run).expect("writable");
    let path = place.run.inputs();
    let text = fs::read_to_string(&path).expect("there");
    // A wrong hash goes unseen as long as size and time are those of the record, ...
    let record: Record = serde_json::from_str(&text).expect("a record");
    let first = record.files[0].sha256.clone();
    fs::write(&path, text.replace(&first, &"0".repeat(64))).expect("writable");
    assert_eq!(place.check(), Ok(None));
    // ... and decides when they are not, also if the time of its content is set back.
    let file = fs::File::options()
        .append(true)
        .open(&record.files[0].path)
        .expect("there");
    file.set_modified(std::time::UNIX_EPOCH).expect("writable");
    place.refused(&record.files[0].path, &["expected SHA-256 000000000000.."]);
    // With the right hash the new time is kept.
    fs::write(&path, &text).expect("writable");
    assert_eq!(place.check(), Ok(None));
    let kept: Record =
        serde_json::from_str(&fs::read_to_string(&path).expect("there")).expect("a record");
    assert!(kept.files[0].changed_ns > record.files[0].changed_ns);
}

#[test]
fn a_run_of_an_earlier_version_is_told() {
    let place = Scene::new();
    fs::create_dir(place.run.checkpoint(3)).expect("writable");
    let warning = place.check().expect("no refusal").expect("a warning");
    assert!(warning.contains("has no `inputs.json`"), "{warning}");
    place.inputs().keep(&place.run).expect("writable");
    assert_eq!(place.check(), Ok(None));
    fs::write(place.run.inputs(), "{").expect("writable");
    assert!(place.check().expect_err("damaged").contains("inputs.json"));
}

/// An index names its shards as it likes; each of them counts, and nothing that it does not name.
#[test]
fn shards_count_by_the_index_that_names_them() {
    let place = Scene::new();
    fs::remove_file(place.path("base/unet/diffusion_pytorch_model.safetensors")).expect("there");
    let index = r#"{"weight_map": {"a": "x-1.safetensors", "b": "y.safetensors"}}"#;
    place.write(
        "base/unet/diffusion_pytorch_model.safetensors.index.json",
        index,
    );
    for shard in ["x-1", "y", "z"] {
        place.write(&format!("base/unet/{shard}.safetensors"), shard);
    }
    place.inputs().keep(&place.run).expect("writable");
    place.write("base/unet/z.safetensors", "another");
    assert_eq!(place.check(), Ok(None), "nobody reads it");
    place.write("base/unet/y.safetensors", "z");
    place.refused(
        "base/unet/y.safetensors",
        &["expected SHA-256", "found SHA-256"],
    );
}
