//! Any experiment renders to TOML that loads to an equal value.

use std::path::Path;

use dmdr_config::{
    Curve, Device, DistributionMatching, Dmdr, Ema, Evaluation, Events, Experiment, FakeScore,
    Lora, Method, Optim, Optimizer, Precision, ReinforcementLearning, Reward, RewardModel,
    RewardWeights, RlAlgorithm, Score, Student, Teacher, TimeDistribution, Tuning, World,
    WorldPreset,
};
use proptest::prelude::*;

fn positive() -> impl Strategy<Value = f64> {
    prop_oneof![1e-12..1e-3, 1e-3..1e3]
}

fn curve() -> impl Strategy<Value = Curve> {
    let over = 1_u64..1000;
    prop_oneof![
        positive().prop_map(Curve::Constant),
        (positive(), positive(), over.clone()).prop_map(|(from, to, over)| Curve::Linear {
            from,
            to,
            over
        }),
        (positive(), positive(), over.clone()).prop_map(|(from, to, over)| Curve::Cosine {
            from,
            to,
            over
        }),
        (positive(), positive(), 0_u64..9).prop_map(|(from, to, at)| Curve::Step { from, to, at }),
        (positive(), positive(), 0_u64..9, over).prop_map(|(peak, end, warmup, more)| {
            Curve::WarmupCosine {
                peak,
                warmup,
                total: warmup + more,
                end,
            }
        }),
    ]
}

fn time() -> impl Strategy<Value = TimeDistribution> {
    prop_oneof![
        Just(TimeDistribution::Uniform),
        (curve(), curve()).prop_map(|(a, b)| TimeDistribution::Beta { a, b }),
        (-2.0..2.0, positive()).prop_map(|(mean, std)| TimeDistribution::LogitNormal { mean, std }),
    ]
}

fn optimizer() -> impl Strategy<Value = Optimizer> {
    (
        curve(),
        [0.0..1.0, 0.0..1.0],
        positive(),
        0.0..1.0,
        positive(),
    )
        .prop_map(|(lr, betas, eps, weight_decay, clip_norm)| Optimizer {
            lr,
            betas,
            eps,
            weight_decay,
            clip_norm,
        })
}

fn lora() -> impl Strategy<Value = Lora> {
    (
        1_usize..128,
        positive(),
        prop::collection::vec("[a-z0-9.*_\"\\\\é ]{1,8}x", 1..3),
    )
        .prop_map(|(rank, alpha, targets)| Lora {
            rank,
            alpha,
            targets,
        })
}

fn reward() -> impl Strategy<Value = Reward> {
    (curve(), any::<bool>(), "[a-z/._ -]{1,12}x").prop_map(|(weight, clip, path)| {
        let weights = RewardWeights {
            weights: path.into(),
        };
        let model = if clip {
            RewardModel::WorldClip(weights)
        } else {
            RewardModel::Preference(weights)
        };
        Reward { weight, model }
    })
}

fn method() -> impl Strategy<Value = (Method, Vec<Reward>)> {
    let terms = (curve(), curve(), time(), any::<bool>(), time());
    let rl = prop_oneof![
        Just((None, Vec::new())),
        (curve(), prop::collection::vec(reward(), 1..3)).prop_map(|(weight, rewards)| {
            (
                Some(ReinforcementLearning {
                    weight,
                    algorithm: RlAlgorithm::Refl,
                }),
                rewards,
            )
        }),
    ];
    (1_u64..10_000, 8_usize..64, 1_u64..9, terms, rl).prop_map(
        |(
            num_updates,
            batch_size,
            ttur,
            (weight, real_scale, renoise, normalize, score),
            (rl, rewards),
        )| {
            let method = Method::Dmdr(Box::new(Dmdr {
                num_updates,
                batch_size,
                ttur,
                dm: DistributionMatching {
                    weight,
                    real_scale,
                    renoise,
                    normalize,
                },
                score: Score { renoise: score },
                rl,
            }));
            (method, rewards)
        },
    )
}

fn device() -> impl Strategy<Value = Device> {
    prop_oneof![
        Just(Device::Cpu),
        Just(Device::Cuda(None)),
        (0_usize..16).prop_map(|index| Device::Cuda(Some(index))),
    ]
}

fn tuning() -> impl Strategy<Value = Tuning> {
    prop_oneof![Just(Tuning::Full), lora().prop_map(Tuning::Lora)]
}

fn experiment() -> impl Strategy<Value = Experiment> {
    let run = (
        "[a-z0-9][a-z0-9._-]{0,20}",
        0..=i64::MAX as u64,
        device(),
        any::<bool>(),
    );
    let models = (
        1.0..10.0,
        1_usize..100,
        1_usize..=8,
        positive(),
        tuning(),
        lora(),
        positive(),
    );
    let rest = (
        optimizer(),
        optimizer(),
        prop::option::of(0.0..1.0),
        0_u64..500,
        1_usize..9,
    );
    (run, models, method(), rest).prop_map(|(run, models, (method, rewards), rest)| {
        let (name, seed, device, mini) = run;
        let (guidance, teacher_steps, num_steps, shift, tuning, fake, scale) = models;
        let (generator, score, decay, every, count) = rest;
        Experiment {
            name,
            seed,
            device,
            precision: if mini {
                Precision::Bf16
            } else {
                Precision::F32
            },
            world: World {
                preset: if mini {
                    WorldPreset::Mini
                } else {
                    WorldPreset::Geneval
                },
            },
            teacher: Teacher {
                num_steps: teacher_steps,
                guidance,
                ..Teacher::default()
            },
            student: Student {
                num_steps,
                shift,
                tuning,
            },
            fake_score: FakeScore {
                rank: fake.rank,
                alpha: fake.alpha,
                targets: fake.targets,
                scale,
            },
            method,
            rewards,
            optim: Optim { generator, score },
            ema: decay.map(|decay| Ema { decay }),
            events: Events {
                sample_every: every,
                keep_checkpoints: count,
                ..Events::default()
            },
            evaluation: Evaluation { num_prompts: count },
            assets: dmdr_config::Assets::default(),
        }
    })
}

proptest! {
    #[test]
    fn render_and_load(experiment in experiment()) {
        prop_assert!(experiment.check().is_ok());
        let text = experiment.to_toml();
        let again = Experiment::parse(Path::new("resolved.toml"), &text, &[]);
        let again = again.map_err(|error| TestCaseError::fail(format!("{error}\n{text}")))?;
        prop_assert_eq!(again.hash(), experiment.hash());
        prop_assert_eq!(again, experiment);
    }
}

#[test]
fn the_hash_depends_on_values_not_on_how_they_are_written() {
    let load = |text: &str| Experiment::parse(Path::new("x.toml"), text, &[]).expect("valid");
    let base = "name = \"x\"\nmethod.dmdr = {}\n[optim]\ngenerator.lr = 1e-4\nscore.lr = 1e-4";
    let written_out = "# a comment\nseed = 0\nname = \"x\"\n[method.dmdr]\nttur = 3\n[optim.score]\nlr = 0.0001\n[optim.generator]\nlr = { constant = 1e-4 }";
    let hash = load(base).hash();
    assert_eq!(load(written_out).hash(), hash);
    assert_eq!(hash.len(), 16);
    assert!(hash.bytes().all(|byte| byte.is_ascii_hexdigit()));
    assert_ne!(load(&base.replace("1e-4", "2e-4")).hash(), hash);
}
