//! What the authors' scripts for text-to-image need: guidance drawn for each update, batches of fewer samples than the
//! student has steps, one step that is told another time than that of pure noise.

mod tiny;

use dmdr_config::{DistributionMatching, NetId};
use dmdr_diffusion::student_times;
use dmdr_methods::{Rollout, Simulation, term};
use dmdr_tensor::{Device, Kind, Tensor, reseed};
use tiny::{Tiny, largest, simulation};

/// A rollout of `batch` samples by a student of 4 steps.
fn rollout(tiny: &mut Tiny, batch: usize, seed: u64, update: u64) -> Rollout {
    tiny.feed.batch_size = batch;
    let mut update = tiny.at(seed, update);
    simulation(4).run(&mut update).expect("a rollout")
}

/// How large the matching gradient is at a place with guidance drawn from `range`, and the guidance that was observed.
fn matched(range: Option<[f64; 2]>, seed: u64, update: u64) -> (f64, Option<f64>) {
    let mut tiny = Tiny::new();
    let r = rollout(&mut tiny, 4, 0, 0);
    let config = DistributionMatching {
        guidance: range,
        ..DistributionMatching::default()
    };
    let update = tiny.at(seed, update);
    reseed(&[9]);
    let losses = term::dm(&config, 1.0, &update, &r.x0, &r);
    let numbers = losses.numbers.read();
    (numbers["dm/grad_abs"], numbers.get("dm/guidance").copied())
}

#[test]
fn guidance_is_drawn_once_an_update_by_seed_and_update() {
    let range = Some([2.0, 4.0]);
    let drawn = |seed, update| matched(range, seed, update).1.expect("observed");
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
    let at = |range| matched(range, 5, 3);
    let (gradient, guidance) = at(range);
    let guidance = guidance.expect("observed");
    let (same, _) = at(Some([guidance, guidance]));
    assert!((gradient - same).abs() < 1e-9, "{gradient}, {same}");
    let (other, _) = at(Some([4.0, 4.0]));
    assert!((gradient - other).abs() > 1e-6, "{gradient}, {other}");
    // The teacher's own is 3.
    let (plain, none) = at(None);
    let (three, _) = at(Some([3.0, 3.0]));
    assert!(none.is_none() && (plain - three).abs() < f64::EPSILON);
    let teacher = Tiny::new().nets.teacher().guidance.expect("guided").scale;
    assert!(
        (teacher - 3.0).abs() < f64::EPSILON,
        "it is sampled with its own"
    );
}

#[test]
fn a_batch_of_one_sees_every_step_in_as_many_updates() {
    let mut tiny = Tiny::new();
    for cycle in 0..3 {
        let mut seen: Vec<f64> = (0..4)
            .map(|update| {
                let batch = rollout(&mut tiny, 1, 11, cycle * 4 + update);
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
    let mut tiny = Tiny::new();
    for (update, batch) in [(0, 3), (1, 3), (2, 2), (5, 1), (6, 4)] {
        let r = rollout(&mut tiny, batch, 2, update);
        let student = tiny.nets.view(NetId::STUDENT);
        let error = largest(&(student.x0_no_grad(&r.x_t, &r.t, &r.cond) - &r.x0));
        assert!(error < 1e-6, "{update}: {error}");
        let t = Vec::<f32>::try_from(&r.t).expect("f32");
        assert!(t.is_sorted(), "the deepest lie first: {t:?}");
    }
}

#[test]
fn one_step_may_be_told_another_time_than_that_of_pure_noise() {
    let simulation = Simulation {
        times: student_times(1, 1.0, Some(0.4)),
        ..simulation(1)
    };
    let mut tiny = Tiny::new();
    let r = simulation.run(&mut tiny.at(7, 0)).expect("a rollout");
    let t = Tensor::full([4], 0.4, (Kind::Float, Device::Cpu));
    assert!(r.t.equal(&t), "{:?}", r.t);
    reseed(&[7, 0]);
    let noise = Tensor::randn([4, 3, 8, 8], (Kind::Float, Device::Cpu));
    assert!(r.x_t.equal(&noise), "the input is the noise itself");
}
