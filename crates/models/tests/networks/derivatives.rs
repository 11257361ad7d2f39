//! The derivative of a prediction along a direction, against differences and against the backward pass.

use dmdr_tensor::{Device, Kind, ParamGroup, Tensor, has_tangent, no_grad_guard, phantom, reseed};

use crate::family::{Build, Family, random};

/// Largest difference over the largest expected value.
fn relative_error(got: &Tensor, expected: &Tensor) -> f64 {
    assert_eq!(got.size(), expected.size());
    let largest = |x: &Tensor| x.abs().max().double_value(&[]);
    largest(&(got - expected)) / largest(expected)
}

/// Directions like `x_t` and `t`.
fn directions(family: &Family) -> (Tensor, Tensor) {
    reseed(&[23]);
    (
        random(&family.x_t.size()),
        Tensor::from_slice(&[1.0f32, -0.5]),
    )
}

/// A step that turns the fastest sinusoid by a sixteenth of a radian, or, where time is discrete, whole timesteps.
fn time_step(family: &Family) -> f64 {
    match family.name {
        "SDXL" => 2e-3, // the second direction is half of it
        "SiT" => 1.0 / 64.0,
        _ => 1.0 / 16384.0,
    }
}

/// SDXL's time embedding stops reading the sinusoid that turns by a radian a timestep: differences are too coarse for it.
fn read_slow_sinusoids(family: &Family) {
    if family.name == "SDXL" {
        let _guard = no_grad_guard();
        let weight = family.store.tensor("time_embedding.linear_1.weight");
        for column in [0, 4] {
            let _ = weight.narrow(1, column, 1).zero_();
        }
    }
}

#[test]
fn differences_in_the_limit() {
    for family in Family::all(Build::default()) {
        read_slow_sinusoids(&family);
        let Family { x_t, t, cond, .. } = &family;
        let (dx, dt) = directions(&family);
        let (still, fixed) = (dx.zeros_like(), dt.zeros_like());
        for (guidance, dx, dt, step) in [
            (1.0, &dx, &fixed, 1.0 / 256.0),
            (1.0, &still, &dt, time_step(&family)),
            (2.5, &dx, &fixed, 1.0 / 256.0),
            (2.5, &still, &dt, time_step(&family)),
        ] {
            let view = family.view(guidance);
            let at = |places: f64| {
                let (x, t) = (x_t + dx * (places * step), t + dt * (places * step));
                view.x0_no_grad(&x, &t, cond).to_kind(Kind::Double)
            };
            let (value, derivative) = view.jvp(x_t, t, dx, dt, cond);
            let error = relative_error(&value.to_kind(Kind::Double), &at(0.0));
            assert!(error < 1e-5, "{}: {error:.1e} of the value", family.name);
            let near = (at(1.0) - at(-1.0)) * 8.0;
            let expected = (near - (at(2.0) - at(-2.0))) / (12.0 * step);
            let error = relative_error(&derivative, &expected);
            assert!(error < 1e-3, "{}: {error:.1e}", family.name);
        }
    }
}

/// `<w, J v>` forwards is `<J^T w, v>` backwards, to rounding. The backward pass does not see SDXL's time.
#[test]
fn the_backward_pass_agrees() {
    for recomputes in [false, true] {
        let build = Build {
            recomputes,
            ..Build::default()
        };
        for family in Family::all(build) {
            let (dx, mut dt) = directions(&family);
            if family.name == "SDXL" {
                dt = dt.zeros_like();
            }
            let view = family.view(1.7);
            let cond = &family.cond;
            let (value, derivative) = view.jvp(&family.x_t, &family.t, &dx, &dt, cond);
            assert!(!value.requires_grad() && !derivative.requires_grad());
            assert!(!has_tangent(&value) && !has_tangent(&family.x_t));
            let leaf = |x: &Tensor| x.detach().set_requires_grad(true);
            let inputs = [leaf(&family.x_t), leaf(&family.t)];
            let x0 = view.x0(&inputs[0], &inputs[1], cond);
            let group = ParamGroup {
                names: ["x_t", "t"].map(str::to_owned).into(),
                tensors: inputs.into(),
            };
            for _ in 0..4 {
                let cotangent = random(&x0.size());
                let dot = |a: &Tensor, b: &Tensor| {
                    let product = a.to_kind(Kind::Double) * b.to_kind(Kind::Double);
                    product.sum(Kind::Double).double_value(&[])
                };
                let x0 = view.x0(&group.tensors[0], &group.tensors[1], cond);
                let loss = (x0 * &cotangent).sum(Kind::Float);
                let back = group.grads(&loss).expect("a graph");
                let expected = dot(&back[0], &dx) + dot(&back[1], &dt);
                let found = dot(&derivative, &cotangent);
                let scale = dot(&derivative, &derivative).sqrt();
                let error = (found - expected).abs() / scale;
                assert!(error < 3e-5, "{}: {error:.1e}", family.name);
            }
        }
    }
}

#[test]
fn recomputation_changes_nothing() {
    let of = |recomputes| {
        Family::all(Build {
            recomputes,
            ..Build::default()
        })
        .iter()
        .map(|family| {
            let (dx, dt) = directions(family);
            family
                .view(1.0)
                .jvp(&family.x_t, &family.t, &dx, &dt, &family.cond)
        })
        .collect::<Vec<_>>()
    };
    assert_eq!(of(false), of(true));
}

/// Rounding of products costs the derivative more than the value, most of all a U-Net's.
#[test]
fn products_may_be_bf16() {
    let of = |compute| {
        Family::all(Build {
            compute,
            ..Build::default()
        })
    };
    for (exact, rounded) in of(Kind::Float).iter().zip(&of(Kind::BFloat16)) {
        let (dx, dt) = directions(exact);
        let jvp = |family: &Family| {
            let view = family.view(1.0);
            view.jvp(&family.x_t, &family.t, &dx, &(&dt * 1e-3), &family.cond)
        };
        let ((value, derivative), found) = (jvp(exact), jvp(rounded));
        let errors = [
            relative_error(&found.0, &value),
            relative_error(&found.1, &derivative),
        ];
        let [of_value, of_derivative] = errors;
        assert!(
            0.0 < of_value && of_value < 0.03,
            "{}: {errors:?}",
            exact.name
        );
        assert!(
            0.0 < of_derivative && of_derivative < 0.2,
            "{}: {errors:?}",
            exact.name
        );
    }
}

#[test]
fn a_rehearsal_has_derivatives() {
    let device = phantom::device();
    let build = Build {
        device,
        ..Build::default()
    };
    for family in Family::all(build) {
        let (dx, dt) = directions(&family);
        let (dx, dt) = (dx.to_device(device), dt.to_device(device));
        let view = family.view(2.0);
        let (value, derivative) = view.jvp(&family.x_t, &family.t, &dx, &dt, &family.cond);
        assert_eq!(value.size(), family.x_t.size(), "{}", family.name);
        assert_eq!(derivative.size(), value.size());
        assert_ne!(derivative.device(), Device::Cpu);
    }
}
