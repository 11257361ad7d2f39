//! LCM's loss against closed forms: on Gaussian data the teacher's ODE has a solution.

mod tiny;

use dmdr_config::{Consistency, Lcm as LcmConfig, Motion, NetId};
use dmdr_diffusion::{Parameterization, Schedule};
use dmdr_methods::{Lcm, Net, Nets, Network, Share, Teacher, term};
use dmdr_models::{Call, Conditioning, Denoiser, Guidance};
use dmdr_tensor::{Device, Kind, ParamStore, Tensor, reseed};
use tiny::{Tiny, cond, gradients, largest, net};

const M: f64 = 0.7;
const S: f64 = 0.4;

/// Of data N(M, S^2): the posterior mean, which is the teacher, or where its ODE ends, `M + (x - alpha M) S / sigma_t`.
#[derive(Clone, Copy, PartialEq)]
enum Exact {
    Mean,
    End,
}

impl Denoiser for Exact {
    fn forward(&self, x_t: &Tensor, t: &Tensor, _: &Conditioning, _: &Call<'_>) -> Tensor {
        let t = t.reshape([-1, 1, 1, 1]);
        let alpha: Tensor = 1.0 - &t;
        let variance = alpha.square() * (S * S) + t.square();
        let centred = x_t - &alpha * M;
        match self {
            Self::Mean => M + alpha / variance * (S * S) * centred,
            Self::End => M + centred * S / variance.sqrt(),
        }
    }

    fn parameterization(&self) -> Parameterization {
        Parameterization::X0
    }
}

fn nothing(batch: i64) -> Conditioning {
    Conditioning::none(batch, Device::Cpu)
}

/// The exact teacher, and `student`.
fn exact(student: Exact) -> Tiny {
    let store = || ParamStore::frozen(Device::Cpu);
    let teacher = Teacher {
        net: Box::new(Exact::Mean),
        store: store(),
        schedule: Schedule::RectifiedFlow,
        guidance: Guidance {
            scale: 1.0,
            null: nothing(1),
        },
    };
    let student = Net::new(
        NetId::STUDENT,
        store(),
        Network::Full(Box::new(student)),
        Motion::Copied,
    );
    Tiny::of(Nets::new(Some(teacher), vec![student]))
}

fn config(num_steps: usize, huber: f64) -> Consistency {
    Consistency {
        num_steps,
        huber,
        ..Consistency::default()
    }
}

/// The loss on many samples; of the squared difference, with so large a `c`.
fn loss(student: Exact, num_steps: usize) -> f64 {
    let mut tiny = exact(student);
    let update = tiny.at(0, 0);
    reseed(&[3]);
    let n = 20_000;
    let x0 = Tensor::randn([n, 1, 1, 1], (Kind::Float, Device::Cpu)) * S + M;
    let config = config(num_steps, 1.0);
    let losses = term::consistency(
        &config,
        NetId::STUDENT,
        &update,
        &x0,
        &nothing(n),
        Share::WHOLE,
    );
    losses.total().double_value(&[])
}

#[test]
fn where_the_ode_ends_is_a_fixed_point_and_the_mean_is_none() {
    let (coarse, fine) = (loss(Exact::End, 10), loss(Exact::End, 80));
    assert!(
        fine < coarse / 200.0 && fine < 1e-7,
        "an Euler step errs by O(h^2): {coarse:.1e}, {fine:.1e}"
    );
    let mean = loss(Exact::Mean, 80);
    assert!(mean > 100.0 * fine, "{mean:.1e}, {fine:.1e}");
}

#[test]
fn at_time_0_the_target_is_its_input() {
    // With one step the teacher goes from noise to its own prediction, which is the target whatever the student says there.
    let mut tiny = exact(Exact::End);
    let update = tiny.at(0, 0);
    let x0 = Tensor::zeros([4, 1, 2, 2], (Kind::Float, Device::Cpu));
    let c = 0.01;
    reseed(&[5]);
    let losses = term::consistency(
        &config(1, c),
        NetId::STUDENT,
        &update,
        &x0,
        &nothing(4),
        Share::WHOLE,
    );
    let noise = &losses.batch["x_t"];
    let t = Tensor::ones([4], (Kind::Float, Device::Cpu));
    let predict = |net: Exact| net.forward(noise, &t, &nothing(4), &Call::default());
    let difference = predict(Exact::End) - predict(Exact::Mean);
    let expected = ((difference.square() + c * c).sqrt() - c).mean(Kind::Float);
    let error = (losses.total() - &expected) / expected;
    assert!(largest(&error) < 1e-5, "{error:?}");
}

#[test]
fn an_update_trains_the_student_and_the_target_follows() {
    let decay = 0.95;
    let target = Motion::Average {
        of: NetId::STUDENT,
        decay,
        warms_up: false,
    };
    let mut tiny = Tiny::with(vec![
        net(NetId::STUDENT, Motion::Trained),
        net(NetId::TARGET, target),
    ]);
    reseed(&[8]);
    tiny.feed.true_images = Some(Tensor::randn([4, 3, 8, 8], (Kind::Float, Device::Cpu)));
    let images = tiny.feed.true_images.as_ref().expect("set").shallow_clone();
    {
        let config = Consistency::default();
        let update = tiny.at(0, 0);
        let losses = || {
            term::consistency(
                &config,
                NetId::TARGET,
                &update,
                &images,
                &cond(),
                Share::WHOLE,
            )
        };
        let has_any = |id| {
            let grads = gradients(update.nets(), id, &losses().total());
            grads.iter().any(|grad| largest(grad) > 0.0)
        };
        assert!(has_any(NetId::STUDENT) && !has_any(NetId::FAKE_SCORE));
    }

    let all =
        |tiny: &Tiny| [NetId::STUDENT, NetId::TARGET, NetId::FAKE_SCORE].map(|id| tiny.values(id));
    let (frozen, [before, target, fake]) = (tiny.frozen(), all(&tiny));
    let mut method = Lcm::new(LcmConfig::default());
    let numbers = tiny.update(&mut method, 0);
    assert!(numbers["loss/consistency"] > 0.0);
    let [student, moved, untouched] = all(&tiny);
    assert_ne!(student, before);
    assert_eq!((tiny.frozen(), untouched), (frozen, fake));
    for (name, moved) in &moved {
        for ((moved, target), student) in moved.iter().zip(&target[name]).zip(&student[name]) {
            let expected = decay * f64::from(*target) + (1.0 - decay) * f64::from(*student);
            assert!((f64::from(*moved) - expected).abs() < 1e-6, "{name}");
        }
    }
}

#[test]
fn without_a_target_the_student_is_its_own() {
    let mut tiny = Tiny::new();
    tiny.feed.true_images = Some(Tensor::ones([4, 3, 8, 8], (Kind::Float, Device::Cpu)));
    let mut method = Lcm::new(LcmConfig {
        target_decay: 0.0,
        ..LcmConfig::default()
    });
    assert!(tiny.update(&mut method, 0)["grad_norm/student"] > 0.0);
}
