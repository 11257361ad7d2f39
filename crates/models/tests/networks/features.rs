//! Outputs of blocks: values, shapes, gradients.

use dmdr_diffusion::Schedule;
use dmdr_models::{Call, Conditioning, Denoiser, Dit, PointNet, Taps, View};
use dmdr_tensor::{Device, Kind, ParamStore, Tensor, no_grad_guard, reseed};

use crate::family::{Build, Family, dit_config, random};

fn taps_at(net: &dyn Denoiser, blocks: &[usize]) -> Taps {
    Taps::new(blocks, net.num_blocks()).expect("they exist")
}

#[test]
fn taps_change_nothing_and_widths_are_known_before() {
    for family in Family::all(Build::default()) {
        let Family {
            name,
            net,
            x_t,
            t,
            cond,
            ..
        } = &family;
        let plain = net.forward(x_t, t, cond, &Call::default());
        let everywhere: Vec<usize> = (0..net.num_blocks()).collect();
        let taps = taps_at(&**net, &everywhere);
        let call = Call {
            taps: Some(&taps),
            ..Call::default()
        };
        assert_eq!(net.forward(x_t, t, cond, &call), plain, "{name}");
        let all = taps.take();
        assert_eq!(all.len(), everywhere.len(), "{name}");
        for (feature, width) in all.iter().zip(net.feature_widths()) {
            let size = feature.size();
            let tokens = match *name {
                "PointNet" => 1,
                "SD3" | "Z-Image" => 4 * 3,
                _ => 4 * 4,
            };
            if *name == "SDXL" {
                assert_eq!(size[..2], [2, width]);
            } else {
                assert_eq!(size, [2, tokens, width], "{name}");
            }
            assert!(feature.requires_grad(), "{name}");
        }

        let last = net.num_blocks() - 1;
        let some = taps_at(&**net, &[0, last]);
        let view = family.view(3.0); // features are of the conditional half
        let _guard = no_grad_guard();
        let found = view.features(x_t, t, cond, &some);
        assert_eq!(found, [&all[0], &all[last]].map(Tensor::detach), "{name}");
        assert!(!found[0].requires_grad());
    }
}

/// Each stage's map, by its place in the U-Net.
#[test]
fn stages_of_the_u_net() {
    let sdxl = Family::all(Build::default())
        .into_iter()
        .find(|family| family.name == "SDXL")
        .expect("one of them");
    let taps = taps_at(&*sdxl.net, &[0, 1, 2, 3, 4, 5, 6]);
    let maps = sdxl
        .view(1.0)
        .features(&sdxl.x_t, &sdxl.t, &sdxl.cond, &taps);
    let sizes: Vec<Vec<i64>> = maps.iter().map(Tensor::size).collect();
    let expected = [
        [2, 8, 4, 5],
        [2, 12, 2, 3],
        [2, 16, 2, 3],
        [2, 16, 2, 3],
        [2, 16, 4, 5],
        [2, 12, 8, 10],
        [2, 8, 8, 10],
    ];
    assert_eq!(sizes, expected);
}

/// Gradients of a loss on features with respect to `x_t` and all parameters.
fn gradients(family: &Family, blocks: &[usize]) -> Vec<Tensor> {
    let x_t = family.x_t.detach().set_requires_grad(true);
    let taps = taps_at(&*family.net, blocks);
    let mut group = family.store.group();
    group.tensors.push(x_t.shallow_clone());
    let found = |_| {
        let features = family
            .view(1.0)
            .features(&x_t, &family.t, &family.cond, &taps);
        reseed(&[17]);
        let loss = features
            .iter()
            .map(|feature| (feature.sin() * random(&feature.size())).sum(Kind::Float))
            .reduce(|a, b| a + b)
            .expect("features");
        group.grads(&loss).expect("a graph")
    };
    // Going backwards nothing is recorded: the taps serve another pass.
    let [first, second] = [0, 1].map(found);
    assert_eq!(first, second, "{}", family.name);
    first
}

#[test]
fn recomputation_changes_no_gradient() {
    let all = |recomputes| {
        Family::all(Build {
            recomputes,
            ..Build::default()
        })
    };
    for (kept, recomputed) in all(false).iter().zip(&all(true)) {
        let last = kept.net.num_blocks() - 1;
        for blocks in [&[last - 1][..], &[0, last - 1]] {
            let (expected, found) = (gradients(kept, blocks), gradients(recomputed, blocks));
            let largest = |x: &Tensor| x.abs().max().double_value(&[]);
            assert!(largest(&expected[expected.len() - 1]) > 0.0, "the input's");
            if blocks.len() == 1 && matches!(kept.name, "DiT" | "SiT") {
                assert_eq!(found, expected, "{}", kept.name);
            }
            // What is used several times has a sum for a gradient, whose order may differ.
            for (found, expected) in found.iter().zip(&expected) {
                let error = largest(&(found - expected));
                let scale = largest(expected).max(1.0);
                assert!(
                    error < 1e-5 * scale,
                    "{}: {error:.1e} of {scale:.1e}",
                    kept.name
                );
            }
        }
    }
}

/// A DiT that ends behind block `n`, whose last layer only normalises, prints that block's output: the same numbers and
/// gradients as a tap in the whole network.
#[test]
fn a_shorter_network_shows_the_same() {
    let build = |depth: i64, whole: Option<&ParamStore>| {
        let store = ParamStore::trainable(Device::Cpu, 3);
        let net = Dit::new(&store, &[], dit_config(depth)).expect("no adapters");
        reseed(&[19]);
        let _guard = no_grad_guard();
        let group = store.group();
        for (name, mut param) in group.names.iter().zip(group.tensors) {
            match (name.as_str(), whole) {
                ("final_layer.linear.weight", _) => {
                    param.copy_(&Tensor::eye(16, (Kind::Float, Device::Cpu)));
                }
                (name, _) if name.starts_with("final_layer.") => {}
                (name, Some(whole)) => param.copy_(&whole.tensor(name)),
                (_, None) => param.copy_(&(random(&param.size()) * 0.3)),
            }
        }
        (net, store)
    };
    let (whole, whole_store) = build(3, None);
    let cond = Conditioning {
        tokens: random(&[2, 3, 6]),
        pooled: random(&[2, 5]),
    };
    let x_t = random(&[2, 4, 8, 8]).set_requires_grad(true);
    let t = Tensor::from_slice(&[0.3f32, 0.8]);
    let cotangent = random(&[2, 16, 16]);
    let loss = |tokens: &Tensor| (tokens * &cotangent).sum(Kind::Float);

    let taps = taps_at(&whole, &[0, 1, 2]);
    let features = whole.features(&x_t, &t, &cond, &Call::default(), &taps);
    for (depth, feature) in (1..).zip(&features) {
        let (short, short_store) = build(depth, Some(&whole_store));
        let image = short.forward(&x_t, &t, &cond, &Call::default());
        let printed = image
            .reshape([2, 4, 4, 2, 4, 2])
            .permute([0, 2, 4, 1, 3, 5])
            .reshape([2, 16, 16]);
        let expected = feature.layer_norm([16], None::<&Tensor>, None::<&Tensor>, 1e-6, false);
        assert_eq!(printed, expected, "block {}", depth - 1);

        let of = |store: &ParamStore, loss: &Tensor| {
            let mut group = store.group();
            group.names.push("x_t".to_owned());
            group.tensors.push(x_t.shallow_clone());
            let found = Tensor::run_backward(&[loss], &group.tensors, true, false);
            let pairs = group.names.into_iter().zip(found);
            pairs
                .filter(|(name, found)| found.defined() && !name.starts_with("final_layer."))
                .collect::<Vec<_>>()
        };
        let (found, expected) = (
            of(&whole_store, &loss(&expected)),
            of(&short_store, &loss(&printed)),
        );
        assert_eq!(found, expected, "block {}", depth - 1);
        assert!(found.len() > 10 * depth as usize);
    }
}

#[test]
fn layers_of_the_perceptron_by_hand() {
    let store = ParamStore::trainable(Device::Cpu, 2);
    let net = PointNet::new(&store, &[], 16, 3).expect("no adapters");
    let x_t = random(&[4, 2, 1, 1]);
    let t = Tensor::from_slice(&[0.1f32, 0.4, 0.6, 0.9]);
    let view = View::new(&net, Schedule::RectifiedFlow);
    let nothing = Conditioning::none(4, Device::Cpu);
    let found = view.features(&x_t, &t, &nothing, &taps_at(&net, &[0, 1, 2]));
    for pair in found.windows(2).zip([1, 2]) {
        let ([before, after], index) = (pair.0, pair.1) else {
            panic!("pairs");
        };
        let param = |name: &str| store.tensor(&format!("blocks.{index}.{name}"));
        let expected = before + before.silu().linear(&param("weight"), Some(&param("bias")));
        let error = (after - expected).abs().max().double_value(&[]);
        assert!(error < 1e-6, "{error:.1e}");
    }
}

#[test]
fn a_network_without_blocks_has_nothing_to_tap() {
    let family = Family::all(Build::default()).remove(0);
    let error = Taps::new(&[3], family.net.num_blocks()).expect_err("three blocks");
    assert!(error.to_string().contains("no block 3 among 3"), "{error}");
    let exact = dmdr_models::ExactMixture::new(&[1.0], &[vec![0.0]], &[1.0], Device::Cpu);
    let error = Taps::new(&[0], exact.num_blocks()).expect_err("no blocks");
    assert!(error.to_string().contains("no block 0 among 0"), "{error}");
}
