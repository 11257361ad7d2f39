//! Derivatives along a direction, without a graph: forward-mode differentiation (PyTorch's `torch.autograd.forward_ad`).

use tch::{Tensor, no_grad_guard};

use crate::shim;

/// The only level of tangents that libtorch has.
const LEVEL: i64 = 0;

/// `f(inputs)` and its derivative along the tangents of `inputs`, both like the result of `f`: the product of the Jacobian
/// and the tangents, exact but for rounding. Each input comes with its tangent, of the same shape and kind.
///
/// One run of `f` carries values and tangents side by side, at two to three times its cost. There is no graph, neither to
/// the inputs nor to what else `f` reads: memory is about twice that of a run without gradient.
///
/// # Panics
/// If a tangent is of another shape or kind than its input, an input already has a tangent (calls do not nest), `f` contains
/// an operation without forward derivative, or `f` does.
pub fn jvp(inputs: &[(&Tensor, &Tensor)], f: impl FnOnce(&[Tensor]) -> Tensor) -> (Tensor, Tensor) {
    shim::open_tangents().unwrap_or_else(|error| panic!("{error}"));
    let _guard = no_grad_guard();
    let dual = |&(value, tangent): &(&Tensor, &Tensor)| {
        let of = |x: &Tensor| (x.size(), x.kind());
        assert_eq!(of(tangent), of(value), "a tangent is like its input");
        // Expanded tensors cannot hold a tangent.
        Tensor::internal_make_dual(&value.contiguous(), &tangent.contiguous(), LEVEL)
    };
    let duals: Vec<Tensor> = inputs.iter().map(dual).collect();
    let (value, tangent) = Tensor::internal_unpack_dual(&f(&duals), LEVEL);
    let tangent = if tangent.defined() {
        tangent
    } else {
        value.zeros_like() // the result does not depend on the inputs
    };
    (value, tangent)
}

/// Whether `x` carries a tangent, within the closure of a [`jvp`]: for what has to be computed in another way then, as fused
/// kernels without a forward derivative.
pub fn has_tangent(x: &Tensor) -> bool {
    shim::has_tangent(x)
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, rc::Rc, thread};

    use tch::{Device, Kind};

    use super::*;
    use crate::{phantom, recompute, reseed};

    fn random(shape: &[i64]) -> Tensor {
        Tensor::randn(shape, (Kind::Double, Device::Cpu))
    }

    /// What networks are made of, with a trained matrix in it.
    fn network(x: &Tensor, t: &Tensor, w: &Tensor) -> Tensor {
        let c = (t.unsqueeze(1) * Tensor::from_slice(&[1.0, 0.3, 0.1, 0.03])).cos(); // [B, 4]
        let h = x.layer_norm([4], None::<&Tensor>, None::<&Tensor>, 1e-6, false);
        let h = h * (c.unsqueeze(1) + 1.0);
        let (attended, _) = Tensor::internal_scaled_dot_product_attention_math(
            &h.matmul(w),
            &h,
            &h,
            None::<&Tensor>,
            0.0,
            false,
            None::<&Tensor>,
            None,
            false,
        );
        let gain = Tensor::ones([4], (Kind::Double, Device::Cpu));
        (x + attended.gelu("tanh").matmul(w)).rms_norm([4], Some(&gain), 1e-6)
    }

    fn largest(x: &Tensor) -> f64 {
        x.abs().max().double_value(&[])
    }

    #[test]
    fn it_is_the_limit_of_differences() {
        reseed(&[5]);
        let w = random(&[4, 4]).set_requires_grad(true);
        let (x, dx) = (random(&[2, 3, 4]), random(&[2, 3, 4]));
        let (t, dt) = (random(&[2]), random(&[2]));
        let at = |step: f64| network(&(&x + &dx * step), &(&t + &dt * step), &w).detach();
        let (value, derivative) = jvp(&[(&x, &dx), (&t, &dt)], |inputs| {
            network(&inputs[0], &inputs[1], &w)
        });
        assert_eq!(value, at(0.0));
        assert!(!value.requires_grad() && !derivative.requires_grad());
        let h = 1e-4;
        let near = (at(h) - at(-h)) * (8.0 / 12.0 / h);
        let expected = near - (at(2.0 * h) - at(-2.0 * h)) * (1.0 / 12.0 / h);
        let error = largest(&(&derivative - &expected)) / largest(&expected);
        assert!(error < 1e-10, "relative error {error:.2e}");
        assert!(!has_tangent(&x) && !has_tangent(&value), "none is left");
    }

    #[test]
    fn a_piece_that_is_recomputed_keeps_its_tangent() {
        let (x, dx) = (random(&[3]), random(&[3]));
        let runs = Rc::new(Cell::new(0));
        let count = Rc::clone(&runs);
        let (value, derivative) = jvp(&[(&x, &dx)], |inputs| {
            assert!(has_tangent(&inputs[0]));
            recompute(&[&inputs[0]], move |inputs| {
                count.set(count.get() + 1);
                inputs[0].exp()
            })
        });
        assert_eq!(value, x.exp());
        assert_eq!(derivative, x.exp() * dx);
        assert_eq!(runs.get(), 1);
    }

    #[test]
    fn what_depends_on_no_input_does_not_change() {
        let (x, dx) = (random(&[3]), random(&[3]));
        let constant = random(&[2]);
        let (value, derivative) = jvp(&[(&x, &dx)], |inputs| {
            assert!(!has_tangent(&inputs[0].detach()));
            constant.shallow_clone()
        });
        assert_eq!(value, constant);
        assert_eq!(derivative, Tensor::zeros([2], (Kind::Double, Device::Cpu)));
    }

    #[test]
    fn inputs_may_be_expanded() {
        let one = Tensor::from(0.5).expand([3], false);
        let (_, derivative) = jvp(&[(&one, &one.ones_like())], |inputs| inputs[0].square());
        assert_eq!(derivative, one.ones_like());
        let ones = Tensor::from(1.0).expand([3], false);
        let (_, derivative) = jvp(&[(&one, &ones)], |inputs| inputs[0].square());
        assert_eq!(derivative, ones);
    }

    #[test]
    fn threads_have_tangents_of_their_own() {
        let slope = |power: i64| {
            let x = Tensor::from(2.0);
            let f = |inputs: &[Tensor]| inputs[0].pow_tensor_scalar(power);
            let one = Tensor::from(1.0);
            (0..200).all(|_| {
                let (_, derivative) = jvp(&[(&x, &one)], f);
                let expected = power as f64 * 2f64.powi(power as i32 - 1);
                (derivative.double_value(&[]) - expected).abs() < 1e-12
            })
        };
        let other = thread::spawn(move || slope(3));
        assert!(slope(2));
        assert!(other.join().expect("no panic"));
    }

    #[test]
    #[should_panic(expected = "a tangent is like its input")]
    fn a_tangent_of_another_shape_is_refused() {
        let _ = jvp(&[(&random(&[3]), &random(&[1]))], |inputs| {
            inputs[0].shallow_clone()
        });
    }

    #[test]
    fn phantoms_have_tangents() {
        let device = phantom::device();
        let x = Tensor::zeros([2, 3, 4], (Kind::Float, device));
        let w = Tensor::zeros([4, 4], (Kind::Float, device)).set_requires_grad(true);
        let t = Tensor::zeros([2], (Kind::Float, device));
        let (value, derivative) = jvp(&[(&x, &x), (&t, &t)], |inputs| {
            let c = inputs[1].cos().reshape([-1, 1, 1]);
            let h = inputs[0].layer_norm([4], None::<&Tensor>, None::<&Tensor>, 1e-6, false);
            (h * c).matmul(&w).softmax(-1, Kind::Float)
        });
        assert_eq!(value.size(), [2, 3, 4]);
        assert_eq!(
            (derivative.size(), derivative.device()),
            (value.size(), device)
        );
    }
}
