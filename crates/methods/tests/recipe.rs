//! What the authors' scripts for text-to-image need: guidance drawn for each update, batches of fewer samples than the
//! student has steps, one step that is told another time than that of pure noise.

mod tiny;

use dmdr_config::Dmdr as DmdrConfig;
use dmdr_data::Prompts;
use dmdr_diffusion::student_times;
use dmdr_methods::{Dmdr, Method, Rollout, StepInfo};
use dmdr_tensor::{Device, Kind, Tensor, reseed};
use tiny::{Tiny, cond};

/// DMDR of a student of `num_steps`, with guidance of the real score drawn from `range`.
fn method(num_steps: usize, conditioning_time: Option<f64>, range: Option<[f64; 2]>) -> Dmdr {
    let mut config = DmdrConfig::default();
    config.dm.guidance = range;
    let times = student_times(num_steps, 1.0, conditioning_time);
    Dmdr::new(config, times, 1.0, Tiny::new().0, None, [3, 8, 8])
}

fn at(seed: u64, update: u64) -> StepInfo {
    StepInfo {
        seed,
        ..StepInfo::at(update)
    }
}

/// A rollout of `batch` samples at `step`.
fn rollout(method: &Dmdr, batch: i64, step: &StepInfo) -> Rollout {
    let cond = cond().narrow(0, batch);
    let prompts = Prompts::plain(vec![String::new(); batch as usize], Device::Cpu);
    reseed(&[7, step.update]);
    method.rollout(prompts, cond, step).expect("a rollout")
}

/// The matching loss at `step`, and the guidance that was observed.
fn matched(range: Option<[f64; 2]>, step: &StepInfo) -> (f64, Option<f64>) {
    let method = method(1, None, range);
    let batch = rollout(&method, 4, &at(0, 0));
    reseed(&[9]);
    let losses = method.generator_losses(&batch, None, step).expect("a loss");
    let guidance = losses.observed.get("dm/guidance").copied();
    (losses.observed["dm/grad_abs"], guidance)
}

#[test]
fn guidance_is_drawn_once_an_update_by_seed_and_update() {
    let range = Some([2.0, 4.0]);
    let drawn = |seed, update| matched(range, &at(seed, update)).1.expect("observed");
    let all: Vec<f64> = (0..40).map(|update| drawn(5, update)).collect();
    assert!(
        all.iter().all(|guidance| (2.0..4.0).contains(guidance)),
        "{all:?}"
    );
    let mean = all.iter().sum::<f64>() / 40.0;
    assert!((mean - 3.0).abs() < 0.4, "the deviation is .09: {mean}");
    assert!(
        all.windows(2).all(|pair| (pair[0] - pair[1]).abs() > 1e-9),
        "{all:?}"
    );
    assert!(
        (drawn(5, 3) - all[3]).abs() < f64::EPSILON,
        "a pure function"
    );
    assert!((drawn(6, 3) - all[3]).abs() > 1e-9, "of the seed as well");

    // It is the guidance of the real score, and all of the batch has it.
    let step = at(5, 3);
    let (gradient, guidance) = matched(range, &step);
    let guidance = guidance.expect("observed");
    let (same, _) = matched(Some([guidance, guidance]), &step);
    assert!((gradient - same).abs() < 1e-9, "{gradient}, {same}");
    let (other, _) = matched(Some([4.0, 4.0]), &step);
    assert!((gradient - other).abs() > 1e-6, "{gradient}, {other}");
    // The teacher's own is 3.
    let (plain, none) = matched(None, &step);
    let (three, _) = matched(Some([3.0, 3.0]), &step);
    assert!(none.is_none() && (plain - three).abs() < f64::EPSILON);
    let teacher = method(1, None, range).roles().teacher().guidance;
    assert!(
        (teacher.expect("guided").scale - 3.0).abs() < f64::EPSILON,
        "it is sampled with its own"
    );
}

#[test]
fn a_batch_of_one_sees_every_step_in_as_many_updates() {
    let method = method(4, None, None);
    for cycle in 0..3 {
        let mut seen: Vec<f64> = (0..4)
            .map(|update| {
                let batch = rollout(&method, 1, &at(11, cycle * 4 + update));
                assert_eq!(batch.x_t.size(), [1, 3, 8, 8]);
                batch.t.double_value(&[0])
            })
            .collect();
        seen.sort_by(f64::total_cmp);
        assert_eq!(seen, [0.25, 0.5, 0.75, 1.0], "cycle {cycle}");
    }
}

/// Every sample stays beside its own prompt, and is what the student makes of its input.
#[test]
fn samples_of_a_small_batch_are_the_students() {
    let method = method(4, None, None);
    for (update, batch) in [(0, 3), (1, 3), (2, 2), (5, 1), (6, 4)] {
        let r = rollout(&method, batch, &at(2, update));
        let adapters = method.roles().generator_adapters();
        let student = method.roles().generator(&adapters, false);
        let expected = student.x0_no_grad(&r.x_t, &r.t, &r.cond);
        let error = (&expected - &r.x0).abs().max().double_value(&[]);
        assert!(error < 1e-6, "{update}: {error}");
        let t = Vec::<f32>::try_from(&r.t).expect("f32");
        assert!(t.is_sorted(), "the deepest lie first: {t:?}");
    }
}

#[test]
fn one_step_may_be_told_another_time_than_that_of_pure_noise() {
    let method = method(1, Some(0.4), None);
    let r = rollout(&method, 4, &at(0, 0));
    let t = Tensor::full([4], 0.4, (Kind::Float, Device::Cpu));
    assert!(r.t.equal(&t), "{:?}", r.t);
    reseed(&[7, 0]);
    let noise = Tensor::randn([4, 3, 8, 8], (Kind::Float, Device::Cpu));
    assert!(r.x_t.equal(&noise), "the input is the noise itself");
}
