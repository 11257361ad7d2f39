//! The autoencoder against diffusers' `AutoencoderKL`, from folders that diffusers saved.

use dmdr_models::{AutoencoderKl, AutoencoderKlConfig, load_diffusers_config};
use dmdr_tensor::{Kind, ParamStore, Tensor, reseed};

use crate::fixture::{self, Fixture, device, relative_error};

fn read(name: &str) -> (Fixture, AutoencoderKl) {
    let folder = fixture::path(name);
    let config = load_diffusers_config::<AutoencoderKl>(&folder).expect("config.json");
    let store = ParamStore::frozen(device());
    let net = AutoencoderKl::new(&store, config).expect("sizes fit");
    AutoencoderKl::load(&store, &folder).expect("fits");
    (Fixture::read(name), net)
}

fn gradient(of: &Tensor, cotangent: &Tensor, input: &Tensor) -> Tensor {
    let product = (of * cotangent).sum(Kind::Float);
    Tensor::run_backward(&[product], &[input], false, false).remove(0)
}

/// `tile` is that of the fixture.
fn agrees(name: &str, tile: i64) -> AutoencoderKlConfig {
    let (fixture, net) = read(name);
    let leaf = |name: &str| fixture.get(name).detach().set_requires_grad(true);

    let images = leaf("images");
    let posterior = net.encode(&images);
    fixture.agrees("mean", &posterior.mean);
    fixture.agrees("logvar", &posterior.logvar);
    let mode = posterior.mode();
    fixture.agrees("mode", &mode);
    let found = gradient(&mode, fixture.get("cotangent.mode"), &images);
    fixture.agrees("grad.images", &found);

    let latents = leaf("latents");
    let decoded = net.decode(&latents);
    fixture.agrees("decoded", &decoded);
    let cotangent = fixture.get("cotangent.decoded");
    let plain = gradient(&decoded, cotangent, &latents);
    fixture.agrees("grad.latents", &plain);
    fixture.agrees("decoded", &net.decode_sliced(&latents));
    fixture.agrees("tiled", &net.decode_tiled(&latents, tile));
    let whole = latents.size().into_iter().max().expect("a shape") + 4;
    assert!(net.decode_tiled(&latents, whole / 4 * 4).equal(&decoded));

    let store = ParamStore::frozen(device()).with_compute(Kind::BFloat16);
    let half = AutoencoderKl::new(&store, net.config().clone()).expect("sizes fit");
    AutoencoderKl::load(&store, &fixture::path(name)).expect("fits");
    let found = half.decode(&latents);
    assert_eq!(found.kind(), Kind::Float, "the edges are f32");
    let error = relative_error(&found, fixture.get("decoded"));
    let reference = relative_error(fixture.get("decoded_bf16"), fixture.get("decoded"));
    assert!(
        error > 0.0 && error < 2.0 * reference,
        "bf16: {error:.2e}, the reference's {reference:.2e}"
    );
    net.config().clone()
}

#[test]
fn sdxl_scales() {
    let config = agrees("vae_sdxl", 4);
    assert!(config.use_quant_conv && config.shift_factor.is_none());
}

#[test]
fn sd3_scales_and_shifts_and_has_no_convolutions_around_the_latent() {
    let config = agrees("vae_sd3", 4);
    assert!(!config.use_quant_conv && config.shift_factor == Some(0.0609));
}

/// Odd latents of 10 x 14, the attention's old names, fields left out.
#[test]
fn old_files() {
    let config = agrees("vae_old", 8);
    assert!((config.scaling_factor - 0.18215).abs() < 1e-12);
}

#[test]
fn without_attention() {
    assert!(!agrees("vae_no_attention", 4).mid_block_add_attention);
}

#[test]
fn draws_have_the_posteriors_moments() {
    let (fixture, net) = read("vae_sd3");
    let image = fixture.get("images").narrow(0, 0, 1);
    let posterior = net.encode(&image.expand([64, -1, -1, -1], false));
    reseed(&[1]);
    let (mode, scale) = (posterior.mode(), net.config().scaling_factor);
    let offset = (posterior.sample() - &mode) / scale / (&posterior.logvar * 0.5).exp();
    assert!(offset.mean(Kind::Float).double_value(&[]).abs() < 0.02);
    assert!((offset.std(true).double_value(&[]) - 1.0).abs() < 0.02);
}

#[test]
fn contradictory_sizes_are_refused() {
    let error = |change: fn(&mut AutoencoderKlConfig)| {
        let mut config = AutoencoderKlConfig::sdxl();
        change(&mut config);
        AutoencoderKl::new(&ParamStore::shapes_only(), config)
            .expect_err("refused")
            .to_string()
    };
    let message = error(|config| config.norm_num_groups = 48);
    assert!(
        message.contains("128 channels do not divide into 48 groups"),
        "{message}"
    );
    let message = error(|config| config.block_out_channels = vec![128, 256]);
    assert!(
        message.contains("block_out_channels has 2 stages"),
        "{message}"
    );
}
