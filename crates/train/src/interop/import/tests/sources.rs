//! Alpha, rank and names, wherever tools keep them.

use std::fs;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;

pub(super) const QUERY: &str = "transformer_blocks.0.attn.to_q";

/// A tensor of a file: dtype, shape and bytes.
pub(super) type Raw = (&'static str, Vec<i64>, Vec<u8>);

/// `count` numbers that begin with `first` and grow by a half.
pub(super) fn floats(shape: &[i64], first: f32) -> Raw {
    let count = shape.iter().product::<i64>();
    let values = (0..count).map(|index| first + 0.5 * index as f32);
    (
        "F32",
        shape.to_vec(),
        values.flat_map(f32::to_le_bytes).collect(),
    )
}

/// Writes a safetensors file as any tool may: every dtype is possible.
pub(super) fn write(path: &Path, tensors: &[(String, Raw)], metadata: &Value) {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    if metadata.is_object() {
        header.insert("__metadata__".into(), metadata.clone());
    }
    for (name, (dtype, shape, bytes)) in tensors {
        let start = data.len();
        data.extend(bytes);
        let entry = json!({ "dtype": dtype, "shape": shape, "data_offsets": [start, data.len()] });
        header.insert(name.clone(), entry);
    }
    let mut header = serde_json::to_vec(&header).expect("JSON");
    header.resize(header.len().next_multiple_of(8), b' ');
    let length = (header.len() as u64).to_le_bytes();
    fs::write(path, [&length[..], &header, &data].concat()).expect("writable");
}

/// The pair of a layer `[5, 4]` under a name of `ends`, behind `prefix`.
pub(super) fn pair(prefix: &str, layer: &str, rank: i64, ends: [&str; 2]) -> [(String, Raw); 2] {
    [
        (
            format!("{prefix}{layer}{}", ends[0]),
            floats(&[rank, 4], 1.0),
        ),
        (
            format!("{prefix}{layer}{}", ends[1]),
            floats(&[5, rank], -2.0),
        ),
    ]
}

pub(super) const PEFT: [&str; 2] = [".lora_A.weight", ".lora_B.weight"];
pub(super) const KOHYA: [&str; 2] = [".lora_down.weight", ".lora_up.weight"];

/// `B A` of [`pair`].
pub(super) fn unscaled(rank: i64) -> Tensor {
    let tensor = |shape: &[i64], first: f64| {
        let count = shape.iter().product::<i64>();
        (Tensor::arange(count, (Kind::Float, Device::Cpu)) * 0.5 + first).reshape(shape)
    };
    tensor(&[5, rank], -2.0).matmul(&tensor(&[rank, 4], 1.0))
}

/// What the pair of `layer` in `path` is multiplied by.
#[track_caller]
fn factor(path: &Path, layers: &[&str], layer: &str, rank: i64) -> f64 {
    let tensors = brought(&adapter(layers, "*"), path);
    let found = product(&tensors, layer) * 3.0;
    let own = unscaled(rank);
    let sum = |tensor: Tensor| tensor.sum(Kind::Double).double_value(&[]);
    let factor = sum(&found * &own) / sum(&own * &own);
    let error = (found - own * factor).abs().max().double_value(&[]);
    assert!(
        error < 1e-4,
        "{layer}: no multiple of the product, off by {error}"
    );
    factor
}

#[track_caller]
pub(super) fn assert_factor(path: &Path, expected: f64) {
    let found = factor(path, &[QUERY], QUERY, 2);
    assert!(
        (found - expected).abs() < 1e-5,
        "{found}, expected {expected}"
    );
}

/// A folder as PEFT saves it.
pub(super) fn peft(config: &Value, pairs: &[[(String, Raw); 2]]) -> TempDir {
    let dir = tempfile::tempdir().expect("temp dir");
    let text = config.to_string();
    fs::write(dir.path().join("adapter_config.json"), text).expect("writable");
    let path = dir.path().join("adapter_model.safetensors");
    write(&path, &pairs.concat(), &Value::Null);
    dir
}

#[test]
fn alpha_of_pefts_folder() {
    let pairs = [pair("base_model.model.", QUERY, 2, PEFT)];
    let dir = peft(
        &json!({ "peft_type": "LORA", "r": 2, "lora_alpha": 8 }),
        &pairs,
    );
    assert_factor(dir.path(), 4.0);
    assert_factor(&dir.path().join("adapter_model.safetensors"), 4.0);
    let dir = peft(
        &json!({ "r": 2, "lora_alpha": 8, "use_rslora": true }),
        &pairs,
    );
    assert_factor(dir.path(), 5.656_854_249);
    fs::remove_file(dir.path().join("adapter_config.json")).expect("there");
    let error = refused(
        &adapter(&[QUERY], "*"),
        &dir.path().join("adapter_model.safetensors"),
    );
    assert!(error.contains("put that file beside it"), "{error}");
}

#[test]
fn patterns_of_pefts_folder() {
    let layers = [
        "transformer_blocks.0.attn.to_q",
        "transformer_blocks.1.attn.to_q",
        "transformer_blocks.1.attn.to_k",
    ];
    let [a, b, c] = layers;
    let config = json!({
        "r": 2, "lora_alpha": 8,
        "rank_pattern": { "transformer_blocks.1.attn.to_k": 1 },
        "alpha_pattern": { r"transformer_blocks\.[1-9]\.attn\.to_q": 5, "to_k": 3 },
    });
    let of = |layer, rank| pair("base_model.model.", layer, rank, PEFT);
    let dir = peft(&config, &[of(a, 2), of(b, 2), of(c, 1)]);
    for (layer, rank, expected) in [(a, 2, 4.0), (b, 2, 2.5), (c, 1, 3.0)] {
        let found = factor(dir.path(), &layers, layer, rank);
        assert!((found - expected).abs() < 1e-5, "{layer}: {found}");
    }
}

#[test]
fn alpha_of_diffusers_header() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("pytorch_lora_weights.safetensors");
    for (prefix, fields, expected) in [
        (
            "transformer.",
            json!({ "transformer.r": 2, "transformer.lora_alpha": 8 }),
            4.0,
        ),
        (
            "transformer.",
            json!({ "text_encoder.r": 2, "text_encoder.lora_alpha": 8 }),
            1.0,
        ),
        (
            "",
            json!({ "r": 2, "lora_alpha": 8, "use_rslora": true }),
            5.656_854_249,
        ),
        (
            "unet.",
            json!({ "unet.r": 2, "unet.lora_alpha": 3.0, "transformer.lora_alpha": 8 }),
            1.5,
        ),
    ] {
        let header = json!({ "lora_adapter_metadata": fields.to_string(), "format": "pt" });
        write(&path, &pair(prefix, QUERY, 2, PEFT), &header);
        assert_factor(&path, expected);
        assert_factor(dir.path(), expected);
    }
    write(
        &path,
        &pair("transformer.", QUERY, 2, PEFT),
        &json!({ "format": "pt" }),
    );
    assert_factor(&path, 1.0);
}

#[test]
fn alpha_of_every_kind_and_shape() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("lora.safetensors");
    let flat = "lora_transformer_transformer_blocks_0_attn_to_q";
    let kinds: [(&'static str, Vec<u8>); 9] = [
        ("F16", 0x4800u16.to_le_bytes().to_vec()),
        ("BF16", 0x4100u16.to_le_bytes().to_vec()),
        ("F32", 8f32.to_le_bytes().to_vec()),
        ("F64", 8f64.to_le_bytes().to_vec()),
        ("I8", vec![8]),
        ("U8", vec![8]),
        ("I16", 8i16.to_le_bytes().to_vec()),
        ("I32", 8i32.to_le_bytes().to_vec()),
        ("I64", 8i64.to_le_bytes().to_vec()),
    ];
    for (dtype, bytes) in kinds {
        for shape in [vec![], vec![1], vec![1, 1]] {
            let alpha = (format!("{flat}.alpha"), (dtype, shape, bytes.clone()));
            let tensors = [&pair(flat, "", 2, KOHYA)[..], &[alpha]].concat();
            write(&path, &tensors, &Value::Null);
            assert_factor(&path, 4.0);
        }
    }
    for (alpha, expected) in [
        (("F32", vec![], 0f32.to_le_bytes().to_vec()), "is 0"),
        (floats(&[2], 8.0), "expected one number"),
    ] {
        let alpha = (format!("{flat}.alpha"), alpha);
        write(
            &path,
            &[&pair(flat, "", 2, KOHYA)[..], &[alpha]].concat(),
            &Value::Null,
        );
        let error = refused(&adapter(&[QUERY], "*"), &path);
        assert!(
            error.contains(expected) && error.contains(".alpha"),
            "{error}"
        );
    }
}

/// kohya's header tells how a file was trained. No reader takes an alpha from it: where tensors of it are missing, a tool
/// has put it into the weights already.
#[test]
fn alpha_of_nobody_is_the_rank() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("lora.safetensors");
    let flat = "lora_unet_joint_blocks_0_x_block_attn_proj";
    let layer = "transformer_blocks.0.attn.to_out.0";
    let header = json!({ "ss_network_alpha": "8.0", "ss_network_dim": "2" });
    for header in [&header, &Value::Null] {
        write(&path, &pair(flat, "", 2, KOHYA), header);
        assert!((factor(&path, &[layer], layer, 2) - 1.0).abs() < 1e-5);
    }
}

#[test]
fn sources_that_contradict_each_other_are_refused() {
    let alpha = (
        "transformer_blocks.0.attn.to_q.alpha".to_owned(),
        floats(&[], 8.0),
    );
    let of_peft = pair("", QUERY, 2, PEFT);
    let config = json!({ "r": 2, "lora_alpha": 8 });
    let dir = peft(&config, std::slice::from_ref(&of_peft));
    let path = dir.path().join("adapter_model.safetensors");
    let both = [&of_peft[..], &[alpha]].concat();
    write(&path, &both, &Value::Null);
    assert_factor(&path, 4.0);
    for (config, expected) in [
        (
            json!({ "r": 2, "lora_alpha": 2 }),
            "remove the one that is wrong",
        ),
        (json!({ "r": 16, "lora_alpha": 64 }), "rank 16"),
        (json!({ "r": 2, "lora_alpha": 8, "use_dora": true }), "DoRA"),
    ] {
        fs::write(dir.path().join("adapter_config.json"), config.to_string()).expect("writable");
        let error = refused(&adapter(&[QUERY], "*"), &path);
        assert!(
            error.contains(expected) && error.contains("adapter_config.json"),
            "{error}"
        );
    }
    // The header is the file's own, and goes before what lies beside it.
    let header = json!({ "lora_adapter_metadata": "{\"r\": 2, \"lora_alpha\": 8}" });
    write(&path, &of_peft, &header);
    fs::write(
        dir.path().join("adapter_config.json"),
        r#"{"r": 2, "lora_alpha": 2}"#,
    )
    .expect("writable");
    assert_factor(&path, 4.0);
}

/// kohya trains SD3's original network, where queries, keys and values are one layer of one pair.
#[test]
fn sd3_as_kohya_names_it() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("lora.safetensors");
    let layers = [
        "transformer_blocks.0.attn.to_q",
        "transformer_blocks.0.attn.to_k",
        "transformer_blocks.0.attn.to_v",
        "transformer_blocks.0.attn.add_q_proj",
        "transformer_blocks.0.attn.add_k_proj",
        "transformer_blocks.0.attn.add_v_proj",
        "transformer_blocks.0.attn.to_add_out",
        "transformer_blocks.0.ff.net.0.proj",
        "transformer_blocks.0.ff_context.net.2",
    ];
    let whole = [
        ("x_block_attn_qkv", &layers[..3]),
        ("context_block_attn_qkv", &layers[3..6]),
        ("context_block_attn_proj", &layers[6..7]),
        ("x_block_mlp_fc1", &layers[7..8]),
        ("context_block_mlp_fc2", &layers[8..9]),
    ];
    let mut tensors = Vec::new();
    for (index, (name, of)) in whole.iter().enumerate() {
        let (name, rows) = (
            format!("lora_unet_joint_blocks_0_{name}"),
            5 * of.len() as i64,
        );
        tensors.push((format!("{name}.lora_down.weight"), floats(&[2, 4], 1.0)));
        tensors.push((
            format!("{name}.lora_up.weight"),
            floats(&[rows, 2], index as f32),
        ));
        tensors.push((
            format!("{name}.alpha"),
            ("I64", vec![], 8i64.to_le_bytes().to_vec()),
        ));
    }
    write(
        &path,
        &tensors,
        &json!({ "ss_network_module": "networks.lora_sd3" }),
    );
    let back = brought(&adapter(&layers, "*"), &path);
    let down = (Tensor::arange(8, (Kind::Float, Device::Cpu)) * 0.5 + 1.0).reshape([2, 4]);
    for (index, (_, of)) in whole.iter().enumerate() {
        for (part, layer) in (0..).zip(*of) {
            let count = 10 * of.len() as i64;
            let up = Tensor::arange(count, (Kind::Float, Device::Cpu)) * 0.5 + index as f64;
            let up = up.reshape([-1, 2]).narrow(0, 5 * part, 5);
            let error = product(&back, layer) * 3.0 - up.matmul(&down) * 4.0;
            assert!(error.abs().max().double_value(&[]) < 1e-4, "{layer}");
        }
    }
    // Only the queries are a target: the keys would be lost.
    write(&path, &tensors[..3], &Value::Null);
    let error = refused(&adapter(&layers[..1], "*"), &path);
    assert!(error.contains("changes the keys"), "{error}");
}

#[test]
fn names_with_an_adapter_in_them_and_old_processors() {
    let named = [".lora_A.default.weight", ".lora_B.default.weight"];
    let dir = peft(
        &json!({ "r": 2, "lora_alpha": 8 }),
        &[pair("", QUERY, 2, named)],
    );
    assert_factor(dir.path(), 4.0);
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("lora.safetensors");
    let old = ["_lora.down.weight", "_lora.up.weight"];
    let name = "transformer_blocks.0.attn.processor.to_q";
    write(&path, &pair("transformer.", name, 2, old), &Value::Null);
    assert_factor(&path, 1.0);
    let twice = [
        pair("transformer.", QUERY, 2, PEFT),
        pair("", QUERY, 2, PEFT),
    ];
    write(&path, &twice.concat(), &Value::Null);
    let error = refused(&adapter(&[QUERY], "*"), &path);
    assert!(error.contains("two pairs"), "{error}");
}
