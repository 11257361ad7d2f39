use std::path::Path;

use dmdr_models::{FAMILIES, Family, family_of};
use dmdr_tensor::{AdapterSpec, Kind, no_grad_guard, write_tensors};

use super::*;
use crate::{comfyui_names, peft_names};

mod refusals;
mod sources;

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

fn sd3() -> &'static dyn Family {
    family_of("StableDiffusion3Pipeline").expect("built")
}

fn product(tensors: &BTreeMap<String, Tensor>, layer: &str) -> Tensor {
    tensors[&format!("{layer}.lora_B.weight")].matmul(&tensors[&format!("{layer}.lora_A.weight")])
}

fn read(adapter: &ParamStore, path: &Path) -> Result<Imported, TrainError> {
    import(
        adapter,
        3.0,
        3,
        &AdapterFile::open(path, TextEncoders::Refuse)?,
    )
}

/// The tensors of `path` for an adapter whose built-in factor is 3.
fn brought(adapter: &ParamStore, path: &Path) -> BTreeMap<String, Tensor> {
    read(adapter, path).expect("fits").tensors
}

/// The message of a file that is refused: it names the file.
#[track_caller]
fn refused(adapter: &ParamStore, path: &Path) -> String {
    let error = read(adapter, path).expect_err("refused").to_string();
    let name = path.file_name().expect("a name").to_string_lossy();
    assert!(error.contains(name.as_ref()), "{error}");
    error
}

#[test]
fn what_was_exported_comes_back() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("lora.safetensors");
    let ours = adapter(&LAYERS, "*");
    let comfyui = |family| comfyui_names(&ours, family, 6.0);
    let exported = FAMILIES.into_iter().map(comfyui);
    for exported in exported.chain([peft_names(&ours, "transformer", 3.0)]) {
        write_tensors(&path, &exported, Kind::Float, &BTreeMap::new()).expect("writable");
        let back = brought(&adapter(&LAYERS, "*"), &path);
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
    let exported = comfyui_names(&ours, sd3(), 6.0);
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
    let back = brought(&adapter(&SECOND, "*"), &path);
    for (layer, own) in SECOND.iter().zip(&own) {
        assert!(error(&(product(&back, layer) * 3.0), own) < 1e-5, "{layer}");
    }

    // Not all of them; and one that was trained on the layer as it is.
    let some = adapter(&SECOND[1..2], "*");
    let exported = comfyui_names(&some, sd3(), 6.0);
    let up = &exported[&format!("{place}.qkv.lora_up.weight")];
    assert_eq!(up.size(), [15, 2]);
    let zero = Tensor::zeros([5, 2], (Kind::Float, Device::Cpu));
    assert!(up.narrow(0, 0, 5).equal(&zero) && up.narrow(0, 10, 5).equal(&zero));
    write_tensors(&path, &exported, Kind::Float, &BTreeMap::new()).expect("writable");
    let back = brought(&adapter(&SECOND[..3], "*"), &path);
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
    let error = refused(&adapter(&LAYERS, "blocks.0.*"), &path);
    assert!(
        error.contains("blocks.1.ff.net_2") && error.contains("no layer"),
        "{error}"
    );
    let exported = peft_names(&adapter(&LAYERS, "blocks.0.*"), "transformer", 3.0);
    write_tensors(&path, &exported, Kind::Float, &BTreeMap::new()).expect("writable");
    let error = refused(&adapter(&LAYERS, "*"), &path);
    assert!(
        error.contains("no pair for layer `blocks.1.ff.net_2`"),
        "{error}"
    );
}
