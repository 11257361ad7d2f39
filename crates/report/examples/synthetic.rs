//! Writes the report of a made-up run, to look at: `cargo run -p dmdr-report --example synthetic -- FOLDER`.

use std::f64::consts::PI;
use std::path::{Path, PathBuf};

use dmdr_events::{Environment, EvalReport, Kind, MetricsWriter, OwnedRun, Record, Statistic};

const UPDATES: u64 = 500;
const COLD_START: f64 = 160.0;
const KINDS: [&str; 6] = [
    "single_object",
    "two_objects",
    "counting",
    "colors",
    "position",
    "color_attribution",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| "runs".to_owned()));
    let run = OwnedRun::create(root, "synthetic")?;
    run.write_config(
        "name = \"demo\"\nseed = 0\n\n[teacher]\nnum_steps = 25\nguidance = 3.0\n\n[student]\nnum_steps = 4\n\n[[rewards]]\nweight = 1.0\n",
    )?;
    run.write_env(&Environment {
        version: "0.1.0".to_owned(),
        commit: "4f2c9e1d7a".to_owned(),
        dirty: true,
        torch_version: "2.11.0".to_owned(),
        device: "cpu".to_owned(),
        command: "dmdr train configs/demo.toml --set method.dmdr.ttur=5".to_owned(),
        ..Environment::detect()
    })?;
    let mut metrics = MetricsWriter::open(run.metrics(), None)?;
    for update in 0..UPDATES {
        for record in records(update) {
            metrics.append(&record)?;
        }
    }
    for (what, quality) in [("teacher", 0.62), ("cold-start", 0.58), ("student", 0.74)] {
        run.write_eval(what, &evaluation(what, quality))?;
    }
    for update in [0, 50, 100, 150, 200, 250, 300, 350, 400, 450, 500] {
        sheet(&run.sample(update), 1.0 / (1.0 + update as f64 / 60.0))?;
    }
    sheet(&run.path().join("samples/teacher.png"), 0.15)?;
    let captions: Vec<String> = (0..16).map(|index| caption(index).to_owned()).collect();
    let layout = serde_json::json!({ "columns": 4, "captions": captions });
    std::fs::write(run.path().join("samples/sheet.json"), layout.to_string())?;
    dmdr_report::write(&run)?;
    run.keep();
    Ok(())
}

/// A repeatable number in `[-1, 1]`.
fn noise(update: u64, stream: u64) -> f64 {
    let mixed = (update * 7919 + stream * 104_729 + 12_345).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed >> 11) as f64 / (1u64 << 52) as f64 - 1.0
}

fn records(update: u64) -> Vec<Record> {
    let t = update as f64;
    let anneal = |from: f64, to: f64| {
        let part = (t / COLD_START).min(1.0);
        to + (from - to) * 0.5 * (1.0 + (PI * part).cos())
    };
    let weight = if t < COLD_START { 0.0 } else { 0.3 };
    let gain = ((t - COLD_START) / 120.0).clamp(0.0, 1.2);
    let mut train = vec![
        (
            "loss/dm",
            0.9 * (-t / 90.0).exp() + 0.35 + 0.08 * noise(update, 1),
        ),
        ("loss/rl", -0.2 - gain + 0.2 * noise(update, 2)),
        (
            "loss/total",
            0.9 * (-t / 90.0).exp() + 0.35 - weight * gain + 0.1 * noise(update, 3),
        ),
        (
            "grad_norm/student",
            8.0 * (-t / 60.0).exp() + 0.3 + 0.2 * (1.0 + noise(update, 4)).powi(4),
        ),
        ("dm/real_scale", anneal(0.75, 0.0)),
        (
            "dm/grad_abs",
            0.4 * (-t / 200.0).exp() + 0.05 * noise(update, 5).abs(),
        ),
        ("renoise/a", anneal(4.0, 1.0)),
        ("renoise/b", anneal(1.5, 1.0)),
        ("rl/weight", weight),
        (
            "time/update_s",
            0.9 + 0.08 * noise(update, 6) + if weight > 0.0 { 0.25 } else { 0.0 },
        ),
        ("student/saturation", 0.5 + 0.02 * noise(update, 12)),
    ];
    let rewards = [
        (
            "reward/world_clip/mean",
            "reward/world_clip/std",
            "reward/world_clip/min",
            "reward/world_clip/max",
        ),
        (
            "reward/preference/mean",
            "reward/preference/std",
            "reward/preference/min",
            "reward/preference/max",
        ),
    ];
    for (stream, (mean, std, min, max)) in (20..).zip(rewards) {
        let value = 0.1 + 0.5 * gain + 0.08 * noise(update, stream);
        train.extend([
            (mean, value),
            (std, 0.3),
            (min, value - 0.7),
            (max, value + 0.5 + 0.1 * noise(update, 30)),
        ]);
    }
    let wall = t * 1.1;
    let loss = 0.2 + 0.5 * (-t / 40.0).exp() + 0.05 * noise(update, 7);
    let norm = 0.5 + 0.2 * noise(update, 8);
    train.extend([("loss/fake_score", loss), ("grad_norm/fake_score", norm)]);
    let mut all = vec![Record::new(update, Kind::Train, wall, train)];
    if update % 50 == 49 {
        all.push(evaluated(update, wall, gain));
        all.push(Record::new(
            update,
            Kind::System,
            wall,
            [("memory_gb", 2.1 + 0.01 * noise(update, 9))],
        ));
    }
    all
}

/// A periodic evaluation; `gain` is what the reward has brought.
fn evaluated(update: u64, wall: f64, gain: f64) -> Record {
    let quality = 0.25 + 0.35 * (1.0 - (-(update as f64) / 80.0).exp()) + 0.12 * gain;
    let mut values: Vec<(String, f64)> = (0..)
        .zip(KINDS)
        .map(|(index, kind)| {
            let value = quality + 0.25 - 0.1 * index as f64 + 0.03 * noise(update, 40 + index);
            (format!("geneval/{kind}"), value.clamp(0.0, 1.0))
        })
        .collect();
    values.extend([
        ("geneval/overall".to_owned(), quality),
        ("world_clip".to_owned(), 0.3 + 0.2 * quality),
        ("preference".to_owned(), quality + 0.2 * gain),
        ("preference_heldout".to_owned(), quality + 0.1 * gain),
        ("diversity".to_owned(), 0.5 - 0.1 * gain),
    ]);
    Record::new(update, Kind::Evaluate, wall, values)
}

fn evaluation(what: &str, quality: f64) -> EvalReport {
    let is_teacher = what == "teacher";
    let around = |mean: f64| {
        Statistic::of(
            (0..4)
                .map(|seed| mean + 0.01 * noise(seed, what.len() as u64))
                .collect(),
        )
    };
    let mut metrics: std::collections::BTreeMap<String, Statistic> = KINDS
        .iter()
        .map(|kind| (format!("geneval/{kind}"), around(quality + 0.1)))
        .collect();
    metrics.insert("geneval/overall".to_owned(), around(quality));
    metrics.insert("preference_heldout".to_owned(), around(quality * 1.1));
    metrics.insert("world_clip".to_owned(), around(0.3 + 0.2 * quality));
    metrics.insert(
        "diversity".to_owned(),
        around(if is_teacher { 0.52 } else { 0.44 }),
    );
    EvalReport {
        what: what.to_owned(),
        checkpoint: if is_teacher {
            "assets/teacher.safetensors"
        } else {
            "runs/demo/checkpoints/update-000500"
        }
        .to_owned(),
        towers: std::collections::BTreeMap::new(),
        split: "test".to_owned(),
        num_prompts: 300,
        seeds: vec![0, 1, 2, 3],
        num_evaluations: if is_teacher { 50 } else { 4 },
        guidance: if is_teacher { 3.0 } else { 1.0 },
        metrics,
        images_per_second: if is_teacher { 3.1 } else { 38.4 },
        command: "dmdr eval runs/demo --split test --seeds 0,1,2,3".to_owned(),
        commit: "4f2c9e1d7a".to_owned(),
        machine: "a processor, 2 threads".to_owned(),
    }
}

fn caption(index: u32) -> &'static str {
    [
        "a red apple",
        "two blue cars",
        "a dog left of a green tree",
        "three yellow stars on a white table",
    ][index as usize % 4]
}

/// Sixteen discs in noise of the given strength.
fn sheet(path: &Path, strength: f64) -> image::ImageResult<()> {
    const SIDE: u32 = 32;
    let mut sheet =
        image::RgbImage::from_pixel(4 * (SIDE + 2) + 2, 4 * (SIDE + 2) + 2, image::Rgb([255; 3]));
    for index in 0..16 {
        let (left, top) = (2 + index % 4 * (SIDE + 2), 2 + index / 4 * (SIDE + 2));
        for (x, y) in (0..SIDE * SIDE).map(|i| (i % SIDE, i / SIDE)) {
            let away = (f64::from(x) - 16.0).hypot(f64::from(y) - 16.0);
            let base = if away < 6.0 + f64::from(index % 4) * 2.0 {
                [210.0, 60.0, 50.0]
            } else {
                [225.0, 232.0, 238.0]
            };
            let grain = |channel: u64| {
                110.0 * strength * noise(u64::from(x + y * SIDE), u64::from(index) * 3 + channel)
            };
            let pixel = [0, 1, 2].map(|channel: usize| {
                (base[channel] + grain(channel as u64)).clamp(0.0, 255.0) as u8
            });
            sheet.put_pixel(left + x, top + y, image::Rgb(pixel));
        }
    }
    sheet.save(path)
}
