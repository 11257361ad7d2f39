//! Text encoders against transformers' classes, and their combinations against diffusers' pipelines, from the folders that
//! those saved.

use dmdr_models::{
    ClipFeatures, ClipText, Conditioning, Qwen3, Qwen3Config, RopeParameters, Sd3Text, SdxlText,
    T5Config, T5Encoder, TextEncoder, Transformers, ZImageText, load_transformers_config,
};
use dmdr_tensor::{Kind, ParamStore, Runtime, Tensor};

use crate::fixture::{self, Fixture, device};

fn f32() -> Runtime {
    Runtime::f32(device())
}

/// The encoder in `folder`, whose parameters take gradients.
fn load<N: Transformers>(folder: &str) -> (ParamStore, N) {
    let store = ParamStore::trainable(device(), 0);
    let net = N::load(&store, &fixture::path("text").join(folder)).expect("fits");
    (store, net)
}

fn ids(fixture: &Fixture, name: &str) -> Tensor {
    fixture.get(&format!("{name}.ids")).to_kind(Kind::Int64)
}

/// Outputs, and the gradient of their product with the fixture's cotangents with respect to the token table.
fn check(fixture: &Fixture, name: &str, table: &Tensor, outputs: &[(&str, Tensor)]) {
    let mut product = Tensor::from(0f32);
    for (key, output) in outputs {
        fixture.agrees(&format!("{name}.{key}"), output);
        let cotangent = fixture.get(&format!("{name}.cotangent.{key}"));
        product += (output * cotangent).sum(Kind::Float);
    }
    let gradients = Tensor::run_backward(&[product], &[table], false, false);
    fixture.agrees(&format!("{name}.grad"), &gradients[0]);
}

/// What the fixture's prompts are encoded to.
fn encode(fixture: &Fixture, encoder: &dyn TextEncoder) -> Conditioning {
    let prompts: Vec<String> = fixture.metadata("prompts");
    let prompts: Vec<&str> = prompts.iter().map(String::as_str).collect();
    encoder.encode(&prompts).expect("encodes")
}

/// CLIP-L is published with other names and an end token that its config has wrong, bigG with the right one.
#[test]
fn both_clips() {
    let fixture = Fixture::read("text/sdxl");
    let table = "text_model.embeddings.token_embedding.weight";
    let run = |name: &str| {
        let (store, net) = load::<ClipText>(&format!("sdxl/{name}"));
        (store.tensor(table), net.forward(&ids(&fixture, name)))
    };
    let (table, features) = run("text_encoder");
    let ClipFeatures {
        penultimate,
        last,
        pooled,
        projected,
    } = features;
    assert!(projected.is_none());
    let outputs = [
        ("penultimate", penultimate),
        ("last", last),
        ("pooled", pooled),
    ];
    check(&fixture, "text_encoder", &table, &outputs);
    let (table, features) = run("text_encoder_2");
    let projected = features.projected.expect("bigG has a projection");
    let outputs = [
        ("penultimate", features.penultimate),
        ("last", features.last),
        ("projected", projected),
    ];
    check(&fixture, "text_encoder_2", &table, &outputs);
}

/// 140 tokens: more than the largest distance that is told apart.
#[test]
fn t5() {
    let fixture = Fixture::read("text/sd3");
    let (store, net) = load::<T5Encoder>("sd3/text_encoder_3");
    let outputs = [("last", net.forward(&ids(&fixture, "text_encoder_3")))];
    check(
        &fixture,
        "text_encoder_3",
        &store.tensor("shared.weight"),
        &outputs,
    );
}

/// The reference masks the padding behind the second prompt. This folder is sharded.
#[test]
fn qwen3() {
    let fixture = Fixture::read("text/z_image");
    let (store, net) = load::<Qwen3>("z_image/text_encoder");
    let hidden = net.penultimate(&ids(&fixture, "text_encoder"));
    let second = hidden.select(0, 1).narrow(0, 0, 13);
    let outputs = [("first", hidden.select(0, 0)), ("second", second)];
    let table = store.tensor("model.embed_tokens.weight");
    check(&fixture, "text_encoder", &table, &outputs);
}

#[test]
fn sdxl() {
    let fixture = Fixture::read("text/sdxl");
    let load = |forces_zeros| {
        SdxlText::load(&fixture::path("text/sdxl"), f32(), forces_zeros).expect("fits")
    };
    let text = load(true);
    let cond = encode(&fixture, &text);
    fixture.agrees("tokens", &cond.tokens);
    fixture.agrees("pooled", &cond.pooled);
    let null = text.unconditional().expect("encodes");
    assert!(
        null.tokens
            .equal(&Tensor::zeros([1, 77, 20], (Kind::Float, device())))
    );
    assert!(
        null.pooled
            .equal(&Tensor::zeros([1, 10], (Kind::Float, device())))
    );
    // `force_zeros_for_empty_prompt: false`
    let null = load(false).unconditional().expect("encodes");
    fixture.agrees("null.tokens", &null.tokens);
    fixture.agrees("null.pooled", &null.pooled);
}

#[test]
fn sd3() {
    let fixture = Fixture::read("text/sd3");
    let load =
        |with_t5| Sd3Text::load(&fixture::path("text/sd3"), f32(), 24, 256, with_t5).expect("fits");
    let text = load(true);
    let cond = encode(&fixture, &text);
    fixture.agrees("tokens", &cond.tokens);
    fixture.agrees("pooled", &cond.pooled);
    let null = text.unconditional().expect("encodes");
    let empty = cond.narrow(1, 1); // the second prompt; in another batch other kernels may round otherwise
    let error = (null.tokens - empty.tokens).abs().max().double_value(&[]);
    assert!(error < 1e-5, "{error:.2e}");
    let without = encode(&fixture, &load(false));
    fixture.agrees("without_t5", &without.tokens);
    fixture.agrees("pooled", &without.pooled);
}

/// Prompts of very different lengths, each as if it were alone.
#[test]
fn z_image() {
    let fixture = Fixture::read("text/z_image");
    let text = ZImageText::load(&fixture::path("text/z_image"), f32(), 512).expect("fits");
    let cond = encode(&fixture, &text);
    assert_eq!(cond.tokens.size(), [3, 512, 16]);
    for (row, name) in (0..).zip(["tokens.0", "tokens.1", "tokens.2"]) {
        let length = fixture.get(name).size()[0];
        let found = cond.pooled.double_value(&[row, 0]);
        assert!((found - length as f64).abs() < 0.5, "{found}, {length}");
        fixture.agrees(name, &cond.tokens.select(0, row).narrow(0, 0, length));
    }
    let null = text.unconditional().expect("encodes");
    let length = null.pooled.int64_value(&[0, 0]);
    fixture.agrees("tokens.1", &null.tokens.select(0, 0).narrow(0, 0, length));
    assert_eq!(null.tokens.size(), [1, 512, 16]);
}

/// What a conditioning costs in bf16 depends on the networks; here it is a few per cent. The result is f32.
#[test]
fn half_precision_stays_close() {
    let half = Runtime {
        compute: Kind::BFloat16,
        ..f32()
    };
    let check = |name: &str, encoder: &dyn TextEncoder, key: &str| {
        let fixture = Fixture::read(name);
        let cond = encode(&fixture, encoder);
        assert_eq!([cond.tokens.kind(), cond.pooled.kind()], [Kind::Float; 2]);
        let expected = fixture.get(key);
        let expected = match expected.dim() {
            2 => expected.shallow_clone(),
            _ => expected.select(0, 0),
        };
        let found = cond.tokens.select(0, 0).narrow(0, 0, expected.size()[0]);
        let error = fixture::relative_error(&found, &expected);
        assert!(error > 0.0 && error < 0.1, "{name}: {error:.2e}");
    };
    let folder = fixture::path("text");
    let sd3 = Sd3Text::load(&folder.join("sd3"), half, 24, 256, true).expect("fits");
    check("text/sd3", &sd3, "tokens");
    let z_image = ZImageText::load(&folder.join("z_image"), half, 512).expect("fits");
    check("text/z_image", &z_image, "tokens.0");
}

#[test]
fn other_networks_and_sizes_are_refused() {
    let folder = fixture::path("text/sd3");
    let error = load_transformers_config::<ClipText>(&folder.join("text_encoder_3"))
        .expect_err("T5")
        .to_string();
    let found = "config.json` holds `T5EncoderModel` weights; expected `CLIPTextModel`";
    assert!(error.contains(found), "{error}");
    let error = |width| {
        let text = Sd3Text::load(&folder, f32(), width, 256, true);
        text.expect_err("other widths").to_string()
    };
    assert!(error(4096).contains("T5 is 24 wide, the backbone's text tokens 4096"));
    assert!(error(16).contains("both CLIPs together are 20 wide"));

    let store = ParamStore::shapes_only();
    let relu = T5Config {
        feed_forward_proj: "relu".to_owned(),
        ..T5Config::xxl()
    };
    let error = T5Encoder::new(&store, relu).expect_err("T5 1.0");
    assert!(error.to_string().contains("`relu`"), "{error}");
}

#[test]
fn rotary_frequencies_of_both_versions() {
    let error = |change: fn(&mut Qwen3Config)| {
        let mut config = Qwen3Config::qwen3_4b();
        change(&mut config);
        let net = Qwen3::new(&ParamStore::shapes_only(), config);
        net.err().map(|error| error.to_string()).unwrap_or_default()
    };
    let rope = |kind: &str| {
        Some(RopeParameters {
            rope_theta: 1e6,
            rope_type: kind.to_owned(),
        })
    };
    assert_eq!(error(|_| ()), "");
    assert!(error(|config| config.rope_theta = None).contains("rope_theta is missing"));
    assert!(error(|config| config.use_sliding_window = true).contains("use_sliding_window"));
    let mut config = Qwen3Config::qwen3_4b();
    config.rope_theta = None;
    config.rope_parameters = rope("default");
    Qwen3::new(&ParamStore::shapes_only(), config.clone()).expect("as transformers 5 writes it");
    config.rope_parameters = rope("yarn");
    let scaled = Qwen3::new(&ParamStore::shapes_only(), config).expect_err("scaled");
    assert!(scaled.to_string().contains("scaled"), "{scaled}");
}
