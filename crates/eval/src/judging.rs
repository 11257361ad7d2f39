//! The judge, over threads.

use std::thread;

use dmdr_world::{Image, Judge, Prompt, Verdict};

/// A verdict for each image with its prompt, in order; each thread takes an equal run of images.
pub(crate) fn verdicts(judge: &Judge, images: &[Image], prompts: &[Prompt]) -> Vec<Verdict> {
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
                        .map(|(image, prompt)| judge.verdict(image, prompt))
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
    use dmdr_world::{Preset, Split, World};

    use super::*;

    #[test]
    fn order_is_kept() {
        let world = World::new(Preset::Mini).expect("valid drawings");
        let judge = Judge::new(&world);
        let prompts: Vec<Prompt> = (0..7)
            .map(|index| world.prompt(Split::Validation, 0, index))
            .collect();
        let mut images: Vec<Image> = prompts
            .iter()
            .map(|prompt| world.render(&world.scene(prompt, 0)))
            .collect();
        images[3] = Image::filled(world.canvas(), world.canvas(), [0.2; 3]);
        let found = verdicts(&judge, &images, &prompts);
        let expected: Vec<Verdict> = images
            .iter()
            .zip(&prompts)
            .map(|(image, prompt)| judge.verdict(image, prompt))
            .collect();
        assert_eq!(found, expected);
        assert!(!found[3].correct);
        assert!(verdicts(&judge, &[], &[]).is_empty());
    }
}
