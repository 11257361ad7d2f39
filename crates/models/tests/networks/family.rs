//! One tiny network of each family, with random weights: those that start as zeros would hide half of it.

use dmdr_config::Prediction;
use dmdr_diffusion::Schedule;
use dmdr_models::{
    Conditioning, Denoiser, Dit, DitConfig, DownBlockType, Guidance, Interpolant, PointNet,
    QkNormalization, Sd3, Sd3Config, SdxlConfig, SdxlUnet, Sit, SitConfig, UpBlockType, View,
    ZImage, ZImageConfig, ZImageText,
};
use dmdr_tensor::{Device, Kind, ParamStore, Tensor, no_grad_guard, reseed};

const OPTIONS: (Kind, Device) = (Kind::Float, Device::Cpu);

/// A network, and inputs that suit it: a batch of two.
pub(crate) struct Family {
    pub(crate) name: &'static str,
    pub(crate) net: Box<dyn Denoiser>,
    pub(crate) store: ParamStore,
    pub(crate) schedule: Schedule,
    /// `[2, C, H, W]`.
    pub(crate) x_t: Tensor,
    /// Two times at which thousandths of neighbouring times are exact in f32.
    pub(crate) t: Tensor,
    pub(crate) cond: Conditioning,
    pub(crate) null: Conditioning,
}

/// What a network is built with.
#[derive(Clone, Copy)]
pub(crate) struct Build {
    pub(crate) recomputes: bool,
    pub(crate) compute: Kind,
    pub(crate) device: Device,
}

impl Default for Build {
    fn default() -> Self {
        Self {
            recomputes: false,
            compute: Kind::Float,
            device: Device::Cpu,
        }
    }
}

pub(crate) fn random(shape: &[i64]) -> Tensor {
    Tensor::randn(shape, OPTIONS)
}

/// Adds to every parameter what makes it random, of the size that keeps activations near 1.
fn shake(store: &ParamStore) {
    let _guard = no_grad_guard();
    for mut param in store.group().tensors {
        let size = param.size();
        let fan_in = size.iter().skip(1).product::<i64>().max(4);
        let noise = (random(&size) / (fan_in as f64).sqrt()).to_device(store.device());
        let _ = param.g_add_(&noise);
    }
}

fn placed(cond: &Conditioning, device: Device) -> Conditioning {
    Conditioning {
        tokens: cond.tokens.to_device(device),
        pooled: cond.pooled.to_device(device),
    }
}

impl Family {
    /// The network in a role, guided at `scale`.
    pub(crate) fn view(&self, scale: f64) -> View<'_> {
        View {
            guidance: Some(Guidance {
                scale,
                null: self.null.clone(),
            }),
            ..View::new(&*self.net, self.schedule)
        }
    }

    /// All of them, trained.
    pub(crate) fn all(build: Build) -> Vec<Self> {
        [dit, sit, sd3, sdxl, z_image, point_net]
            .map(|family| {
                let store = ParamStore::trainable(build.device, 7)
                    .with_recomputation(f64::from(build.recomputes))
                    .with_compute(build.compute);
                let mut family = family(store);
                reseed(&[11]);
                shake(&family.store);
                family.x_t = random(&family.x_t.size()).to_device(build.device);
                family.t = family.t.to_device(build.device);
                family.cond = placed(&family.cond, build.device);
                family.null = placed(&family.null, build.device);
                family
            })
            .into()
    }
}

/// Encodings of a batch of two, and a null one: tokens `[B, _, _]`, pooled `[B, _]`.
fn captions(tokens: [i64; 2], pooled: i64) -> [Conditioning; 2] {
    reseed(&[13]);
    [2, 1].map(|batch| Conditioning {
        tokens: random(&[batch, tokens[0], tokens[1]]),
        pooled: random(&[batch, pooled]),
    })
}

fn times(numerators: [f32; 2], denominator: f64) -> Tensor {
    Tensor::from_slice(&numerators) / denominator
}

pub(crate) fn dit_config(depth: i64) -> DitConfig {
    DitConfig {
        image_size: 8,
        channels: 4,
        patch: 2,
        dim: 16,
        depth,
        heads: 2,
        context_dim: 6,
        pooled_dim: 5,
        prediction: Prediction::X0,
    }
}

fn dit(store: ParamStore) -> Family {
    let [cond, null] = captions([3, 6], 5);
    Family {
        name: "DiT",
        net: Box::new(Dit::new(&store, &[], dit_config(3)).expect("no adapters")),
        store,
        schedule: Schedule::RectifiedFlow,
        x_t: Tensor::zeros([2, 4, 8, 8], OPTIONS),
        t: times([1.0, 3.0], 32.0),
        cond,
        null,
    }
}

fn sit(store: ParamStore) -> Family {
    let config = SitConfig {
        input_size: 8,
        patch_size: 2,
        in_channels: 4,
        hidden_size: 16,
        depth: 3,
        num_heads: 2,
        num_classes: 5,
        learn_sigma: true,
        interpolant: Interpolant::DataAtOne,
    };
    Family {
        name: "SiT",
        net: Box::new(Sit::new(&store, &[], config).expect("no adapters")),
        store,
        schedule: Schedule::RectifiedFlow,
        x_t: Tensor::zeros([2, 4, 8, 8], OPTIONS),
        t: times([1.0, 3.0], 4.0),
        cond: Sit::condition(&Tensor::from_slice(&[4i64, 1])),
        null: Sit::condition(&Tensor::from_slice(&[5i64])),
    }
}

/// Blocks with a second attention and without.
fn sd3(store: ParamStore) -> Family {
    let config = Sd3Config {
        sample_size: 8,
        patch_size: 2,
        in_channels: 4,
        out_channels: 4,
        num_layers: 3,
        attention_head_dim: 8,
        num_attention_heads: 2,
        joint_attention_dim: 12,
        caption_projection_dim: 16,
        pooled_projection_dim: 10,
        pos_embed_max_size: 6,
        dual_attention_layers: vec![1],
        qk_norm: Some(QkNormalization::Rms),
    };
    let [cond, null] = captions([3, 12], 10);
    Family {
        name: "SD3",
        net: Box::new(Sd3::new(&store, &[], config).expect("sizes fit")),
        store,
        schedule: Schedule::RectifiedFlow,
        x_t: Tensor::zeros([2, 4, 8, 6], OPTIONS),
        t: times([1.0, 3.0], 32.0),
        cond,
        null,
    }
}

/// Three stages; the time embedding does not read the sinusoid that turns by a radian a timestep, which differences
/// between timesteps would miss.
fn sdxl(store: ParamStore) -> Family {
    let config = SdxlConfig {
        sample_size: 8,
        in_channels: 4,
        out_channels: 4,
        down_block_types: vec![
            DownBlockType::Residual,
            DownBlockType::Attention,
            DownBlockType::Attention,
        ],
        up_block_types: vec![
            UpBlockType::Attention,
            UpBlockType::Attention,
            UpBlockType::Residual,
        ],
        block_out_channels: vec![8, 12, 16],
        layers_per_block: 1,
        norm_num_groups: 4,
        norm_eps: 1e-5,
        cross_attention_dim: 6,
        transformer_layers_per_block: vec![1, 1, 2],
        attention_head_dim: vec![2, 2, 2],
        addition_time_embed_dim: 4,
        projection_class_embeddings_input_dim: 5 + 6 * 4,
    };
    let [cond, null] = captions([3, 6], 5).map(|captions| {
        let sizes = Tensor::ones([captions.batch(), 6], OPTIONS) * 64.0;
        SdxlUnet::condition(captions.tokens, &captions.pooled, &sizes)
    });
    Family {
        name: "SDXL",
        net: Box::new(SdxlUnet::new(&store, &[], config).expect("sizes fit")),
        store,
        schedule: Schedule::ScaledLinear,
        x_t: Tensor::zeros([2, 4, 8, 10], OPTIONS),
        t: times([250.0, 600.0], 1000.0),
        cond,
        null,
    }
}

/// Captions of 3 and 33 tokens, so that one is masked.
fn z_image(store: ParamStore) -> Family {
    let config = ZImageConfig {
        all_patch_size: vec![2],
        all_f_patch_size: vec![1],
        in_channels: 4,
        dim: 16,
        n_layers: 3,
        n_refiner_layers: 1,
        n_heads: 2,
        n_kv_heads: 2,
        norm_eps: 1e-5,
        qk_norm: true,
        cap_feat_dim: 6,
        siglip_feat_dim: None,
        rope_theta: 256.0,
        t_scale: 1000.0,
        axes_dims: vec![4, 2, 2],
        axes_lens: vec![1536, 512, 512],
        time_hidden: 12,
    };
    let [cond, null] = captions([33, 6], 0).map(|captions| captions.tokens);
    Family {
        name: "Z-Image",
        net: Box::new(ZImage::new(&store, &[], config).expect("sizes fit")),
        store,
        schedule: Schedule::RectifiedFlow,
        x_t: Tensor::zeros([2, 4, 8, 6], OPTIONS),
        t: times([31.0, 29.0], 32.0),
        cond: ZImageText::condition(cond, &Tensor::from_slice(&[3i64, 33])),
        null: ZImageText::condition(null, &Tensor::from_slice(&[1i64])),
    }
}

fn point_net(store: ParamStore) -> Family {
    let nothing = |batch| Conditioning::none(batch, Device::Cpu);
    Family {
        name: "PointNet",
        net: Box::new(PointNet::new(&store, &[], 16, 3).expect("no adapters")),
        store,
        schedule: Schedule::RectifiedFlow,
        x_t: Tensor::zeros([2, 2, 1, 1], OPTIONS),
        t: times([1.0, 3.0], 32.0),
        cond: nothing(2),
        null: nothing(1),
    }
}
