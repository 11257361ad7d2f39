//! The judge, over threads.

use std::thread;

use dmdr_image::Image;

/// What `judge` finds in each image with its prompt, in order; each thread takes an equal run of images.
pub(crate) fn over_threads<P: Sync, R: Send>(
    images: &[Image],
    prompts: &[P],
    judge: impl Fn(&Image, &P) -> R + Sync,
) -> Vec<R> {
    let judge = &judge;
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let share = images.len().div_ceil(threads).max(1);
    thread::scope(|scope| {
        let workers: Vec<_> = images
            .chunks(share)
            .zip(prompts.chunks(share))
            .map(|(images, prompts)| {
                scope.spawn(move || {
                    let pairs = images.iter().zip(prompts);
                    pairs
                        .map(|(image, prompt)| judge(image, prompt))
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().expect("the judge does not panic"))
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use dmdr_config::WorldPreset;
    use dmdr_world::{Judge, Prompt, Split, Verdict, World};

    use super::*;

    #[test]
    fn order_is_kept() {
        let world = World::new(WorldPreset::Mini).expect("valid drawings");
        let judge = Judge::new(&world);
        let verdict = |image: &Image, prompt: &Prompt| judge.verdict(image, prompt);
        let prompts: Vec<Prompt> = (0..7)
            .map(|index| world.prompt(Split::Validation, 0, index))
            .collect();
        let mut images: Vec<Image> = prompts
            .iter()
            .map(|prompt| world.render(&world.scene(prompt, 0)))
            .collect();
        images[3] = Image::filled(world.canvas(), world.canvas(), [0.2; 3]);
        let found = over_threads(&images, &prompts, verdict);
        let expected: Vec<Verdict> = images
            .iter()
            .zip(&prompts)
            .map(|(image, prompt)| judge.verdict(image, prompt))
            .collect();
        assert_eq!(found, expected);
        assert!(!found[3].correct);
        assert!(over_threads(&[], &[], verdict).is_empty());
    }
}
