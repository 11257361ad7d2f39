//! The table of networks: what is called in each role, and averages.

mod tiny;

use dmdr_config::{Dmdr as DmdrConfig, Motion, NetId};
use dmdr_diffusion::{Schedule, loss};
use dmdr_methods::{Dmdr, Net, Nets, Network};
use dmdr_models::View;
use dmdr_tensor::{Device, Init, Kind, ParamStore, Scope, Tensor, no_grad_guard};
use tiny::{Tiny, cond, dit, largest, net, simulation};

fn inputs() -> (Tensor, Tensor) {
    let x = Tensor::randn([4, 3, 8, 8], (Kind::Float, Device::Cpu));
    (x, Tensor::from_slice(&[0.1f32, 0.4, 0.7, 0.9]))
}

#[test]
fn the_real_score_without_its_dose_is_the_teacher_bit_for_bit() {
    let nets = Tiny::new().nets;
    let cond = cond();
    let (x, t) = inputs();
    let teacher = nets.teacher().x0_no_grad(&x, &t, &cond);
    let with = |id, scale| nets.teacher_with(id, scale).x0_no_grad(&x, &t, &cond);
    assert_eq!(with(NetId::FAKE_SCORE, 0.0), teacher);
    assert_ne!(with(NetId::FAKE_SCORE, 0.5), teacher);
    assert_eq!(with(NetId::STUDENT, 0.5), teacher, "it is no adapter");
    // At the fake score's scale and without guidance the two scores are one, and the gradient is exactly 0.
    let fake = nets.view(NetId::FAKE_SCORE).x0_no_grad(&x, &t, &cond);
    let real = nets.teacher_with(NetId::FAKE_SCORE, 1.0).unguided();
    let real = real.x0_no_grad(&x, &t, &cond);
    let matching = loss::distribution_matching(&x, &real, &fake, true);
    assert!(matching.gradient_abs.double_value(&[]).abs() < f64::MIN_POSITIVE);
}

/// An average that starts at 0 of a student that stays at 1, after so many updates.
fn average(decay: f64, warms_up: bool, num_updates: u64) -> f64 {
    let held = |id, init, motion| {
        let store = ParamStore::frozen(Device::Cpu);
        let _ = Scope::root(&store, &[]).param("w", &[1], init);
        Net::new(id, store, Network::Held, motion)
    };
    let motion = Motion::Average {
        of: NetId::STUDENT,
        decay,
        warms_up,
    };
    let nets = vec![
        held(NetId::STUDENT, Init::Ones, Motion::Copied),
        held(NetId::AVERAGE, Init::Zeros, motion),
    ];
    let mut tiny = Tiny::of(Nets::new(None, nets));
    for update in 0..num_updates {
        let _ = tiny.at(0, update).finish().expect("finite");
    }
    let average = tiny.nets.store(NetId::AVERAGE).tensor("w");
    average.double_value(&[0])
}

#[test]
fn averages_forget_as_the_formula_says() {
    let close = |got: f64, expected: f64| assert!((got - expected).abs() < 1e-6, "{got}");
    for n in [1, 2, 5, 12] {
        close(average(0.9, false, n), 1.0 - 0.9_f64.powi(n as i32));
        // The product of (k + 1) / (k + 10): one over the ways to choose 9 of n + 9.
        let left: f64 = (1..=9)
            .map(|k| f64::from(k) / (n as f64 + f64::from(k)))
            .product();
        close(average(0.999, true, n), 1.0 - left);
    }
    // 4/13 is more than .3.
    let left = (1.0 / 10.0) * (2.0 / 11.0) * (3.0 / 12.0) * 0.3 * 0.3;
    close(average(0.3, true, 5), 1.0 - left);
}

#[test]
fn what_is_sampled_is_the_average_of_the_students_weights() {
    const DECAY: f64 = 0.8;
    let average = Motion::Average {
        of: NetId::STUDENT,
        decay: DECAY,
        warms_up: false,
    };
    let mut tiny = Tiny::with(vec![
        net(NetId::STUDENT, Motion::Trained),
        net(NetId::AVERAGE, average),
    ]);
    assert_eq!(tiny.nets.sampled(), NetId::AVERAGE);
    assert_eq!(Tiny::new().nets.sampled(), NetId::STUDENT);

    let store = ParamStore::frozen(Device::Cpu);
    let by_hand = dit(&store, &[]);
    store.copy_from(tiny.nets.store(NetId::STUDENT));
    let config = DmdrConfig {
        ttur: 1,
        ..DmdrConfig::default()
    };
    let mut method = Dmdr::new(config, 1.0, None, simulation(2));
    for update in 0..4 {
        let _ = tiny.update(&mut method, update);
        let _guard = no_grad_guard();
        for (name, student) in tiny.nets.store(NetId::STUDENT).tensors() {
            let mut own = store.tensor(&name);
            let moved = &own * DECAY + student * (1.0 - DECAY);
            own.copy_(&moved);
        }
    }
    let (x, t) = inputs();
    let x0 = |view: &View<'_>| view.x0_no_grad(&x, &t, &cond());
    let expected = x0(&View::new(&by_hand, Schedule::RectifiedFlow));
    let sampled = x0(&tiny.nets.view(tiny.nets.sampled()));
    assert!(largest(&(&sampled - expected)) < 1e-6);
    let student = x0(&tiny.nets.view(NetId::STUDENT));
    assert!(largest(&(sampled - student)) > 1e-4);
}
