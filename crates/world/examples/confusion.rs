//! Measures the judge on scenes whose truth is known, as Markdown.
//!
//! `cargo run --release -p dmdr-world --example confusion -- [mini|geneval] [SCENES]`
#![expect(clippy::print_stdout, reason = "the tables are the program's result")]

use std::time::Instant;

use dmdr_config::WorldPreset;
use dmdr_world::{Audit, Defect, Disturbance, Judge, Kind, Mistake, Split, World, WorldError};

const DISTURBANCES: [Option<Disturbance>; 9] = [
    None,
    Some(Disturbance::Blur(0.5)),
    Some(Disturbance::Blur(0.6)),
    Some(Disturbance::Noise(0.03)),
    Some(Disturbance::Noise(0.05)),
    Some(Disturbance::Jpeg(85)),
    Some(Disturbance::Scale(0.95)),
    Some(Disturbance::Scale(1.05)),
    Some(Disturbance::Shift(0.5, 0.5)),
];

fn main() -> Result<(), WorldError> {
    let mut arguments = std::env::args().skip(1);
    let preset = match arguments.next().as_deref() {
        Some("geneval") => WorldPreset::Geneval,
        _ => WorldPreset::Mini,
    };
    let num: u64 = arguments
        .next()
        .and_then(|text| text.parse().ok())
        .unwrap_or(3000);
    let world = World::new(preset)?;
    let judge = Judge::new(&world);
    print_rates(&world, &judge, num);
    print_disturbed(&world, &judge, num);
    print_dense(&world, &judge, num / 6);
    print_time(&world, &judge);
    Ok(())
}

/// Undisturbed scenes, by kind, mistake and defect.
fn print_rates(world: &World, judge: &Judge, num: u64) {
    let audit = Audit::of_scenes(world, judge, None, num).with_malformed(world, judge, num / 6);
    println!("| kind | right prompts accepted |\n|---|---|");
    for (kind, rate) in Kind::ALL.into_iter().zip(&audit.accepted) {
        println!("| {} | {rate} |", kind.name());
    }
    println!("\n| mistake in the prompt | rejected |\n|---|---|");
    for (mistake, rate) in Mistake::ALL.into_iter().zip(&audit.rejected) {
        println!("| {mistake:?} | {rate} |");
    }
    println!("\n| defect of the image | rejected |\n|---|---|");
    for (defect, rate) in Defect::ALL.into_iter().zip(&audit.malformed) {
        println!("| {defect:?} | {rate} |");
    }
    if world.objects().len() <= 16 {
        println!("\n{}", audit.confusion_table(world));
    }
    for (drawn, seen, times) in audit.confusions(world) {
        println!("- {drawn} seen as {seen}: {times} times");
    }
}

fn print_disturbed(world: &World, judge: &Judge, num: u64) {
    println!(
        "\n| disturbance | right prompts accepted | worst kind | wrong prompts rejected |\n|---|---|---|---|"
    );
    for disturbance in DISTURBANCES {
        let audit = Audit::of_scenes(world, judge, disturbance, num);
        let name = disturbance.map_or("none".to_owned(), |disturbance| disturbance.to_string());
        let worst = Kind::ALL
            .into_iter()
            .zip(&audit.accepted)
            .min_by(|a, b| a.1.value().total_cmp(&b.1.value()))
            .map(|(kind, rate)| format!("{} {rate}", kind.name()))
            .unwrap_or_default();
        let (accepted, rejected) = (audit.accepted_rate(), audit.rejected_rate());
        println!("| {name} | {accepted} | {worst} | {rejected} |");
    }
}

fn print_dense(world: &World, judge: &Judge, num: u64) {
    let mut sums = [0.0; 2];
    for index in 0..num {
        let prompt = world.dense_prompt(Split::Test, 0, index);
        let other = world.dense_prompt(Split::Test, 1, index);
        let image = world.render(&world.dense_scene(&prompt, index));
        sums[0] += judge.answers(&image, &prompt).score;
        sums[1] += judge.answers(&image, &other).score;
    }
    let [own, other] = sums.map(|sum| sum / num.max(1) as f32);
    println!("\n| {num} dense scenes | mean score |\n|---|---|");
    println!("| with their own prompt | {own:.4} |\n| with another prompt | {other:.4} |");
}

fn print_time(world: &World, judge: &Judge) {
    let scene = |index| world.render(&world.scene(&world.prompt(Split::Test, 0, index), index));
    let images: Vec<_> = (0..300).map(scene).collect();
    let start = Instant::now();
    for image in &images {
        std::hint::black_box(judge.read(image));
    }
    let milliseconds = start.elapsed().as_secs_f64() * 1e3 / images.len() as f64;
    println!("\n{milliseconds:.2} ms per image on one core");
}
