//! Exact oracles: data N(M, S^2), a student N(m, s^2), and both scores in closed form.

mod tiny;

use dmdr_config::{Curve, Dmdr as DmdrConfig, TimeDistribution};
use dmdr_data::PromptStream;
use dmdr_diffusion::{Parameterization, Schedule, loss, sample_times, time_grid};
use dmdr_methods::{Depths, Dmdr, Method, StepInfo, backward_simulation};
use dmdr_models::{Call, Conditioning, Denoiser, View};
use dmdr_tensor::{AdapterId, Device, Kind, Tensor, reseed};
use dmdr_world::{Preset, World};
use tiny::{Tiny, cond, values};

const M: f64 = 0.7;
const S: f64 = 0.4;

/// Posterior mean of x0 for data N(mean, std^2): `E[x0 | x_t]`.
struct Exact {
    mean: f64,
    std: f64,
}

impl Denoiser for Exact {
    fn forward(&self, x_t: &Tensor, t: &Tensor, _: &Conditioning, _: &Call<'_>) -> Tensor {
        let t = t.reshape([-1, 1, 1, 1]);
        let alpha: Tensor = 1.0 - &t;
        let variance = alpha.square() * self.std.powi(2) + t.square();
        self.mean + self.std.powi(2) * &alpha / variance * (x_t - &alpha * self.mean)
    }

    fn parameterization(&self) -> Parameterization {
        Parameterization::X0
    }
}

fn nothing(batch: i64) -> Conditioning {
    let options = (Kind::Float, Device::Cpu);
    Conditioning {
        tokens: Tensor::zeros([batch, 1, 1], options),
        pooled: Tensor::zeros([batch, 1], options),
    }
}

fn view(net: &Exact) -> View<'_> {
    View {
        net,
        schedule: Schedule::RectifiedFlow,
        call: Call::default(),
        guidance: None,
    }
}

/// Gradient of the un-normalised matching loss with respect to the student's mean, over many samples.
fn mean_gradient(student_mean: f64, times: &TimeDistribution) -> f64 {
    reseed(&[3]);
    let n = 400_000;
    let options = (Kind::Float, Device::Cpu);
    let m = Tensor::from_slice(&[student_mean as f32]).set_requires_grad(true);
    let x0 = &m + Tensor::randn([n, 1, 1, 1], options) * S;
    let t = sample_times(times, 0, n, Device::Cpu);
    let x_t = Schedule::RectifiedFlow.add_noise(&x0.detach(), &x0.randn_like(), &t);
    let cond = nothing(n);
    let real = view(&Exact { mean: M, std: S }).x0_no_grad(&x_t, &t, &cond);
    let fake = view(&Exact {
        mean: student_mean,
        std: S,
    })
    .x0_no_grad(&x_t, &t, &cond);
    let loss = loss::distribution_matching(&x0, &real, &fake, false).loss;
    Tensor::run_backward(&[loss], &[&m], false, false)[0].double_value(&[0])
}

#[test]
fn matching_gradient_on_gaussians_is_the_analytic_one() {
    // d/dm = E_t[t^2 / Sig_t^2] (m - M), Sig_t^2 = (1-t)^2 S^2 + t^2. The golden factors are for times on (0, 1); ours
    // are clamped to [.02, .98], which moves them by less than the tolerance.
    let beta = TimeDistribution::Beta {
        a: Curve::Constant(4.0),
        b: Curve::Constant(1.5),
    };
    for (times, factor) in [(TimeDistribution::Uniform, 0.687_742), (beta, 0.941_923)] {
        for student in [-0.5, 0.2, 1.4] {
            let expected = factor * (student - M);
            let got = mean_gradient(student, &times);
            assert!(
                (got - expected).abs() < 4e-3,
                "{times:?} m = {student}: {got}, {expected}"
            );
        }
        assert!(
            mean_gradient(M, &times).abs() < 1e-6,
            "no gradient at the optimum"
        );
    }
}

#[test]
fn the_first_rollout_input_is_pure_noise_and_times_are_spread_evenly() {
    reseed(&[8]);
    let world = World::new(Preset::Mini).expect("valid drawings");
    let n = 40_000;
    let prompts = PromptStream::training(&world, 0)
        .prompts(0, n, 16, Device::Cpu)
        .expect("fits");
    let n = n as i64;
    let noise = Tensor::randn([n, 1, 1, 1], (Kind::Float, Device::Cpu));
    let student = Exact { mean: M, std: S };
    let times = [1.0, 0.75, 0.5, 0.25, 0.0];
    let r = {
        let depths = Depths::of(n as usize, 4, &StepInfo::at(0));
        backward_simulation(
            &view(&student),
            &times,
            &depths,
            &noise,
            prompts,
            nothing(n),
        )
    };
    for (block, t) in [0.25, 0.5, 0.75, 1.0].into_iter().enumerate() {
        let part = r.t.narrow(0, block as i64 * n / 4, n / 4);
        assert!(
            part.eq(t).all().int64_value(&[]) == 1,
            "block {block} is at {t}"
        );
    }
    let first = r.x_t.narrow(0, n * 3 / 4, n / 4);
    assert_eq!(first, noise.narrow(0, n * 3 / 4, n / 4));
    // One posterior-mean step from noise gives M everywhere; renoised to .75: N(.25 M, .75^2).
    let second = r.x_t.narrow(0, n / 2, n / 4);
    assert!((second.mean(Kind::Double).double_value(&[]) - 0.25 * M).abs() < 0.02);
    assert!((second.std(true).double_value(&[]) - 0.75).abs() < 0.02);
}

fn dmdr() -> (Dmdr, Tiny) {
    let (roles, tiny) = Tiny::new();
    let method = Dmdr::new(
        DmdrConfig::default(),
        time_grid(2, 1.0),
        1.0,
        roles,
        None,
        [3, 8, 8],
    );
    (method, tiny)
}

#[test]
fn the_real_score_without_its_dose_is_the_teacher_bit_for_bit() {
    let (method, ..) = dmdr();
    let roles = method.roles();
    let x = Tensor::randn([4, 3, 8, 8], (Kind::Float, Device::Cpu));
    let t = Tensor::from_slice(&[0.1f32, 0.4, 0.7, 0.9]);
    let cond = cond();
    let teacher = roles.teacher().x0_no_grad(&x, &t, &cond);
    let at = |scale: f64| {
        roles
            .real_score(&[(AdapterId(0), scale)])
            .x0_no_grad(&x, &t, &cond)
    };
    assert_eq!(at(0.0), teacher);
    assert_ne!(at(0.5), teacher);
    // At the fake score's scale and without guidance the two scores are one, and the gradient is exactly 0.
    let adapters = [(AdapterId(0), 1.0)];
    let fake = roles.fake_score(&adapters, false).x0_no_grad(&x, &t, &cond);
    let real = View {
        guidance: None,
        ..roles.real_score(&adapters)
    }
    .x0_no_grad(&x, &t, &cond);
    let matching = loss::distribution_matching(&x, &real, &fake, true);
    assert!(matching.gradient_abs.double_value(&[]).abs() < f64::MIN_POSITIVE);
}

#[test]
fn decoupled_at_equal_times_is_plain_matching_with_guidance() {
    let (method, ..) = dmdr();
    let adapters = [(AdapterId(0), 0.5)];
    let teacher = method.roles().real_score(&adapters);
    let options = (Kind::Float, Device::Cpu);
    let (x0, x_t) = (
        Tensor::randn([4, 3, 8, 8], options),
        Tensor::randn([4, 3, 8, 8], options),
    );
    let t = Tensor::from_slice(&[0.1f32, 0.4, 0.7, 0.9]);
    let cond = cond();
    let fake = Tensor::randn([4, 3, 8, 8], options);
    let gradient = |x0_real: &Tensor, x0_fake: &Tensor| {
        let x0 = x0.detach().set_requires_grad(true);
        let loss = loss::distribution_matching(&x0, x0_real, x0_fake, false).loss;
        Tensor::run_backward(&[loss], &[&x0], false, false).remove(0)
    };
    let coupled = gradient(&teacher.x0_no_grad(&x_t, &t, &cond), &fake);
    let guidance = teacher.guidance_no_grad(&x_t, &t, &cond);
    let conditional = teacher.unguided().x0_no_grad(&x_t, &t, &cond);
    let decoupled = gradient(&conditional, &(&fake - guidance));
    assert!((coupled - decoupled).abs().max().double_value(&[]) < 1e-6);
    let none = teacher.unguided().guidance_no_grad(&x_t, &t, &cond);
    assert!(
        none.abs().max().double_value(&[]) < f64::MIN_POSITIVE,
        "w = 1 adds nothing"
    );
}

#[test]
fn no_gradient_leaves_its_network() {
    let (
        method,
        Tiny {
            base,
            score,
            student,
            reference,
        },
    ) = dmdr();
    let world = World::new(Preset::Mini).expect("valid drawings");
    let prompts = PromptStream::training(&world, 0)
        .prompts(0, 4, 16, Device::Cpu)
        .expect("fits");
    let frozen = || [values(&base), values(&reference)];
    let before = frozen();
    reseed(&[7]);
    let rollout = method
        .rollout(prompts, cond(), &StepInfo::at(0))
        .expect("a rollout");
    let step = StepInfo::at(0);
    let has_any = |grads: Vec<Tensor>| grads.iter().any(|g| g.abs().max().double_value(&[]) > 0.0);

    let losses = method
        .score_losses(&rollout, &step)
        .expect("computed")
        .expect("DMDR has a fake score");
    assert!(has_any(
        score
            .group()
            .grads(&losses.total())
            .expect("reaches the LoRA")
    ));
    let losses = method
        .score_losses(&rollout, &step)
        .expect("computed")
        .expect("DMDR has a fake score");
    assert!(!has_any(
        student
            .group()
            .grads(&losses.total())
            .expect("unused gradients are zero")
    ));

    let losses = method
        .generator_losses(&rollout, None, &step)
        .expect("a loss");
    assert!(has_any(
        student
            .group()
            .grads(&losses.total())
            .expect("reaches the student")
    ));
    let losses = method
        .generator_losses(&rollout, None, &step)
        .expect("a loss");
    assert!(!has_any(
        score
            .group()
            .grads(&losses.total())
            .expect("unused gradients are zero")
    ));

    assert_eq!(frozen(), before, "base and reference are frozen");
    assert!(
        base.group()
            .tensors
            .iter()
            .all(|tensor| !tensor.requires_grad())
    );
}
