//! The full-size models ask for exactly the parameters of the published weights: `tests/shapes`, written by `make parity`
//! from the reference on PyTorch's meta device.

use std::{collections::BTreeMap, fs};

use dmdr_models::{
    AutoencoderKl, AutoencoderKlConfig, BlipConfig, BlipRating, ClipPair, ClipPairConfig, ClipText,
    ClipTextConfig, DinoClassifier, DinoConfig, Inception, Qwen3, Qwen3Config, Sd3, Sd3Config,
    SdxlConfig, SdxlUnet, Sit, SitConfig, T5Config, T5Encoder, Transformers, ZImage, ZImageConfig,
    from_open_clip,
};
use dmdr_tensor::{AdapterSpec, ParamStore, Tensor};

use crate::fixture::folder;

/// Name -> shape. A line is `name dim dim ..`; `{a..b}` in a name stands for the numbers from `a` to `b`.
fn published(name: &str) -> BTreeMap<String, Vec<i64>> {
    let path = folder().join(format!("tests/shapes/{name}.txt"));
    let text = fs::read_to_string(path).expect("a list");
    let mut shapes = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.split(' ');
        let name = words.next().expect("a name");
        let shape: Vec<i64> = words.map(|word| word.parse().expect("a size")).collect();
        let names = match name.split_once('{') {
            None => vec![name.to_owned()],
            Some((head, rest)) => {
                let (range, tail) = rest.split_once('}').expect("a range");
                let (first, last) = range.split_once("..").expect("two ends");
                let (first, last): (u32, u32) = (
                    first.parse().expect("a number"),
                    last.parse().expect("a number"),
                );
                (first..=last).map(|i| format!("{head}{i}{tail}")).collect()
            }
        };
        for name in names {
            assert!(
                shapes.insert(name.clone(), shape.clone()).is_none(),
                "{name} twice"
            );
        }
    }
    shapes
}

/// Builds a network in no memory, with LoRA on `targets`; it must ask for what is published, in `count` tensors.
/// Returns the number of adapted layers.
fn asks_for(
    name: &str,
    count: usize,
    targets: &[&str],
    build: impl FnOnce(&ParamStore, &[AdapterSpec]),
) -> usize {
    let (store, lora) = (ParamStore::shapes_only(), ParamStore::shapes_only());
    let targets: Vec<String> = targets.iter().map(ToString::to_string).collect();
    build(&store, &[AdapterSpec::new(2, 4.0, &targets, lora.clone())]);
    let (expected, asked) = (published(name), store.shapes());
    assert_eq!(expected.len(), count, "{name}");
    let missing: Vec<_> = expected
        .iter()
        .filter(|(n, _)| !asked.contains_key(*n))
        .collect();
    let extra: Vec<_> = asked
        .iter()
        .filter(|(n, _)| !expected.contains_key(*n))
        .collect();
    assert!(
        missing.is_empty() && extra.is_empty(),
        "{name}: missing {missing:?}, extra {extra:?}"
    );
    assert_eq!(asked, expected, "{name}");
    lora.shapes().len() / 2
}

fn sd3(config: Sd3Config) -> impl FnOnce(&ParamStore, &[AdapterSpec]) {
    |store, adapters| {
        Sd3::new(store, adapters, config).expect("sizes and targets fit");
    }
}

#[test]
fn sd3_and_its_descendants() {
    let targets = &Sd3::LORA_TARGETS;
    // Eight projections a block, one less in the last; four more in SD3.5-Medium's thirteen dual blocks.
    let layers = asks_for("sd3_medium", 683, targets, sd3(Sd3Config::sd3_medium()));
    assert_eq!(layers, 24 * 8 - 1);
    let layers = asks_for("sd35_medium", 909, targets, sd3(Sd3Config::sd35_medium()));
    assert_eq!(layers, 24 * 8 - 1 + 13 * 4);
    let layers = asks_for("sd35_large", 1227, targets, sd3(Sd3Config::sd35_large()));
    assert_eq!(layers, 38 * 8 - 1);
}

#[test]
fn sit_xl_2() {
    let layers = asks_for("sit_xl_2", 292, &Sit::LORA_TARGETS, |store, adapters| {
        Sit::new(store, adapters, SitConfig::xl_2()).expect("targets match");
    });
    assert_eq!(layers, 28 * 2);
}

#[test]
fn z_image() {
    let layers = asks_for("z_image", 521, &ZImage::LORA_TARGETS, |store, adapters| {
        let config = ZImageConfig::z_image();
        ZImage::new(store, adapters, config).expect("sizes and targets fit");
    });
    assert_eq!(layers, 30 * 4);
}

#[test]
fn sdxl() {
    let targets = &SdxlUnet::LORA_TARGETS;
    let layers = asks_for("sdxl_unet", 1680, targets, |store, adapters| {
        SdxlUnet::new(store, adapters, SdxlConfig::sdxl()).expect("sizes and targets fit");
        assert_eq!(store.num_scalars(), 2_567_463_684);
    });
    // Ten in each of 70 transformer blocks and two around each of 11 transformers; 17 residual blocks with three, 11 of
    // them with a shortcut; four changes of size.
    assert_eq!(layers, 70 * 10 + 11 * 2 + 17 * 3 + 11 + 4);
}

#[test]
fn autoencoders() {
    let asks = |name, count, numbers, config: AutoencoderKlConfig| {
        asks_for(name, count, &[], |store, _| {
            AutoencoderKl::new(store, config).expect("sizes fit");
            assert_eq!(store.num_scalars(), numbers, "{name}");
        });
    };
    asks("sdxl_vae", 248, 83_653_863, AutoencoderKlConfig::sdxl());
    asks("sdxl_vae", 248, 83_653_863, AutoencoderKlConfig::sd1());
    asks("sd3_vae", 244, 83_819_683, AutoencoderKlConfig::sd3());
    asks("sd3_vae", 244, 83_819_683, AutoencoderKlConfig::flux());
}

#[test]
fn text_encoders() {
    fn text<N: Transformers>(config: N::Config) -> impl FnOnce(&ParamStore, &[AdapterSpec]) {
        |store, _| {
            N::new(store, config).expect("sizes fit");
        }
    }
    asks_for(
        "text_clip_l",
        196,
        &[],
        text::<ClipText>(ClipTextConfig::clip_l()),
    );
    asks_for(
        "text_big_g",
        517,
        &[],
        text::<ClipText>(ClipTextConfig::big_g()),
    );
    asks_for("text_t5_xxl", 219, &[], text::<T5Encoder>(T5Config::xxl()));
    asks_for(
        "text_qwen3_4b",
        398,
        &[],
        text::<Qwen3>(Qwen3Config::qwen3_4b()),
    );
}

#[test]
fn clip_under_both_names() {
    let pair = |config| {
        move |store: &ParamStore, _: &[AdapterSpec]| {
            ClipPair::new(store, config).expect("sizes fit");
        }
    };
    asks_for("clip_l_14", 590, &[], pair(ClipPairConfig::l_14()));
    asks_for("clip_h_14", 910, &[], pair(ClipPairConfig::h_14()));

    for (name, count, config) in [
        ("b_32", 302, ClipPairConfig::base(32)),
        ("b_16", 302, ClipPairConfig::base(16)),
        ("l_14", 446, ClipPairConfig::l_14()),
        ("g_14", 782, ClipPairConfig::g_14()),
        ("h_14_378", 686, ClipPairConfig::dfn_h_14(378)),
    ] {
        let store = ParamStore::shapes_only();
        let net = ClipPair::new(&store, config).expect("sizes fit");
        let theirs = published(&format!("open_clip_{name}"));
        assert_eq!(theirs.len(), count, "{name}");
        let empty =
            |(name, shape): (String, Vec<i64>)| (name, Tensor::from(0f32).expand(shape, false));
        let own = from_open_clip(theirs.into_iter().map(empty).collect());
        let shapes: BTreeMap<_, _> = own.into_iter().map(|(name, t)| (name, t.size())).collect();
        assert_eq!(store.shapes(), shapes, "{name}");
        let config = net.image().config();
        let width = config.hidden_size / config.num_attention_heads;
        let expected = match name {
            "g_14" => 88,
            "h_14_378" => 80,
            _ => 64,
        };
        assert_eq!(width, expected, "{name}: channels of a head");
    }
}

/// The published list without what is stored but not read.
fn asks_for_read(name: &str, store: &ParamStore, is_read: impl Fn(&str) -> bool) {
    let mut shapes = published(name);
    shapes.retain(|name, _| is_read(name));
    assert_eq!(store.shapes(), shapes, "{name}");
}

#[test]
fn inception_of_fid() {
    let store = ParamStore::shapes_only();
    let _net = Inception::new(&store);
    assert_eq!(store.shapes().len(), 94 * 5);
    asks_for_read("inception", &store, |name| {
        !name.starts_with("fc.") && !name.ends_with(".num_batches_tracked")
    });
}

#[test]
fn image_reward() {
    let store = ParamStore::shapes_only();
    BlipRating::new(&store, BlipConfig::image_reward()).expect("sizes fit");
    asks_for_read("image_reward", &store, |name| {
        !name.ends_with(".position_ids")
    });
}

#[test]
fn dino_v2() {
    asks_for("dino_l_14", 343, &[], |store, _| {
        let head = ParamStore::shapes_only();
        DinoClassifier::new(store, &head, DinoConfig::l_14()).expect("sizes fit");
        let shapes = [("bias", vec![1000]), ("weight", vec![1000, 5120])];
        let shapes = shapes.map(|(name, shape)| (name.to_owned(), shape));
        assert_eq!(head.shapes(), BTreeMap::from(shapes));
    });
}
