//! One generator step and one fake-score step of DMD on tiny published backbones: losses and all gradients agree with a
//! PyTorch computation written from the formulas (`tools/peer/dmd.py`).

mod tiny;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use dmdr_batches::Prompts;
use dmdr_config::{Curve, DistributionMatching, FakeScoreLoss, Motion, NetId};
use dmdr_diffusion::Schedule;
use dmdr_methods::{Losses, Net, Nets, Network, Rollout, Share, Teacher, term};
use dmdr_models::{
    Conditioning, Denoiser, Guidance, ModelError, Sd3, SdxlUnet, Sit, SitConfig,
    load_diffusers_config,
};
use dmdr_tensor::{
    AdapterId, AdapterSpec, Device, Kind, ParamStore, Tensor, no_grad_guard, read_metadata,
    read_tensors, reseed,
};
use tiny::{Tiny, largest};

/// Relative, as everywhere in parity; gradients beside a hundredth of the largest of their kind.
const TOLERANCE: f64 = 1e-4;
const FAKE_SCALE: f64 = 1.5;

fn fixtures(krate: &str) -> PathBuf {
    PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"))
        .join("..")
        .join(krate)
        .join("tests/fixtures")
}

struct Fixture(BTreeMap<String, Tensor>);

impl Fixture {
    fn read(name: &str) -> Self {
        let path = fixtures("methods").join(format!("{name}.safetensors"));
        Self(read_tensors(&path).expect("tensors"))
    }

    fn get(&self, name: &str) -> &Tensor {
        &self.0[name]
    }

    #[track_caller]
    fn agrees(&self, name: &str, got: &Tensor, scale: f64) {
        let expected = self.get(name);
        let error = largest(&(got - expected)) / largest(expected).max(scale);
        assert!(error < TOLERANCE, "{name}: relative error {error:.2e}");
    }

    /// Loss `term`, the state it was taken at, and its gradients with respect to all of `store`.
    #[track_caller]
    fn agrees_with_step(&self, step: &str, gradients: &str, losses: &Losses, store: &ParamStore) {
        self.agrees(&format!("{step}.loss"), &losses.total(), 0.0);
        let group = store.group();
        let got = Tensor::run_backward(&[losses.total()], &group.tensors, false, false);
        let scale = 0.01 * got.iter().map(largest).fold(0.0, f64::max);
        assert!(scale > 0.0);
        for (name, gradient) in group.names.iter().zip(&got) {
            let name = format!("grad.{gradients}.{name}");
            let kept = self.get(&name).numel() as i64; // of long ones the first numbers
            self.agrees(&name, &gradient.flatten(0, -1).narrow(0, 0, kept), scale);
        }
        let expected = self
            .0
            .keys()
            .filter(|key| key.starts_with(&format!("grad.{gradients}.")));
        assert_eq!(expected.count(), group.names.len());
    }
}

/// A backbone built twice: the base with the fake score's LoRA, and the student at nine tenths of its weights.
fn agrees<N: Denoiser + 'static>(
    fixture: &Fixture,
    targets: &[&str],
    build: impl Fn(&ParamStore, &[AdapterSpec]) -> Result<N, ModelError>,
    load: impl Fn(&ParamStore),
    (cond, null): (Conditioning, Conditioning),
    schedule: Schedule,
) {
    let base = ParamStore::frozen(Device::Cpu);
    let score = ParamStore::trainable(Device::Cpu, 0);
    let student = ParamStore::trainable(Device::Cpu, 0);
    let targets: Vec<String> = targets.iter().map(ToString::to_string).collect();
    let specs = [AdapterSpec::new(2, 4.0, &targets, score.clone())];
    let net = build(&base, &specs).expect("targets match");
    let generator = build(&student, &[]).expect("no adapters");
    load(&base);
    student.copy_from(&base);
    {
        let _guard = no_grad_guard();
        for tensor in student.group().tensors {
            let _ = tensor.shallow_clone().g_mul_scalar_(0.9);
        }
    }
    let adapter = fixture.0.iter().filter_map(|(name, tensor)| {
        let name = name.strip_prefix("lora.")?;
        Some((name.to_owned(), tensor.shallow_clone()))
    });
    let adapter = adapter.collect();
    score
        .load_tensors(&adapter, Path::new("fixture"))
        .expect("fits");

    let teacher = Teacher {
        net: Box::new(net),
        store: base,
        schedule,
        guidance: Guidance { scale: 3.0, null },
    };
    let beside = [
        (NetId::STUDENT, &student, Network::Full(Box::new(generator))),
        (NetId::FAKE_SCORE, &score, Network::Adapter(AdapterId(0))),
    ];
    let beside =
        beside.map(|(id, store, network)| Net::new(id, store.clone(), network, Motion::Trained));
    let mut tiny = Tiny::of(Nets::new(Some(teacher), beside.into()));
    let update = tiny.at(0, 0);
    let rollout = Rollout {
        prompts: Prompts::plain(vec![String::new(); 2]),
        cond,
        x_t: fixture.get("x_t").shallow_clone(),
        t: fixture.get("t").shallow_clone(),
        x0: fixture.get("x0").shallow_clone(),
        share: Share::WHOLE,
    };

    let dm = DistributionMatching {
        real_scale: Curve::Constant(0.4),
        ..DistributionMatching::default()
    };
    let view = update.view(NetId::STUDENT).trained();
    let x0 = view.x0(&rollout.x_t, &rollout.t, &rollout.cond);
    reseed(&[1]);
    let losses = term::dm(&dm, FAKE_SCALE, &update, &x0, &rollout);
    fixture.agrees_with_step("generator", "student", &losses, &student);

    reseed(&[2]);
    let losses = term::fake_score(&FakeScoreLoss::default(), FAKE_SCALE, &update, &rollout);
    fixture.agrees("score.t", &losses.batch["t"], 0.0);
    fixture.agrees("score.x_t", &losses.batch["x_t"], 0.0);
    fixture.agrees_with_step("score", "lora", &losses, &score);
}

#[test]
fn sit() {
    let fixture = Fixture::read("sit");
    let path = fixtures("models").join("sit_repa.safetensors");
    let config = &read_metadata(&path).expect("metadata")["config"];
    let config: SitConfig = serde_json::from_str(config).expect("sizes");
    let labels = |name: &str| Sit::condition(&fixture.get(name).to_kind(Kind::Int64));
    let load = |store: &ParamStore| {
        let tensors = read_tensors(&path).expect("tensors");
        let weights = tensors
            .into_iter()
            .filter_map(|(name, tensor)| Some((name.strip_prefix("weights.")?.to_owned(), tensor)));
        store.load_tensors(&weights.collect(), &path).expect("fits");
    };
    agrees(
        &fixture,
        &Sit::LORA_TARGETS,
        |store, specs| Sit::new(store, specs, config.clone()),
        load,
        (labels("labels"), labels("null.labels")),
        Schedule::RectifiedFlow,
    );
}

#[test]
fn sd3() {
    let fixture = Fixture::read("sd3");
    let folder = fixtures("models").join("sd3_qk_norm");
    let config = load_diffusers_config::<Sd3>(&folder).expect("config.json");
    let text = |prefix: &str| Conditioning {
        tokens: fixture.get(&format!("{prefix}tokens")).shallow_clone(),
        pooled: fixture.get(&format!("{prefix}pooled")).shallow_clone(),
    };
    agrees(
        &fixture,
        &Sd3::LORA_TARGETS,
        |store, specs| Sd3::new(store, specs, config.clone()),
        |store| {
            store.load_folder(&folder).expect("fits");
        },
        (text(""), text("null.")),
        Schedule::RectifiedFlow,
    );
}

#[test]
fn sdxl() {
    let fixture = Fixture::read("sdxl");
    let folder = fixtures("models").join("sdxl");
    let config = load_diffusers_config::<SdxlUnet>(&folder).expect("config.json");
    let text = |prefix: &str| {
        let get = |name: &str| fixture.get(&format!("{prefix}{name}"));
        SdxlUnet::condition(get("tokens").shallow_clone(), get("pooled"), get("sizes"))
    };
    agrees(
        &fixture,
        &[
            "down_blocks.1.attentions.0.*",
            "up_blocks.2.resnets.0.*",
            "*samplers.0.conv",
        ],
        |store, specs| SdxlUnet::new(store, specs, config.clone()),
        |store| {
            store.load_folder(&folder).expect("fits");
        },
        (text(""), text("null.")),
        Schedule::ScaledLinear,
    );
}
