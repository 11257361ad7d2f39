//! Measures the judge on scenes whose truth is known, as Markdown.
//!
//! `cargo run --release -p dmdr-world --example confusion -- [mini|geneval] [SCENES]`

use std::time::Instant;

use dmdr_world::{
    Audit, Defect, Disturbance, Judge, Kind, Mistake, Preset, Split, World, WorldError,
};

#[expect(clippy::print_stdout, reason = "the table is the program's result")]
fn main() -> Result<(), WorldError> {
    let mut arguments = std::env::args().skip(1);
    let preset = match arguments.next().as_deref() {
        Some("geneval") => Preset::Geneval,
        _ => Preset::Mini,
    };
    let num: u64 = arguments
        .next()
        .and_then(|text| text.parse().ok())
        .unwrap_or(3000);
    let world = World::new(preset)?;
    let judge = Judge::new(&world);
    let clean = Audit::of_scenes(&world, &judge, None, num).with_malformed(&world, &judge, num / 6);

    println!(
        "| disturbance | right prompts accepted | worst kind | wrong prompts rejected |\n|---|---|---|---|"
    );
    let disturbances = [
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
    for disturbance in disturbances {
        let audit = Audit::of_scenes(&world, &judge, disturbance, num);
        let name = disturbance.map_or("none".to_owned(), |disturbance| disturbance.to_string());
        let worst = Kind::ALL
            .into_iter()
            .zip(&audit.accepted)
            .min_by(|a, b| a.1.value().total_cmp(&b.1.value()));
        let worst = worst
            .map(|(kind, rate)| format!("{} {rate}", kind.name()))
            .unwrap_or_default();
        println!(
            "| {name} | {} | {worst} | {} |",
            audit.accepted_rate(),
            audit.rejected_rate()
        );
    }
    println!("\n| kind | right prompts accepted |\n|---|---|");
    for (kind, rate) in Kind::ALL.into_iter().zip(&clean.accepted) {
        println!("| {} | {rate} |", kind.name());
    }
    println!("\n| mistake in the prompt | rejected |\n|---|---|");
    for (mistake, rate) in Mistake::ALL.into_iter().zip(&clean.rejected) {
        println!("| {mistake:?} | {rate} |");
    }
    println!("\n| defect of the image | rejected |\n|---|---|");
    for (defect, rate) in Defect::ALL.into_iter().zip(&clean.malformed) {
        println!("| {defect:?} | {rate} |");
    }
    if world.objects().len() <= 16 {
        println!("\n{}", clean.confusion_table(&world));
    }
    for (drawn, seen, times) in clean.confusions(&world) {
        println!("- {drawn} seen as {seen}: {times} times");
    }

    let mut sums = [0.0; 2];
    for index in 0..num / 6 {
        let prompt = world.dense_prompt(Split::Test, 0, index);
        let other = world.dense_prompt(Split::Test, 1, index);
        let image = world.render(&world.dense_scene(&prompt, index));
        sums[0] += judge.answers(&image, &prompt).score;
        sums[1] += judge.answers(&image, &other).score;
    }
    let [own, other] = sums.map(|sum| sum / (num / 6) as f32);
    println!(
        "\ndense scenes: mean score {own:.4} with their own prompt, {other:.4} with another one\n"
    );

    let scene = |index| world.render(&world.scene(&world.prompt(Split::Test, 0, index), index));
    let images: Vec<_> = (0..300).map(scene).collect();
    let start = Instant::now();
    for image in &images {
        std::hint::black_box(judge.read(image));
    }
    println!(
        "{:.2} ms per image on one core",
        start.elapsed().as_secs_f64() * 1e3 / images.len() as f64
    );
    Ok(())
}
