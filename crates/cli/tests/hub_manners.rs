//! The hub as it is on a bad day, and the cache as the Python client leaves it: tokens, redirects,
//! faults, names and layouts.

mod common;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use common::{
    checked,
    hub::{
        COMMIT, Fault, Hub, MODEL, Manners, NOWHERE, PROMPTS, doctor, etag, files, is_large,
        refused, remote_run, with_hub,
    },
    pipeline,
};

const WEIGHTS: &str = "transformer/diffusion_pytorch_model.safetensors";
const VAE: &str = "vae/diffusion_pytorch_model.safetensors";
const BLOBS: &str = "hf/hub/models--lab--tiny-1.0/blobs";
/// Of this one the hub sends other content once, of these a part is there.
const CHANGED: &str = "text_encoder/model.safetensors";
const LONG: &str = "text_encoder_2/model.safetensors";
const WRONG: &str = "text_encoder_3/model.safetensors";

/// The snapshot that a test looks for below its folder.
fn snapshot(here: &Path) -> PathBuf {
    let folder = "hf/hub/models--lab--tiny-1.0/snapshots";
    here.join(folder).join(COMMIT)
}

/// Puts the files of `base` into the cache as the Python client does, as links into `blobs` or as
/// copies.
fn fill_cache(here: &Path, base: &Path, links: bool) {
    let cache = here.join("hf/hub/models--lab--tiny-1.0");
    for folder in ["blobs", "refs", "snapshots"] {
        fs::create_dir_all(cache.join(folder)).expect("writable");
    }
    fs::write(cache.join("refs/main"), COMMIT).expect("writable");
    for name in files(base) {
        let content = fs::read(base.join(&name)).expect("readable");
        let etag = etag(&content, is_large(&name));
        let entry = cache.join("snapshots").join(COMMIT).join(&name);
        fs::create_dir_all(entry.parent().expect("a folder")).expect("writable");
        if links {
            fs::write(cache.join("blobs").join(&etag), content).expect("writable");
            let up = "../".repeat(name.split('/').count() + 1);
            #[cfg(unix)]
            std::os::unix::fs::symlink(format!("{up}blobs/{etag}"), entry).expect("writable");
        } else {
            fs::write(entry, content).expect("writable");
        }
    }
}

/// Leaves parts of earlier tries: one that is too long, and a whole one with other content.
fn leave_parts(here: &Path, base: &Path) {
    let blobs = here.join(BLOBS);
    fs::create_dir_all(&blobs).expect("writable");
    let part = |name: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let mut content = fs::read(base.join(name)).expect("readable");
        let part = blobs.join(format!("{}.incomplete", etag(&content, true)));
        change(&mut content);
        fs::write(part, content).expect("writable");
    };
    part(LONG, &|content| content.push(0));
    part(WRONG, &|content| content.fill(1));
}

/// The token went to the hub alone, every address is as the hub knows it, and no byte was asked for
/// twice without need.
fn check_requests(hub: &Hub, base: &Path) {
    let (asked, elsewhere) = (hub.asked(), hub.elsewhere());
    let token = Some("bearer hf_secret".to_owned());
    assert!(asked.iter().all(|asked| asked.token == token), "{asked:?}");
    assert!(
        elsewhere.iter().all(|asked| asked.token.is_none()),
        "{elsewhere:?}"
    );
    let info = "GET /hf/api/models/lab/tiny-1.0/revision/main?blobs=true";
    let count = |line: &str| asked.iter().filter(|asked| asked.line == line).count();
    assert_eq!(count(info), 1, "{asked:?}");
    let file =
        |method: &str, name: &str| format!("{method} /hf/lab/tiny-1.0/resolve/{COMMIT}/{name}");
    assert_eq!(count(&file("HEAD", WEIGHTS)), 1);
    assert_eq!(
        count("GET /hf/moved/vae/config.json"),
        2,
        "once too often, then the file"
    );
    // Each file's ranges: go on after a cut, start anew where a part is of no use, or has other
    // content.
    let size = |name: &str| fs::metadata(base.join(name)).expect("there").len();
    let ranges = |name: &str| {
        let line = format!("GET /{name}?signature=a%2Fb");
        let of = elsewhere.iter().filter(|asked| asked.line == line);
        of.map(|asked| asked.range.clone()).collect::<Vec<_>>()
    };
    let rest = |name: &str| Some(format!("bytes={}-", size(name) / 2));
    assert_eq!(ranges(WEIGHTS), [None, None, rest(WEIGHTS)]);
    assert_eq!(ranges(VAE), [None, rest(VAE), None]);
    assert_eq!(ranges(CHANGED), [None, None]);
    assert_eq!(ranges(LONG), [None]);
    assert_eq!(ranges(WRONG), [None]);
}

#[test]
fn a_pipeline_comes_through_whatever_goes_wrong() {
    let (dir, base) = remote_run();
    let here = dir.path();
    // What diffusers does not read, at every depth.
    for stray in [
        "tokenizer.json",
        "vae/.ipynb_checkpoints/x.json",
        "onnx/model_index.json",
    ] {
        let stray = base.join(stray);
        fs::create_dir_all(stray.parent().expect("a folder")).expect("writable");
        fs::write(stray, "{}").expect("writable");
    }
    let hub = Hub::new(Manners {
        root: base.clone(),
        token: Some("hf_secret"),
        redirects: true,
        faults: vec![
            ("scheduler_config.json", Fault::Busy),
            ("vae/config.json", Fault::Limited),
            (WEIGHTS, Fault::Busy),
            (WEIGHTS, Fault::Cut),
            (VAE, Fault::Cut),
            (VAE, Fault::NoPart),
            (CHANGED, Fault::Wrong),
        ],
        prefix: "/hf",
        ..Manners::default()
    });
    leave_parts(here, &base);
    let slash = format!("{}/", hub.url);
    let train = ["train", "run.toml", "--set", MODEL];
    checked(with_hub(here, &slash, &train).env("HF_TOKEN", " hf_secret\n"));

    for name in files(&snapshot(here)) {
        let [fetched, original] = [&snapshot(here), &base].map(|root| fs::read(root.join(&name)));
        assert!(
            fetched.expect("readable") == original.expect("there"),
            "{name}"
        );
    }
    assert!(!snapshot(here).join("tokenizer.json").exists());
    assert!(
        files(&here.join(BLOBS))
            .iter()
            .all(|name| !name.ends_with("incomplete"))
    );

    check_requests(&hub, &base);

    // Now all of it is here, and its commit in the run: nobody is asked.
    let num_asked = hub.asked().len();
    let resume = [&train[..], &["--resume"]].concat();
    checked(&mut with_hub(here, &hub.url, &resume));
    assert_eq!(hub.asked().len(), num_asked);
}

#[test]
fn what_the_python_client_fetched_is_enough() {
    for links in [true, false] {
        let (dir, base) = remote_run();
        let here = dir.path();
        fill_cache(here, &base, links);
        let cache = here.join("hf/hub/models--lab--tiny-1.0");
        let absent = cache.join(".no_exist").join(COMMIT).join("vae");
        fs::create_dir_all(&absent).expect("writable");
        fs::write(absent.join("config.json"), "").expect("writable");
        let hub = Hub::of(&base);
        let commit = format!("teacher.revision={COMMIT}");
        for sets in [&[MODEL][..], &[MODEL, &commit]] {
            for variable in ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"] {
                checked(doctor(here, &hub.url, sets).env(variable, "ON"));
            }
        }
        assert!(hub.asked().is_empty(), "{:?}", hub.asked());
        // The network is gone, and nobody said so.
        checked(&mut doctor(here, NOWHERE, &[MODEL, &commit]));
        checked(&mut doctor(here, NOWHERE, &[MODEL]));
        // The hub no longer has the commit, nor lets anybody in.
        for refusal in [(404, "RevisionNotFound"), (401, "RepoNotFound")] {
            let hub = Hub::new(Manners {
                refusal: Some(refusal),
                ..Manners::default()
            });
            checked(&mut doctor(here, &hub.url, &[MODEL, &commit]));
        }
        // Elsewhere, by a variable that goes before `HF_HOME`.
        fs::rename(here.join("hf"), here.join("other")).expect("writable");
        let mut moved = doctor(here, NOWHERE, &[MODEL]);
        moved.env("HF_HUB_OFFLINE", "1").env("HOME", here);
        checked(moved.env("HF_HUB_CACHE", "~/other/hub"));
    }
}

#[test]
fn a_snapshot_with_holes_is_mended_or_refused() {
    let (dir, base) = remote_run();
    let here = dir.path();
    fill_cache(here, &base, true);
    for name in [WEIGHTS, "tokenizer/tokenizer.json"] {
        fs::remove_file(snapshot(here).join(name)).expect("there");
    }
    let hub = Hub::of(&base);
    let error = refused(doctor(here, &hub.url, &[MODEL]).env("HF_HUB_OFFLINE", "1"));
    for part in [
        "`HF_HUB_OFFLINE` is set",
        "models--lab--tiny-1.0` lacks `tokenizer/tokenizer.json`, `transformer/diffusion_pytorch_model.safetensors`;",
        "`hf download lab/tiny-1.0 --revision main`",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert!(hub.asked().is_empty());
    // What is still among the blobs is not fetched again.
    checked(&mut doctor(here, &hub.url, &[MODEL]));
    assert!(
        hub.asked()
            .iter()
            .all(|asked| !asked.line.starts_with("GET /lab"))
    );

    // Blobs that a full disk cut short, or a person removed: known by the list that is in the cache
    // by now.
    let blob = fs::canonicalize(snapshot(here).join(WEIGHTS)).expect("a link");
    fs::write(&blob, "short").expect("writable");
    fs::remove_file(fs::canonicalize(snapshot(here).join(VAE)).expect("a link")).expect("there");
    let error = refused(doctor(here, NOWHERE, &[MODEL]).env("HF_HUB_OFFLINE", "1"));
    assert!(
        error.contains(&format!("lacks `{WEIGHTS}`, `{VAE}`;")),
        "{error}"
    );
    checked(&mut doctor(here, &hub.url, &[MODEL]));
    for name in [WEIGHTS, VAE] {
        let [found, right] = [&snapshot(here), &base].map(|root| fs::read(root.join(name)));
        assert!(found.expect("there") == right.expect("there"), "{name}");
    }
    // Nothing is in the cache.
    let error =
        refused(doctor(here, NOWHERE, &["teacher.weights=lab/none"]).env("HF_HUB_OFFLINE", "1"));
    assert!(error.contains("lacks `its commit of main`"), "{error}");
}

#[test]
fn names_are_escaped_and_references_known() {
    let dir = pipeline::tiny_run();
    let here = dir.path();
    let set = here.join("set");
    fs::create_dir_all(set.join("a b")).expect("writable");
    let name = "a b/ü#1?%20+&.json";
    fs::write(set.join(name), "[{\"prompt\": \"a red cat\"}]").expect("writable");
    let hub = Hub::of(&set);
    let escaped = "a%20b/%C3%BC%231%3F%2520%2B%26.json";
    for (reference, asked) in [
        ("", "main"),
        ("@v1", "v1"),
        ("@refs/convert/parquet", "refs%2Fconvert%2Fparquet"),
        ("@refs%2Fpr%2F1", "refs%2Fpr%2F1"),
    ] {
        let before = hub.asked().len();
        fs::remove_dir_all(here.join("hf")).unwrap_or_default();
        checked(&mut doctor(
            here,
            &hub.url,
            &[&format!("{PROMPTS}{reference}/{name}")],
        ));
        let lines: Vec<_> = hub.asked()[before..]
            .iter()
            .map(|asked| asked.line.clone())
            .collect();
        let file = format!("/datasets/lab/tiny-1.0/resolve/{COMMIT}/{escaped}");
        let expected = [
            format!("GET /api/datasets/lab/tiny-1.0/revision/{asked}"),
            format!("HEAD {file}"),
            format!("GET {file}"),
        ];
        assert_eq!(lines, expected);
    }
    let kept = here.join("hf/hub/datasets--lab--tiny-1.0/refs/refs/pr/1");
    assert_eq!(fs::read_to_string(kept).expect("kept"), COMMIT);
}

#[test]
fn two_processes_fetch_a_file_once() {
    let (dir, base) = remote_run();
    let here = dir.path();
    let hub = Hub::of(&base);
    let start = || {
        let mut command = doctor(here, &hub.url, &[MODEL]);
        command
            .stdout(Stdio::null())
            .spawn()
            .expect("the binary starts")
    };
    let processes = [start(), start()];
    for mut process in processes {
        assert!(process.wait().expect("it ends").success());
    }
    let line = format!("GET /lab/tiny-1.0/resolve/{COMMIT}/{WEIGHTS}");
    let count = hub
        .asked()
        .iter()
        .filter(|asked| asked.line == line)
        .count();
    assert_eq!(count, 1);
}

#[test]
fn a_file_that_is_always_damaged_is_refused() {
    let (dir, base) = remote_run();
    let here = dir.path();
    let hub = Hub::new(Manners {
        root: base,
        faults: vec![(VAE, Fault::Wrong), (VAE, Fault::Wrong)],
        ..Manners::default()
    });
    let error = refused(&mut doctor(here, &hub.url, &[MODEL]));
    assert!(
        error.contains("arrives damaged") && error.contains("SHA-256"),
        "{error}"
    );
    assert!(!snapshot(here).join(VAE).exists());
    let blobs = files(&here.join(BLOBS));
    assert!(
        blobs.iter().all(|name| !name.ends_with("incomplete")),
        "{blobs:?}"
    );
    checked(&mut doctor(here, &hub.url, &[MODEL]));
}

#[test]
fn links_are_not_made_where_they_are_not_wanted() {
    let (dir, base) = remote_run();
    let here = dir.path();
    let hub = Hub::of(&base);
    checked(doctor(here, &hub.url, &[MODEL]).env("HF_HUB_DISABLE_SYMLINKS", "1"));
    assert!(files(&snapshot(here)).len() > 10);
    assert!(!snapshot(here).join(WEIGHTS).is_symlink());
    let asked = hub.asked().len();
    checked(doctor(here, &hub.url, &[MODEL]).env("HF_HUB_OFFLINE", "1"));
    assert_eq!(hub.asked().len(), asked);
}
