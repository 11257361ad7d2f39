//! Every file in `configs/` loads, resolves and says nothing suspicious.

use std::fs;
use std::path::{Path, PathBuf};

use dmdr_config::{
    Curve, Document, Experiment, HubFile, Method, Pretrain, Table, TimeDistribution,
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
    method.score.renoise = TimeDistribution::Uniform;
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
