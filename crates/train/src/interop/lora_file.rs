//! Files of our own adapters. Their pairs mean what the config's `alpha / rank` makes of them, so the header tells that factor.

use std::{collections::BTreeMap, path::Path};

use dmdr_config::Lora;
use dmdr_tensor::{ParamStore, read_metadata};

use crate::TrainError;

/// The header's `format`.
pub(crate) const FORMAT: &str = "dmdr.lora";
/// The header's key for `alpha / rank`.
const SCALING: &str = "scaling";

/// `notes` for the header of a file with pairs of `lora`.
pub fn lora_notes(mut notes: BTreeMap<String, String>, lora: &Lora) -> BTreeMap<String, String> {
    notes.insert("format".into(), FORMAT.into());
    notes.insert(SCALING.into(), scaling(lora).to_string());
    notes
}

/// Loads `file`, which config key `key` names, into the pairs of `lora` in `store`.
///
/// # Errors
/// An unreadable or unfitting file, or one whose pairs were made for another factor: their product would be another.
pub(crate) fn load_pairs(
    store: &ParamStore,
    lora: &Lora,
    key: &str,
    file: &Path,
) -> Result<(), TrainError> {
    let header = read_metadata(file)?;
    let own = scaling(lora);
    let found = header
        .get(SCALING)
        .and_then(|text| text.parse::<f64>().ok());
    if let Some(found) = found.filter(|found| (found - own).abs() > 1e-9 * own.abs()) {
        return Err(TrainError::Incompatible {
            what: key.to_owned(),
            reason: format!(
                "the pairs in `{}` were made for alpha / rank = {found}, the config has {own}: set the config's alpha to {}",
                file.display(),
                found * lora.rank as f64
            ),
        });
    }
    match store.load(file) {
        Err(error) if header.get("format").is_none_or(|format| format != FORMAT) => {
            Err(TrainError::Incompatible {
                what: key.to_owned(),
                reason: format!(
                    "{error}; an adapter of another tool is brought with `dmdr import`"
                ),
            })
        }
        Err(error) => Err(error.into()),
        Ok(_) => Ok(()),
    }
}

fn scaling(lora: &Lora) -> f64 {
    lora.alpha / lora.rank as f64
}

#[cfg(test)]
mod tests {
    use dmdr_tensor::{AdapterSpec, Device, Kind, Scope};

    use super::*;

    #[test]
    fn another_alpha_would_change_the_product() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("start.safetensors");
        let lora = |alpha| Lora {
            rank: 2,
            alpha,
            init_lora_weights: dmdr_config::LoraInit::default(),
            targets: None,
        };
        let store = ParamStore::trainable(Device::Cpu, 0);
        let base = ParamStore::frozen(Device::Cpu);
        let specs = [AdapterSpec::new(2, 4.0, &["*".into()], store.clone())];
        let _ = Scope::root(&base, &specs).sub("a").loras(3, 3);
        let notes = lora_notes(BTreeMap::new(), &lora(4.0));
        store.save(&path, Kind::Float, &notes).expect("writable");
        load_pairs(&store, &lora(4.0), "student.init", &path).expect("the same");
        let error = load_pairs(&store, &lora(2.0), "student.init", &path).expect_err("another");
        let error = error.to_string();
        assert!(
            error.contains("student.init") && error.contains("set the config's alpha to 4"),
            "{error}"
        );
        store
            .save(&path, Kind::Float, &BTreeMap::new())
            .expect("writable");
        load_pairs(&store, &lora(2.0), "student.init", &path).expect("older files do not say");
    }
}
