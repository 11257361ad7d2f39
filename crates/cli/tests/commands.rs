//! The commands a newcomer types, on a tiny world of networks.

mod common;

use common::{dmdr, fail, succeed, workspace};

#[test]
fn train_sample_eval_report() {
    let here = workspace();
    succeed(here, &["train", "configs/smoke.toml", "--root", "product"]);
    let run = "product/smoke";
    let caption = "a photo of a red apple and a blue car";
    let arguments = [
        "sample",
        run,
        "--prompt",
        caption,
        "--count",
        "2",
        "--output",
        "product/grid.png",
    ];
    succeed(here, &arguments);
    let grid = dmdr_image::Image::from_file(&here.join("product/grid.png")).expect("a picture");
    assert_eq!((grid.width, grid.height), (4 * 130 + 2, 130 + 2)); // 2 of the teacher, 2 of the student

    let output = succeed(
        here,
        &[
            "eval",
            run,
            "--num-prompts",
            "12",
            "--seeds",
            "0,1",
            "--json",
        ],
    );
    let reports: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(reports[0]["what"], "teacher");
    assert_eq!(
        (
            &reports[0]["num_evaluations"],
            &reports[1]["num_evaluations"]
        ),
        (&4.into(), &2.into())
    );
    for tower in ["world_clip", "preference", "preference_heldout"] {
        let hash = reports[1]["towers"][tower]["sha256"].as_str();
        assert_eq!(hash.map(str::len), Some(64), "{tower}");
    }
    for metric in [
        "geneval/overall",
        "geneval/position",
        "world_clip",
        "preference_heldout",
        "diversity",
    ] {
        assert!(
            reports[1]["metrics"][metric]["mean"].is_number(),
            "{metric}"
        );
    }
    succeed(here, &["report", run]);
    let page = std::fs::read_to_string(here.join(run).join("report/index.html")).expect("a page");
    assert!(page.contains("<svg") && page.contains("geneval"));

    let error = fail(here, &["sample", run, "--prompt", "a photo of a unicorn"]);
    assert!(error.contains("unicorn"), "{error}");
}

#[test]
fn a_lora_student_trains_and_samples() {
    let here = workspace();
    let tuning = "student.tuning={ lora = { rank = 4, alpha = 4.0, targets = [\"blocks.*\"] } }";
    succeed(
        here,
        &[
            "train",
            "configs/smoke.toml",
            "--root",
            "lora",
            "--set",
            tuning,
        ],
    );
    let arguments = [
        "sample",
        "lora/smoke",
        "--prompt",
        "a photo of a cat",
        "--output",
        "lora/a.png",
    ];
    succeed(here, &arguments);
}

#[test]
fn config_and_doctor_say_what_will_happen() {
    let here = workspace();
    let shown = succeed(here, &["config", "show", "configs/demo.toml"]);
    let shown = String::from_utf8(shown.stdout).expect("text");
    std::fs::write(here.join("configs/again.toml"), &shown).expect("writable");
    let again = succeed(here, &["config", "show", "configs/again.toml"]);
    assert_eq!(String::from_utf8(again.stdout).expect("text"), shown);
    for config in [
        "demo",
        "demo-quick",
        "dmd",
        "smoke",
        "teacher-tinted",
        "text-encoder",
        "world-clip",
    ] {
        succeed(
            here,
            &["config", "check", &format!("configs/{config}.toml")],
        );
    }
    let doctor = succeed(here, &["doctor", "configs/smoke.toml"]);
    assert!(
        String::from_utf8(doctor.stdout)
            .expect("text")
            .contains("ready to train")
    );
}

#[test]
fn help_names_every_command() {
    let output = dmdr(workspace(), &["--help"])
        .output()
        .expect("the binary starts");
    let help = String::from_utf8(output.stdout).expect("text");
    for command in [
        "demo", "pretrain", "train", "sample", "eval", "report", "config", "doctor",
    ] {
        assert!(help.contains(command), "{command}");
    }
}
