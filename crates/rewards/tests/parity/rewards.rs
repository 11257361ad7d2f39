//! Published rewards, from an image to its score, against the pieces their authors put together.

use std::collections::BTreeMap;

use dmdr_batches::Prompts;
use dmdr_config::ClipCheckpoint;
use dmdr_models::{
    BlipConfig, BlipRating, ClipPair, ClipVision, DinoClassifier, RatingHead, TextTokenizer,
};
use dmdr_rewards::{
    Aesthetic, ClipSimilarity, DinoClass, Hps, ImageReward, PickScore, RewardModel,
};
use dmdr_tensor::{Device, Kind, ParamStore, Scope, Tensor, write_tensors};

use crate::fixture::{self, Fixture, fill};

/// Where the fixtures of `dmdr-models` lie, seen from ours.
const MODELS: &str = "../../../models/tests/fixtures";

/// Both towers of the fixture `clip_transformers`, and a tokenizer.
pub(crate) fn towers() -> (ClipPair, TextTokenizer) {
    let folder = fixture::path(MODELS);
    let store = ParamStore::frozen(Device::Cpu);
    let config = Fixture::read(&format!("{MODELS}/clip_transformers")).config();
    let pair = ClipPair::load(&store, &folder.join("clip_transformers"), config).expect("fits");
    let tokenizer = TextTokenizer::clip(&folder.join("text/sdxl/tokenizer"), 77);
    (pair, tokenizer.expect("a tokenizer"))
}

fn aesthetic() -> Aesthetic {
    let stores = [(); 2].map(|()| ParamStore::frozen(Device::Cpu));
    let config = towers().0.image().config().clone();
    let head = RatingHead::new(&Scope::root(&stores[1], &[]), config.projection_dim);
    fill(&stores[1]);
    let folder = fixture::path(MODELS).join("clip_transformers");
    let tower = ClipVision::load(&stores[0], &folder, config).expect("fits");
    Aesthetic::new("aesthetic", tower, head)
}

fn dino_class() -> DinoClass {
    let fixture = Fixture::read(&format!("{MODELS}/dino"));
    let stores = [(); 2].map(|()| ParamStore::frozen(Device::Cpu));
    let net = DinoClassifier::new(&stores[0], &stores[1], fixture.config()).expect("sizes fit");
    fixture.fill(&stores[0], "backbone.");
    fixture.fill(&stores[1], "head.");
    DinoClass::new("dino_class", net)
}

/// The fixture's network and the head's weights, in one file with what is stored but not read.
fn image_reward() -> ImageReward {
    let fixture = Fixture::read("rewards");
    let config: BlipConfig = fixture.config();
    let head = ParamStore::frozen(Device::Cpu);
    let _ = RatingHead::new(&Scope::root(&head, &[]), config.text_dim);
    let head = fill(&head).into_iter();
    let mut weights: BTreeMap<_, _> = head
        .map(|(name, tensor)| (format!("mlp.{name}"), tensor))
        .collect();
    for (name, tensor) in &fixture.tensors {
        if name.starts_with("blip.") {
            weights.insert(name.clone(), tensor.shallow_clone());
        }
    }
    for unused in ["text_proj.bias", "text_encoder.embeddings.position_ids"] {
        weights.insert(format!("blip.{unused}"), Tensor::from(0f32));
    }
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("ImageReward.safetensors");
    write_tensors(&path, &weights, Kind::Float, &BTreeMap::new()).expect("writable");
    let net = BlipRating::load(&ParamStore::frozen(Device::Cpu), &path, config).expect("fits");
    let tokenizer = TextTokenizer::bert(&fixture::path("bert_tokenizer"), 35);
    ImageReward::new("image_reward", net, tokenizer.expect("a tokenizer"))
}

/// The fixture's captions.
fn captions(fixture: &Fixture) -> Prompts {
    Prompts::plain(fixture.metadata("captions"))
}

/// The fixture's classes.
fn classes(fixture: &Fixture) -> Prompts {
    let labels = fixture.get("labels").to_kind(Kind::Int64);
    let labels = Vec::<i64>::try_from(labels).expect("i64");
    let names = labels.iter().map(ToString::to_string).collect();
    Prompts::plain(names)
}

#[test]
fn scores_and_gradients() {
    let fixture = Fixture::read("rewards");
    let (captions, classes) = (captions(&fixture), classes(&fixture));
    let (clip, hps, pick) = (towers(), towers(), towers());
    let squashed = ClipCheckpoint::DfnH14;
    let rewards: [Box<dyn RewardModel>; 6] = [
        Box::new(ClipSimilarity::new("clip", clip.0, clip.1, squashed)),
        Box::new(Hps::new("hps", hps.0, hps.1)),
        Box::new(PickScore::new("pick_score", pick.0, pick.1)),
        Box::new(aesthetic()),
        Box::new(dino_class()),
        Box::new(image_reward()),
    ];
    for reward in rewards {
        assert!(reward.is_differentiable());
        let images = fixture.get("images").detach().set_requires_grad(true);
        let prompts = match reward.name() {
            "dino_class" => &classes,
            _ => &captions,
        };
        let score = reward.score(&images, prompts).expect("scored");
        fixture.agrees(reward.name(), &score);
        let total = score.sum(Kind::Float);
        let gradients = Tensor::run_backward(&[total], &[&images], false, false);
        fixture.agrees(&format!("grad.{}", reward.name()), &gradients[0]);
    }
}

#[test]
fn prompts_that_do_not_fit_are_refused() {
    let fixture = Fixture::read("rewards");
    let images = fixture.get("images");
    let none = Prompts::plain(Vec::new());
    let (pair, tokenizer) = towers();
    let hps = Hps::new("hps", pair, tokenizer);
    let error = hps
        .score(images, &none)
        .expect_err("no captions")
        .to_string();
    assert!(
        error.contains("`hps` needs one caption an image; there are 0 for 2"),
        "{error}"
    );
    let error = dino_class()
        .score(images, &captions(&fixture))
        .expect_err("no classes")
        .to_string();
    assert!(
        error.contains("`a photo of a red cat` is no class; expected a number below 7"),
        "{error}"
    );
}
