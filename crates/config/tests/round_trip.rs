//! Any experiment renders to TOML that loads to an equal value.

use std::path::Path;

use dmdr_config::{
    Augmentation, Checkpointing, Curve, Device, DistributionMatching, Dmdr, Dpo, Ema, Evaluation,
    Events, Experiment, FakeForm, FakeScore, FakeScoreLoss, Groups, Grpo, Guard, GuardAction,
    KindShares, Lora, LoraInit, Memory, Method, NetId, Optim, Optimizer, Precision,
    ReinforcementLearning, Reward, RewardModel, RewardWeights, RlAlgorithm, RlAlone, StepWeighting,
    Student, Teacher, TimeDistribution, Transition, Tuning, World, WorldPreset,
};
use proptest::prelude::*;

fn positive() -> impl Strategy<Value = f64> {
    prop_oneof![1e-12..1e-3, 1e-3..1e3]
}

fn guard() -> impl Strategy<Value = Guard> {
    let metric = prop_oneof![Just("preference_heldout"), Just("diversity")];
    let action = prop_oneof![
        Just(GuardAction::Stop),
        (0.0..1.0).prop_map(GuardAction::LowerRl),
    ];
    (metric, 1_u64..9, action).prop_map(|(metric, patience, action)| Guard {
        metric: metric.to_owned(),
        patience,
        action,
    })
}

fn fits(guard: &Guard, method: &Method) -> bool {
    let has_both = matches!(method, Method::Dmdr(dmdr) if dmdr.rl.is_some());
    guard.action == GuardAction::Stop || has_both
}

/// Optimisers of the networks that `method` trains.
fn optim(method: &Method, student: Optimizer, fake_score: Optimizer) -> Optim {
    let fake_score = matches!(method, Method::Dmdr(_)).then_some((NetId::FAKE_SCORE, fake_score));
    Optim::new([(NetId::STUDENT, student)].into_iter().chain(fake_score))
}

/// Boxed, as an experiment holds so many that they do not all fit on a test's stack.
fn curve() -> BoxedStrategy<Curve> {
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
    .boxed()
}

fn time() -> impl Strategy<Value = TimeDistribution> {
    prop_oneof![
        Just(TimeDistribution::Uniform),
        (curve(), curve()).prop_map(|(a, b)| TimeDistribution::Beta { a, b }),
        (curve(), curve()).prop_map(|(mean, std)| TimeDistribution::LogitNormal { mean, std }),
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
        prop_oneof![Just(LoraInit::KaimingUniform), Just(LoraInit::Gaussian)],
        prop::option::of(prop::collection::vec("[a-z0-9.*_\"\\\\é ]{1,8}x", 1..3)),
    )
        .prop_map(|(rank, alpha, init_lora_weights, targets)| Lora {
            rank,
            alpha,
            init_lora_weights,
            targets,
        })
}

fn reward() -> impl Strategy<Value = Reward> {
    let hinge = prop::option::of(-1.0..1.0);
    let reward = (curve(), hinge, any::<bool>(), "[a-z/._ -]{1,12}x");
    reward.prop_map(|(weight, hinge, clip, path)| {
        let weights = RewardWeights {
            weights: path.into(),
        };
        let model = if clip {
            RewardModel::WorldClip(weights)
        } else {
            RewardModel::Preference(weights)
        };
        Reward {
            weight,
            augmentations: 2,
            hinge,
            prefix: None, // these two read no text
            model,
        }
    })
}

fn groups() -> impl Strategy<Value = Groups> {
    (1_usize..=8, 2_usize..32).prop_map(|(num_prompts, size)| Groups { num_prompts, size })
}

fn transition() -> impl Strategy<Value = Transition> {
    prop_oneof![
        (0.01..=1.0).prop_map(Transition::CoefficientPreserving),
        positive().prop_map(Transition::FlowSde),
    ]
}

/// `num_train_steps` stays 0: how many there may be hangs on the student.
fn algorithm() -> impl Strategy<Value = RlAlgorithm> {
    let grpo = (
        groups(),
        transition(),
        any::<bool>(),
        prop_oneof![Just(StepWeighting::Variance), Just(StepWeighting::Uniform)],
        positive(),
        0.0..1.0,
        positive(),
        1_usize..4,
    );
    prop_oneof![
        Just(RlAlgorithm::Refl),
        (groups(), positive(), 0_u64..100).prop_map(|(groups, beta, refresh_every)| {
            RlAlgorithm::Dpo(Dpo {
                groups,
                beta,
                refresh_every,
            })
        }),
        grpo.prop_map(
            |(
                groups,
                transition,
                shared_noise,
                step_weighting,
                max_advantage,
                clip,
                kl,
                num_inner_updates,
            )| {
                RlAlgorithm::Grpo(Grpo {
                    groups,
                    transition,
                    shared_noise,
                    step_weighting,
                    max_advantage,
                    clip,
                    kl,
                    num_train_steps: 0,
                    num_inner_updates,
                })
            }
        ),
    ]
}

fn augmentation() -> impl Strategy<Value = Augmentation> {
    (curve(), time(), any::<bool>()).prop_map(|(weight, renoise, below_input)| Augmentation {
        weight,
        renoise,
        below_input,
    })
}

fn rewards() -> impl Strategy<Value = Vec<Reward>> {
    prop::collection::vec(reward(), 1..3)
}

fn dmdr() -> impl Strategy<Value = (Method, Vec<Reward>)> {
    let dm = (
        curve(),
        curve(),
        time(),
        any::<bool>(),
        prop::option::of(1.0..9.0),
        prop::option::of(augmentation()),
    )
        .prop_map(
            |(weight, real_scale, renoise, normalize, lowest, augmentation)| DistributionMatching {
                weight,
                real_scale,
                renoise,
                normalize,
                guidance: lowest.map(|low: f64| [low, low + 1.0]),
                augmentation,
            },
        );
    let rl = prop_oneof![
        Just((None, Vec::new())),
        (curve(), algorithm(), rewards()).prop_map(|(weight, algorithm, rewards)| {
            let rl = ReinforcementLearning { weight, algorithm };
            (Some(rl), rewards)
        }),
    ];
    (1_u64..10_000, 8_usize..64, 1_u64..9, dm, time(), rl).prop_map(
        |(num_updates, batch_size, ttur, dm, renoise, (rl, rewards))| {
            let method = Method::Dmdr(Box::new(Dmdr {
                num_updates,
                batch_size,
                ttur,
                dm,
                fake_score: FakeScoreLoss { renoise },
                rl,
            }));
            (method, rewards)
        },
    )
}

fn rl_alone() -> impl Strategy<Value = (Method, Vec<Reward>)> {
    (1_u64..10_000, 8_usize..64, algorithm(), curve(), rewards()).prop_map(
        |(num_updates, batch_size, mut algorithm, pretraining, rewards)| {
            if let RlAlgorithm::Dpo(dpo) = &mut algorithm
                && dpo.refresh_every == 1
            {
                dpo.refresh_every = 0; // there is no other regulariser
            }
            let method = Method::Rl(Box::new(RlAlone {
                num_updates,
                batch_size,
                algorithm,
                pretraining: match algorithm {
                    RlAlgorithm::Refl => pretraining,
                    _ => Curve::Constant(0.0),
                },
            }));
            (method, rewards)
        },
    )
}

fn method() -> impl Strategy<Value = (Method, Vec<Reward>)> {
    prop_oneof![dmdr(), rl_alone()]
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

#[expect(clippy::too_many_lines, reason = "one value with all its fields")]
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
        2_usize..=8,
        positive(),
        tuning(),
        lora(),
        positive(),
        prop::option::of("[a-z/._ -]{1,12}x"),
    );
    let rest = (
        optimizer(),
        optimizer(),
        prop::option::of(0.0..1.0),
        0_u64..500,
        1_usize..9,
        prop::option::of(guard()),
    );
    (run, models, method(), rest).prop_map(|(run, models, (method, rewards), rest)| {
        let (name, seed, device, mini) = run;
        let (guidance, teacher_steps, num_steps, shift, tuning, fake, scale, init) = models;
        let (student, fake_score, decay, every, count, guard) = rest;
        Experiment {
            name,
            seed,
            device,
            precision: [Precision::F32, Precision::Bf16][usize::from(mini)],
            accumulate: 3,
            memory: Memory {
                base_in_8_bits: mini,
                base_on_host: !mini,
                rewards_on_host: mini,
                shard_base: !mini,
                shard_moments: mini,
            },
            gradient_checkpointing: if mini {
                Checkpointing::ALL
            } else {
                Checkpointing::of(0.5)
            },
            world: World::Preset([WorldPreset::Geneval, WorldPreset::Mini][usize::from(mini)]),
            kinds: KindShares {
                counting: shift,
                ..KindShares::default()
            },
            teacher: Teacher {
                num_steps: teacher_steps,
                guidance,
                ..Teacher::default()
            },
            student: Student {
                num_steps,
                shift,
                conditioning_time: None, // only with one step
                tuning,
                init: init.clone().map(Into::into),
            },
            fake_score: FakeScore {
                form: [FakeForm::Lora, FakeForm::OutputLora][usize::from(mini)],
                rank: fake.rank,
                alpha: fake.alpha,
                // Only `lora` has others.
                init_lora_weights: [fake.init_lora_weights, LoraInit::default()][usize::from(mini)],
                targets: fake.targets.filter(|_| !mini), // likewise
                scale,
                init: init.map(Into::into),
            },
            guard: guard.filter(|guard| fits(guard, &method)),
            optim: optim(&method, student, fake_score),
            method,
            rewards,
            ema: decay.map(|decay| Ema { decay }),
            events: Events {
                sample_every: every,
                evaluate_every: every + 1,
                keep_checkpoints: count,
                ..Events::default()
            },
            evaluation: Evaluation {
                num_prompts: count,
                num_seeds: 2,
                ..Evaluation::default()
            },
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
    let base = "name = \"x\"\nmethod.dmdr = {}\n[optim]\nstudent.lr = 1e-4\nfake_score.lr = 1e-4";
    let written_out = "# a comment\nseed = 0\nname = \"x\"\n[method.dmdr]\nttur = 3\n[optim.fake_score]\nlr = 0.0001\n[optim.student]\nlr = { constant = 1e-4 }";
    let hash = load(base).hash();
    assert_eq!(load(written_out).hash(), hash);
    assert_eq!(hash.len(), 16);
    assert!(hash.bytes().all(|byte| byte.is_ascii_hexdigit()));
    assert_ne!(load(&base.replace("1e-4", "2e-4")).hash(), hash);
}

/// A judge elsewhere may move in the middle of a run; another question or another range is another reward.
#[test]
fn a_judge_that_moves_is_the_same_and_one_that_is_asked_something_else_is_not() {
    let text = "name = \"x\"\n[world.prompts]\ntrain = \"a.txt\"\nvalidation = \"a.txt\"\nsize = 24\nembeddings = \"c\"\n\
        [teacher]\nweights = \"base\"\n[method.dmdr]\nrl.algorithm = { grpo = {} }\n[optim]\nstudent.lr = 1e-4\n\
        fake_score.lr = 1e-4\n[[rewards]]\n[rewards.model.vlm]\nurl = \"http://a\"\nmodel = \"m\"\n\
        template = \"{question}\"\nrange = [0, 10]\n";
    let load = |more: &[(&str, &str)]| {
        let sets: Vec<String> = more
            .iter()
            .map(|(key, value)| format!("rewards.0.model.vlm.{key}={value}"))
            .collect();
        Experiment::parse(Path::new("x.toml"), text, &sets).expect("valid")
    };
    let begun = load(&[]);
    let toml = begun.to_toml();
    let new_keys = ["max_tokens", "omit", "parameters"];
    assert!(new_keys.iter().all(|key| !toml.contains(key)), "{toml}");
    let moved = [
        ("url", "http://b"),
        ("key_env", "KEY"),
        ("timeout_s", "7"),
        ("attempts", "2"),
        ("cache", "answers"),
        ("max_tokens", "512"),
        ("omit", "[\"temperature\"]"),
        ("parameters", "{ a = { b = [1, 0.5, \"c\", true] } }"),
    ];
    for change in moved.iter().map(std::slice::from_ref).chain([&moved[..]]) {
        let now = load(change);
        assert_ne!(now.hash(), begun.hash(), "{change:?}");
        assert_eq!(now.identity(), begun.identity(), "{change:?}");
        assert_eq!(now.moved_judges(&begun), ["rewards.0.model.vlm"]);
        let again = Experiment::parse(Path::new("x.toml"), &now.to_toml(), &[]);
        assert_eq!(again.expect("valid"), now, "{change:?}");
    }
    assert!(begun.moved_judges(&begun).is_empty());
    for change in [
        ("model", "n"),
        ("template", "Is it {question}"),
        ("range", "[0, 5]"),
        ("name", "other"),
    ] {
        let now = load(&[change]);
        assert_ne!(now.identity(), begun.identity(), "{change:?}");
        assert!(now.moved_judges(&begun).is_empty(), "{change:?}");
    }
}
