//! Samplers and their times against diffusers' schedulers.

use dmdr_diffusion::{Parameterization, Schedule, sampler, time_grid};
use dmdr_tensor::{Kind, Tensor};

use crate::fixture::{Fixture, relative_error};

/// The network of `schedulers.py`, as a clean prediction.
fn x0(schedule: Schedule, x: &Tensor, t: &Tensor) -> Tensor {
    let output: Tensor = x * 0.4 - t.reshape([-1, 1, 1, 1]) * 0.3 + 0.2;
    let kind = match schedule {
        Schedule::RectifiedFlow => Parameterization::Flow,
        Schedule::ScaledLinear => Parameterization::Epsilon,
    };
    kind.to_x0(schedule, &output, x, t)
}

/// The times are the scheduler's, and the last one is 0.
fn grid(fixture: &Fixture, name: &str, shift: f64) -> Vec<f64> {
    let expected = fixture.get(&format!("{name}.times")).to_kind(Kind::Double);
    let expected = Vec::<f64>::try_from(expected).expect("f64");
    let times = time_grid(expected.len(), shift);
    for (ours, theirs) in times.iter().zip(&expected) {
        assert!(
            (ours - theirs).abs() < 1e-6,
            "{name}: {times:?} {expected:?}"
        );
    }
    times
}

#[test]
fn deterministic_steps() {
    let fixture = Fixture::read("schedulers");
    for (name, schedule, shift) in [
        ("flow_25_3.0", Schedule::RectifiedFlow, 3.0),
        ("flow_4_1.0", Schedule::RectifiedFlow, 1.0),
        ("flow_7_6.0", Schedule::RectifiedFlow, 6.0),
        ("ddim_25", Schedule::ScaledLinear, 1.0),
    ] {
        let times = grid(&fixture, name, shift);
        let states = fixture.get(&format!("{name}.states"));
        let end = sampler::euler(schedule, &times, &states.get(0), |x, t| x0(schedule, x, t));
        let error = relative_error(&end, &states.get(-1));
        assert!(error < 1e-4, "{name}: {error:.2e}");
    }
}

#[test]
fn predict_and_renoise() {
    let fixture = Fixture::read("schedulers");
    for (name, schedule, shift) in [
        ("flow_renoised_4_3.0", Schedule::RectifiedFlow, 3.0),
        ("flow_renoised_1_1.0", Schedule::RectifiedFlow, 1.0),
        ("lcm_4", Schedule::ScaledLinear, 1.0),
    ] {
        let times = grid(&fixture, name, shift);
        let [states, noises] =
            ["states", "noises"].map(|part| fixture.get(&format!("{name}.{part}")));
        // Step by step, since the sampler draws its noise itself.
        for (step, pair) in (0..).zip(times.windows(2)) {
            let x = states.get(step);
            let [t, next] = [pair[0], pair[1]].map(|t| sampler::batch_time(&x, t));
            let clean = x0(schedule, &x, &t);
            let ours = schedule.add_noise(&clean, &noises.get(step), &next);
            let error = relative_error(&ours, &states.get(step + 1));
            assert!(error < 1e-4, "{name}, step {step}: {error:.2e}");
        }
        let from = |times: &[f64]| {
            dmdr_tensor::reseed(&[1]);
            sampler::renoise(schedule, times, &states.get(0), |x, t| x0(schedule, x, t))
        };
        let num_steps = times.len() - 1;
        let last = from(&times[..num_steps]);
        let t = sampler::batch_time(&last, times[num_steps - 1]);
        let whole = from(&times);
        assert!(whole.isfinite().all().int64_value(&[]) == 1);
        assert_eq!(whole.kind(), Kind::Float);
        // Its last state is a clean prediction of the one before.
        assert!(
            relative_error(&whole, &x0(schedule, &last, &t)) < 1e-6,
            "{name}"
        );
    }
}
