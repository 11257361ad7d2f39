//! An adapter of another tool as the start of a student (`student.init`): PEFT's, diffusers', kohya's and
//! ComfyUI's names become ours.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use dmdr_tensor::{Kind, ParamStore, Tensor, read_tensors};

use crate::{TrainError, fused::SecondAttention, sgm::original};

/// What other tools put before a layer's name.
const PREFIXES: [&str; 5] = [
    "",
    "transformer.",
    "unet.",
    "base_model.model.",
    "diffusion_model.",
];
/// What kohya, OneTrainer and ComfyUI put before a layer's name with underscores for dots.
const FLAT_PREFIXES: [&str; 2] = ["lora_unet_", "lora_transformer_"];

/// The tensors of `file` under the names of `adapter`, whose built-in factor is `scaling`. Where the file holds an alpha,
/// `alpha / rank` is taken into `B`, as is the difference to `scaling`.
///
/// # Errors
/// An unreadable file, one that lacks a pair of the adapter, holds another layer, or has another rank.
pub fn import(
    adapter: &ParamStore,
    scaling: f64,
    file: &Path,
) -> Result<BTreeMap<String, Tensor>, TrainError> {
    let found = read_tensors(file)?;
    let mismatch = |reason: String| TrainError::Import {
        path: file.to_owned(),
        reason,
    };
    let mut used = BTreeSet::new();
    let mut imported = BTreeMap::new();
    for (name, shape) in adapter.shapes() {
        let Some(layer) = name.strip_suffix(".lora_A.weight") else {
            continue;
        };
        let rank = shape[0];
        let fused = SecondAttention::of(layer).and_then(|layer| layer.pair(&found, rank));
        if let Some((pair, names)) = fused {
            if pair.down.size() != shape {
                let size = pair.down.size();
                let [down, ..] = names;
                return Err(mismatch(format!(
                    "the part of `{down}` for `{layer}` is {size:?}; the config asks for {shape:?}"
                )));
            }
            let factor = pair.alpha / rank as f64 / scaling;
            imported.insert(format!("{layer}.lora_B.weight"), pair.up * factor);
            imported.insert(name, pair.down);
            used.extend(names);
            continue;
        }
        let candidates = stems(layer);
        let take = |suffixes: [&str; 3]| {
            let names = candidates
                .iter()
                .flat_map(|stem| suffixes.map(|suffix| format!("{stem}{suffix}")));
            names
                .into_iter()
                .find_map(|name| Some((found.get(&name)?.to_kind(Kind::Float), name)))
        };
        let down = take([".lora_A.weight", ".lora_down.weight", ".lora.down.weight"]);
        let up = take([".lora_B.weight", ".lora_up.weight", ".lora.up.weight"]);
        let (Some((down, down_name)), Some((up, up_name))) = (down, up) else {
            return Err(mismatch(format!(
                "it has no pair for layer `{layer}`, which the config targets"
            )));
        };
        if down.size() != shape {
            return Err(mismatch(format!(
                "`{down_name}` is {:?}; the config asks for {shape:?}",
                down.size()
            )));
        }
        let alpha = take([".alpha"; 3]);
        let built_in = alpha
            .as_ref()
            .map_or(1.0, |(alpha, _)| alpha.double_value(&[]) / rank as f64);
        used.extend([down_name, up_name]);
        used.extend(alpha.map(|(_, name)| name));
        imported.insert(format!("{layer}.lora_B.weight"), up * (built_in / scaling));
        imported.insert(name, down);
    }
    match found.keys().find(|name| !used.contains(*name)) {
        Some(name) => Err(mismatch(format!(
            "`{name}` belongs to no layer that the config targets"
        ))),
        None => Ok(imported),
    }
}

fn stems(layer: &str) -> Vec<String> {
    let plain = PREFIXES.map(|prefix| format!("{prefix}{layer}"));
    let flat = |layer: &str| {
        let layer = layer.replace('.', "_");
        FLAT_PREFIXES.map(|prefix| format!("{prefix}{layer}"))
    };
    let flat = [flat(layer), flat(&original(layer))];
    plain
        .into_iter()
        .chain(flat.into_iter().flatten())
        .collect()
}

#[cfg(test)]
mod tests {
    use dmdr_models::Pipeline;
    use dmdr_tensor::{AdapterSpec, Device, Init, Scope, no_grad_guard, write_tensors};

    use super::*;
    use crate::{comfyui_names, peft_names};

    const LAYERS: [&str; 2] = ["blocks.0.attn.to_q", "blocks.1.ff.net_2"];
    const SECOND: [&str; 4] = [
        "transformer_blocks.3.attn2.to_q",
        "transformer_blocks.3.attn2.to_k",
        "transformer_blocks.3.attn2.to_v",
        "transformer_blocks.3.attn2.to_out.0",
    ];

    /// Pairs of `layers`, alpha 6 at rank 2, values that are not zero.
    fn adapter(layers: &[&str], targets: &str) -> ParamStore {
        let store = ParamStore::trainable(Device::Cpu, 3);
        let base = ParamStore::frozen(Device::Cpu);
        let specs = [AdapterSpec::new(2, 6.0, &[targets.into()], store.clone())];
        let scope = Scope::root(&base, &specs);
        for layer in layers {
            let _ = scope.sub(layer).param("weight", &[5, 4], Init::Ones);
            let _ = scope.sub(layer).loras(4, 5);
        }
        let _guard = no_grad_guard();
        for tensor in store.group().tensors {
            tensor.shallow_clone().copy_(&tensor.randn_like());
        }
        store
    }

    fn product(tensors: &BTreeMap<String, Tensor>, layer: &str) -> Tensor {
        tensors[&format!("{layer}.lora_B.weight")]
            .matmul(&tensors[&format!("{layer}.lora_A.weight")])
    }

    #[test]
    fn what_was_exported_comes_back() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("lora.safetensors");
        let ours = adapter(&LAYERS, "*");
        for exported in [
            peft_names(&ours, "transformer", 3.0),
            comfyui_names(&ours, Pipeline::StableDiffusionXl, 6.0),
            comfyui_names(&ours, Pipeline::StableDiffusion3, 6.0),
            comfyui_names(&ours, Pipeline::ZImage, 6.0),
        ] {
            write_tensors(&path, &exported, Kind::Float, &BTreeMap::new()).expect("writable");
            let back = import(&adapter(&LAYERS, "*"), 3.0, &path).expect("fits");
            for layer in LAYERS {
                let error = product(&back, layer) - product(&ours.tensors(), layer);
                assert!(error.abs().max().double_value(&[]) < 1e-5, "{layer}");
            }
        }
    }

    #[test]
    fn a_second_attention_is_one_layer_elsewhere() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("lora.safetensors");
        let ours = adapter(&SECOND, "*");
        let exported = comfyui_names(&ours, Pipeline::StableDiffusion3, 6.0);
        let place = "diffusion_model.joint_blocks.3.x_block.attn2";
        let whole = |part: &str| {
            let tensor = |end| &exported[&format!("{place}.{part}.{end}")];
            let (down, up) = (tensor("lora_down.weight"), tensor("lora_up.weight"));
            let scaling = tensor("alpha").double_value(&[]) / down.size()[0] as f64;
            up.matmul(down) * scaling
        };
        let own = SECOND.map(|layer| product(&ours.tensors(), layer) * 3.0);
        let error = |a: &Tensor, b: &Tensor| (a - b).abs().max().double_value(&[]);
        assert!(error(&whole("qkv"), &Tensor::cat(&own[..3], 0)) < 1e-5);
        assert!(error(&whole("proj"), &own[3]) < 1e-5);
        write_tensors(&path, &exported, Kind::Float, &BTreeMap::new()).expect("writable");
        let back = import(&adapter(&SECOND, "*"), 3.0, &path).expect("fits");
        for (layer, own) in SECOND.iter().zip(&own) {
            assert!(error(&(product(&back, layer) * 3.0), own) < 1e-5, "{layer}");
        }

        // Not all of them; and one that was trained on the layer as it is.
        let some = adapter(&SECOND[1..2], "*");
        let exported = comfyui_names(&some, Pipeline::StableDiffusion3, 6.0);
        let up = &exported[&format!("{place}.qkv.lora_up.weight")];
        assert_eq!(up.size(), [15, 2]);
        let zero = Tensor::zeros([5, 2], (Kind::Float, Device::Cpu));
        assert!(up.narrow(0, 0, 5).equal(&zero) && up.narrow(0, 10, 5).equal(&zero));
        write_tensors(&path, &exported, Kind::Float, &BTreeMap::new()).expect("writable");
        let back = import(&adapter(&SECOND[..3], "*"), 3.0, &path).expect("fits");
        let own = product(&some.tensors(), SECOND[1]);
        assert!(error(&product(&back, SECOND[1]), &own) < 1e-5);
        assert!(product(&back, SECOND[0]).abs().max().double_value(&[]) < 1e-9);
    }

    #[test]
    fn other_layers_and_ranks_are_refused() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("lora.safetensors");
        let exported = peft_names(&adapter(&LAYERS, "*"), "transformer", 3.0);
        write_tensors(&path, &exported, Kind::Float, &BTreeMap::new()).expect("writable");
        let error = import(&adapter(&LAYERS, "blocks.0.*"), 3.0, &path)
            .expect_err("more")
            .to_string();
        assert!(
            error.contains("blocks.1.ff.net_2") && error.contains("no layer"),
            "{error}"
        );
        let exported = peft_names(&adapter(&LAYERS, "blocks.0.*"), "transformer", 3.0);
        write_tensors(&path, &exported, Kind::Float, &BTreeMap::new()).expect("writable");
        let error = import(&adapter(&LAYERS, "*"), 3.0, &path)
            .expect_err("less")
            .to_string();
        assert!(
            error.contains("no pair for layer `blocks.1.ff.net_2`"),
            "{error}"
        );
    }
}
