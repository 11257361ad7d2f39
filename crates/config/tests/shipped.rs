//! Every file in `configs/` loads, resolves and says nothing suspicious.

use std::fs;
use std::path::{Path, PathBuf};

use dmdr_config::{
    Curve, Dmdr, Document, Experiment, HubFile, LoraInit, Method, Pretrain, Table,
    TimeDistribution, Tuning,
};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("configs") {
        let path = entry.expect("entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            found.push(path);
        }
    }
    found
}

#[test]
fn all_load_and_resolve_to_themselves() {
    let files = files(&folder());
    assert!(files.len() >= 8, "{files:?}");
    for path in files {
        let document = Document::load(&path, &[]).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(
            document.warnings(),
            Vec::<String>::new(),
            "{}",
            path.display()
        );
        let stem = path.file_stem().expect("name").to_string_lossy();
        assert_eq!(document.name(), stem, "the run is named after its file");

        let resolved = tempfile::NamedTempFile::new().expect("temporary file");
        fs::write(resolved.path(), document.to_toml()).expect("written");
        let again = Document::load(resolved.path(), &[]).expect("resolved text loads");
        assert_eq!(again, document);
        assert_eq!(again.hash(), document.hash());
    }
}

/// The paper's prompts come from the data set as its owners published it, a JSON array.
#[test]
fn the_table_reads_the_published_prompts() {
    let table = Table::load(folder().join("table1.toml"), &[]).expect("valid");
    let files: Vec<_> = table.prompts.file.iter().map(HubFile::of).collect();
    let [Some(file)] = &files[..] else {
        panic!("{files:?}");
    };
    assert_eq!(file.repository, "FreedomIntelligence/ShareGPT-4o-Image");
    assert_eq!(file.path, "text_to_image.json");
    assert_eq!(table.prompts.column, "input_prompt");
    let named = table.referenced_files();
    assert!(named.iter().all(|file| file.key != "prompts.file"));
}

fn experiment(name: &str) -> Experiment {
    Experiment::load(folder().join(name), &[]).unwrap_or_else(|error| panic!("{error}"))
}

fn pretrain(name: &str) -> Pretrain {
    match Document::load(folder().join(name), &[]) {
        Ok(Document::Pretrain(pretrain)) => *pretrain,
        other => panic!("{other:?}"),
    }
}

#[test]
fn recipes_of_pipelines_name_repositories_of_the_hub() {
    for (recipe, repository) in [
        ("sdxl-dmdr.toml", "stabilityai/stable-diffusion-xl-base-1.0"),
        (
            "sdxl-1step-dmdr.toml",
            "stabilityai/stable-diffusion-xl-base-1.0",
        ),
        (
            "sd3-medium-dmdr.toml",
            "stabilityai/stable-diffusion-3-medium-diffusers",
        ),
        (
            "sd35-large-dmdr.toml",
            "stabilityai/stable-diffusion-3.5-large",
        ),
        ("z-image-dmdr.toml", "Tongyi-MAI/Z-Image"),
    ] {
        let experiment = experiment(recipe);
        assert_eq!(experiment.teacher.weights, Path::new(repository));
        assert!(experiment.teacher.is_on_hub(), "{repository}");
        let keys = experiment.referenced_files().into_iter();
        assert!(
            keys.map(|file| file.key)
                .all(|key| key != "teacher.weights")
        );
    }
    let mut teacher = experiment("z-image-dmdr.toml").teacher;
    for file in [
        "models/sit.safetensors",
        "models/unet.PT",
        "one-part",
        "/a/b",
        "a/b/c",
    ] {
        teacher.weights = file.into();
        assert!(!teacher.is_on_hub(), "{file}");
    }
}

fn dmdr(experiment: &Experiment) -> &Dmdr {
    match &experiment.method {
        Method::Dmdr(dmdr) => dmdr,
        _ => panic!("a recipe is DMDR"),
    }
}

/// What a recipe takes over of the authors' script for its model, commit ee68d48^ of github.com/vvvvvjdy/dmdr, `train_t2i`.
struct Published {
    recipe: &'static str,
    /// Cold start and all updates.
    updates: (u64, u64),
    /// Of both stages.
    student: (f64, f64),
    fake_score: (f64, f64),
    guidance: [f64; 2],
    reward: f64,
    num_steps: usize,
    shift: f64,
    size: usize,
}

const PUBLISHED: [Published; 3] = [
    Published {
        recipe: "sd3-medium-dmdr.toml",
        updates: (2000, 4000),
        student: (1e-6, 5e-7),
        fake_score: (5e-7, 2e-7),
        guidance: [6.5, 7.5],
        reward: 0.3,
        num_steps: 4,
        shift: 3.0,
        size: 512,
    },
    Published {
        recipe: "sd35-large-dmdr.toml",
        updates: (2000, 3000),
        student: (1e-6, 1e-7),
        fake_score: (2e-8, 5e-9),
        guidance: [3.5, 4.5],
        reward: 0.1,
        num_steps: 4,
        shift: 5.0,
        size: 1024,
    },
    Published {
        recipe: "sdxl-1step-dmdr.toml",
        updates: (3000, 4000),
        student: (1e-7, 5e-8),
        fake_score: (1e-7, 5e-8),
        guidance: [6.5, 7.5],
        reward: 0.3,
        num_steps: 1,
        shift: 1.0,
        size: 1024,
    },
];

#[test]
#[expect(clippy::float_cmp, reason = "numbers as they are written")]
fn recipes_have_the_published_numbers() {
    for published in PUBLISHED {
        let name = published.recipe;
        let experiment = experiment(name);
        let dmdr = dmdr(&experiment);
        let (joint, updates) = published.updates;
        assert_eq!(dmdr.num_updates, updates, "{name}");
        let stages = |curve: Curve| (curve.at(joint - 1), curve.at(joint));
        let rl = dmdr.rl.as_ref().expect("a joint stage");
        assert_eq!(stages(rl.weight), (0.0, 1.0), "{name}");
        let rates = |net| stages(experiment.optim.get(net).expect("it is trained").lr);
        assert_eq!(rates("student"), published.student, "{name}");
        assert_eq!(rates("fake_score"), published.fake_score, "{name}");
        assert_eq!(dmdr.dm.guidance, Some(published.guidance), "{name}");
        let middle = f64::midpoint(published.guidance[0], published.guidance[1]);
        assert_eq!(experiment.teacher.guidance, middle, "{name}");
        for reward in &experiment.rewards {
            let weight = reward.weight.at(joint);
            assert_eq!(
                (weight, reward.hinge),
                (published.reward, Some(0.7)),
                "{name}"
            );
            let prefix = reward.prefix.as_deref();
            let is_hps = reward.model.name() == "hps";
            assert_eq!(prefix, is_hps.then_some("Realistic photo "), "{name}");
        }
        let student = &experiment.student;
        assert_eq!(student.num_steps, published.num_steps, "{name}");
        assert_eq!(student.shift, published.shift, "{name}");
        let fake = experiment.fake_score.lora();
        assert_eq!((fake.rank, fake.alpha), (32, 32.0), "{name}");
        assert_eq!(fake.init_lora_weights, LoraInit::Gaussian, "{name}");
        match &student.tuning {
            Tuning::Lora(lora) => {
                assert_eq!((lora.rank, lora.alpha), (64, 128.0), "{name}");
                assert_eq!(lora.init_lora_weights, LoraInit::Gaussian, "{name}");
                assert_eq!(experiment.teacher.max_sequence_length, Some(128), "{name}");
            }
            Tuning::Full => {
                assert_eq!(student.conditioning_time, Some(0.4), "timestep 399");
                assert_eq!(dmdr.dm.real_scale, Curve::Constant(0.0), "no dynamics");
                assert_eq!(dmdr.dm.renoise, TimeDistribution::Uniform, "likewise");
            }
        }
        assert_eq!((dmdr.ttur, experiment.seed), (5, 30), "{name}");
        assert_eq!(experiment.ema, None, "{name}");
        let size = match &experiment.world {
            dmdr_config::World::Prompts(files) => files.size,
            other => panic!("{other:?}"),
        };
        assert_eq!(size, published.size, "{name}");
    }
}

/// A remark that names a line of a script uses a letter that the head of the file explains.
#[test]
fn remarks_name_files_that_the_head_explains() {
    for path in files(&folder()) {
        let text = fs::read_to_string(&path).expect("a config");
        for letter in ["[c]", "[j]", "[t]", "[s]", "[a]", "[u]", "[g]"] {
            let mut lines = text.lines().filter(|line| !line.starts_with('#'));
            let is_used = lines.any(|line| line.contains(&format!(" {letter}")));
            let is_explained = text
                .lines()
                .any(|line| line.starts_with('#') && line.contains(letter));
            assert!(!is_used || is_explained, "{}: {letter}", path.display());
        }
        let is_recipe = path
            .file_stem()
            .is_some_and(|stem| stem.to_string_lossy().ends_with("-dmdr"));
        let longest = text.lines().map(|line| line.chars().count()).max();
        assert!(!is_recipe || longest <= Some(100), "{}", path.display());
    }
}

#[test]
fn dmd_is_the_demo_without_dynamics_and_rewards() {
    let mut demo = experiment("demo.toml");
    let dmd = experiment("dmd.toml");
    demo.name.clone_from(&dmd.name);
    demo.rewards.clear();
    demo.guard = None;
    let Method::Dmdr(method) = &mut demo.method else {
        panic!("the demo is DMDR");
    };
    method.rl = None;
    method.dm.real_scale = Curve::Constant(0.0);
    method.dm.renoise = TimeDistribution::Uniform;
    method.fake_score.renoise = TimeDistribution::Uniform;
    assert_eq!(demo, dmd, "the baseline has the demo's budget");
}

#[test]
fn the_held_out_preference_differs_in_its_seed_only() {
    let mut preference = pretrain("preference.toml");
    let heldout = pretrain("preference-heldout.toml");
    assert_ne!(preference.seed, heldout.seed);
    preference.seed = heldout.seed;
    preference.name.clone_from(&heldout.name);
    assert_eq!(preference, heldout);
}

#[test]
fn referenced_files_have_their_keys() {
    let files = experiment("demo.toml").referenced_files();
    let keys: Vec<&str> = files.iter().map(|file| file.key.as_str()).collect();
    assert_eq!(
        keys,
        [
            "teacher.weights",
            "teacher.text_encoder",
            "rewards.0.model.world_clip.weights",
            "rewards.1.model.preference.weights",
            "assets.world_clip",
            "assets.preference",
            "assets.preference_heldout",
        ]
    );
    for (name, expected) in [
        ("text-encoder.toml", &[][..]),
        ("world-clip.toml", &["model.world_clip.init"]),
        (
            "preference.toml",
            &[
                "model.preference.repaint.teacher",
                "model.preference.repaint.text_encoder",
            ],
        ),
    ] {
        let files = pretrain(name).referenced_files();
        let keys: Vec<&str> = files.iter().map(|file| file.key.as_str()).collect();
        assert_eq!(keys, expected, "{name}");
    }
}
