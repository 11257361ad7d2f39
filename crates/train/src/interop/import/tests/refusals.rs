//! What does not fit, or only in part.

use std::fs;

use serde_json::{Value, json};

use super::{
    sources::{KOHYA, PEFT, QUERY, assert_factor, floats, pair, peft, unscaled, write},
    *,
};

#[test]
fn folders_say_what_they_hold() {
    let dir = tempfile::tempdir().expect("temp dir");
    let error = refused(&adapter(&[QUERY], "*"), dir.path());
    assert!(error.contains("`adapter_model.safetensors`"), "{error}");
    fs::write(dir.path().join("adapter_model.bin"), "pickle").expect("writable");
    let error = read(&adapter(&[QUERY], "*"), dir.path()).expect_err("a pickle");
    assert!(error.to_string().contains("convert_pickle.py"), "{error}");
    for name in ["one.safetensors", "two.safetensors"] {
        write(
            &dir.path().join(name),
            &pair("transformer.", QUERY, 2, PEFT),
            &Value::Null,
        );
        if name == "one.safetensors" {
            assert_factor(dir.path(), 1.0);
        }
    }
    let error = refused(&adapter(&[QUERY], "*"), dir.path());
    assert!(
        error.contains("`one.safetensors`, `two.safetensors`"),
        "{error}"
    );
    let error = read(&adapter(&[QUERY], "*"), &dir.path().join("none")).expect_err("nothing");
    assert!(error.to_string().contains("none"), "{error}");
}

#[test]
fn a_lower_rank_is_filled_up_and_a_higher_one_refused() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("lora.safetensors");
    write(&path, &pair("transformer.", QUERY, 1, PEFT), &Value::Null);
    let tensors = brought(&adapter(&[QUERY], "*"), &path);
    let [a, b] = ["A", "B"].map(|part| &tensors[&format!("{QUERY}.lora_{part}.weight")]);
    assert_eq!((a.size(), b.size()), (vec![2, 4], vec![5, 2]));
    let error = (b.matmul(a) * 3.0 - unscaled(1))
        .abs()
        .max()
        .double_value(&[]);
    assert!(error < 1e-5, "{error}");
    // The new row is a fresh student's, so that it can be trained.
    let store = ParamStore::trainable(Device::Cpu, 3);
    let specs = [AdapterSpec::new(2, 6.0, &["*".into()], store.clone())];
    let base = ParamStore::frozen(Device::Cpu);
    let fresh = Scope::root(&base, &specs).sub(QUERY).loras(4, 5).remove(0);
    assert!(a.narrow(0, 1, 1).equal(&fresh.a.narrow(0, 1, 1)));
    assert!(b.narrow(1, 1, 1).abs().max().double_value(&[]) < 1e-12);

    let key = "transformer_blocks.0.attn.to_k";
    let pairs = [pair("", QUERY, 4, PEFT), pair("", key, 16, PEFT)];
    write(&path, &pairs.concat(), &Value::Null);
    let error = refused(&adapter(&[QUERY, key], "*"), &path);
    assert!(
        error.contains("at most 2") && error.contains("`student.tuning.lora.rank` to 16"),
        "{error}"
    );
}

#[test]
fn what_is_no_pair_is_named() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("lora.safetensors");
    for (name, expected) in [
        (
            "transformer_blocks.0.attn.to_q.lora_magnitude_vector",
            "DoRA",
        ),
        ("transformer_blocks.0.attn.to_q.lora_B.bias", "lora_bias"),
        ("lora_unet_x.hada_w1_a", "LoHa"),
        ("lora_unet_x.lokr_w1", "LoKr"),
        ("lora_unet_x.lora_mid.weight", "Tucker"),
        ("base_model.model.proj_out.weight", "modules_to_save"),
    ] {
        let more = (name.to_owned(), floats(&[2], 1.0));
        write(
            &path,
            &[&pair("", QUERY, 2, PEFT)[..], &[more]].concat(),
            &Value::Null,
        );
        let error = refused(&adapter(&[QUERY], "*"), &path);
        assert!(error.contains(expected) && error.contains(name), "{error}");
    }
    write(&path, &pair("", QUERY, 2, PEFT)[..1], &Value::Null);
    let error = refused(&adapter(&[QUERY], "*"), &path);
    assert!(error.contains("lacks one of its two factors"), "{error}");
    let other = "down_blocks.0.attn1.to_q";
    write(&path, &pair("unet.", other, 2, PEFT), &Value::Null);
    let error = refused(&adapter(&[QUERY], "*"), &path);
    assert!(
        error.contains("1 of 1") && error.contains("another model"),
        "{error}"
    );
    let turned = [
        (format!("{QUERY}.lora_A.weight"), floats(&[4, 2], 1.0)),
        (format!("{QUERY}.lora_B.weight"), floats(&[5, 4], 1.0)),
    ];
    write(&path, &turned, &Value::Null);
    let error = refused(&adapter(&[QUERY], "*"), &path);
    assert!(
        error.contains("[4, 2]") && error.contains("[4, 4]"),
        "{error}"
    );
    let dir = peft(
        &json!({ "r": 2, "lora_alpha": 0 }),
        &[pair("", QUERY, 2, PEFT)],
    );
    let imported = read(&adapter(&[QUERY], "*"), dir.path()).expect("fits");
    assert!(
        imported.notes[1].contains("every product is zero"),
        "{:?}",
        imported.notes
    );
    write(
        &path,
        &pair("", QUERY, 2, PEFT),
        &json!({ "format": "dmdr.lora" }),
    );
    let error = refused(&adapter(&[QUERY], "*"), &path);
    assert!(error.contains("`student.init`"), "{error}");
}

#[test]
fn text_encoders_are_refused_or_left_out() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("lora.safetensors");
    let own = pair(
        "lora_transformer_transformer_blocks_0_attn_to_q",
        "",
        2,
        KOHYA,
    );
    let text = pair("lora_te1_text_model_encoder_layers_0_mlp_fc1", "", 2, KOHYA);
    write(&path, &[own, text].concat(), &Value::Null);
    let error = refused(&adapter(&[QUERY], "*"), &path);
    assert!(
        error.contains("of a text encoder") && error.contains("lora_te1_"),
        "{error}"
    );
    let file = AdapterFile::open(&path, TextEncoders::LeaveOut).expect("readable");
    let imported = import(&adapter(&[QUERY], "*"), 3.0, 3, &file).expect("fits");
    assert_eq!(imported.notes[1], "left out: 2 tensors of text encoders");
    let error = product(&imported.tensors, QUERY) * 3.0 - unscaled(2);
    assert!(error.abs().max().double_value(&[]) < 1e-4);
}
