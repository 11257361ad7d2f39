//! ReFL through an autoencoder and published towers: the gradient is the slope, and a student that follows it gains.

mod common;

use std::{fs, rc::Rc};

use common::{pipeline, succeed};
use dmdr_batches::Prompts;
use dmdr_config::{ClipCheckpoint, Curve};
use dmdr_models::{AutoencoderKl, load_diffusers_config};
use dmdr_rewards::{ClipSimilarity, Hps, RewardMix};
use dmdr_tensor::{Device, Kind, ParamStore, Runtime, Tensor, reseed};

const REWARDS: &str = r#"
[[rewards]]
weight = 3.0
[rewards.model.clip]
checkpoint = "dfn_h14"
weights = "base/clip"
tokenizer = "base/clip-tokenizer"
[[rewards]]
[rewards.model.hps]
weights = "base/clip"
tokenizer = "base/clip-tokenizer"
"#;

#[test]
fn the_gradient_through_decoder_and_towers_is_the_slope() {
    let dir = pipeline::tiny_run();
    let base = dir.path().join("base");
    let store = ParamStore::frozen(Device::Cpu);
    let config = load_diffusers_config::<AutoencoderKl>(&base.join("vae")).expect("sizes");
    let vae = AutoencoderKl::new(&store, config).expect("sizes fit");
    AutoencoderKl::load(&store, &base.join("vae")).expect("weights");
    let shape = vae.latent_shape(24);
    let runtime = Runtime::f32(Device::Cpu);
    let (weights, tokenizer) = (base.join("clip"), base.join("clip-tokenizer"));
    let checkpoint = ClipCheckpoint::DfnH14;
    let clip = ClipSimilarity::load("clip", checkpoint, &weights, &tokenizer, runtime);
    let hps = Hps::load("hps", &weights, &tokenizer, runtime);
    let mut mix = RewardMix::new(Rc::new(vae));
    mix.push(Curve::Constant(3.0), Box::new(clip.expect("loads")));
    mix.push(Curve::Constant(1.0), Box::new(hps.expect("loads")));

    reseed(&[11]);
    let captions = ["a red cat", "a green bird"].map(str::to_owned).to_vec();
    let prompts = Prompts::plain(captions);
    let latents = Tensor::randn([&[2][..], &shape].concat(), (Kind::Float, Device::Cpu));
    let total = |x0: &Tensor| {
        mix.score(x0, &prompts, 0)
            .expect("scores")
            .total
            .sum(Kind::Double)
    };
    let leaf = latents.copy().set_requires_grad(true);
    let gradient = Tensor::run_backward(&[total(&leaf)], &[&leaf], false, false).remove(0);
    let norm = gradient.norm().double_value(&[]);
    assert!(norm > 1e-4, "the rewards see the latents: {norm}");

    // Along the gradient the slope is its norm; along a direction at right angles to it, nothing.
    let along = &gradient / norm;
    let random = latents.randn_like();
    let across = &random - &along * (&random * &along).sum(Kind::Float);
    let across = &across / across.norm();
    let slope = |direction: &Tensor| {
        let step = 3e-3 * latents.norm().double_value(&[]);
        let ends =
            [step, -step].map(|step| total(&(&latents + direction * step)).double_value(&[]));
        (ends[0] - ends[1]) / (2.0 * step)
    };
    assert!(
        (slope(&along) / norm - 1.0).abs() < 0.02,
        "{} {norm}",
        slope(&along)
    );
    assert!(
        slope(&across).abs() < 0.02 * norm,
        "{} {norm}",
        slope(&across)
    );
}

#[test]
fn twenty_updates_raise_the_reward() {
    let dir = pipeline::tiny_run();
    let here = dir.path();
    let config = fs::read_to_string(here.join("run.toml")).expect("written");
    let method =
        "[method.rl]\nalgorithm = \"refl\"\nnum_updates = 20\nbatch_size = 8\npretraining = 0.0\n";
    let text = config.replace("[method.dmdr]\nnum_updates = 1\nbatch_size = 2\n", method);
    let tuning = "tuning = { lora = { rank = 2, alpha = 2.0, targets = [\"*to_q\"] } }";
    let text = text.replace(tuning, "tuning = \"full\"");
    let text = text.replace("lr = 1e-2", "lr = 3e-3");
    let text = text.replace("[optim.fake_score]\nlr = 3e-3\n", "");
    assert!(
        text.contains("pretraining") && text.contains("full"),
        "{text}"
    );
    fs::write(here.join("run.toml"), text + REWARDS).expect("writable");
    succeed(here, &["train", "run.toml"]);

    let metrics = fs::read_to_string(here.join("runs/tiny/metrics.jsonl")).expect("written");
    let reward: Vec<f64> = metrics
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"))
        .filter_map(|row| {
            let mean = |name: &str| row["values"][format!("reward/{name}/mean")].as_f64();
            Some(3.0 * mean("clip")? + mean("hps")?)
        })
        .collect();
    assert_eq!(reward.len(), 20);
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    let (first, last) = (mean(&reward[..4]), mean(&reward[16..]));
    assert!(last > first + 0.02, "{reward:?}");
}
