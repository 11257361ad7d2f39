//! Names of the numbers, in words.

/// Title of a number and what it is, where a word helps.
pub(crate) fn describe(key: &str) -> (String, &'static str) {
    let (title, about) = match key {
        "loss/dm" => ("Distribution matching loss", ""),
        "loss/rl" => ("Reinforcement learning loss", ""),
        "loss/gan" => ("GAN loss of the student", "softplus(-D) of its images"),
        "loss/discriminator" => ("Loss of the discriminator", ""),
        "loss/consistency" => ("Consistency loss", "to the target behind one ODE step"),
        "loss/fake_score" => (
            "Fake-score loss",
            "denoising loss on the student's own samples",
        ),
        "dm/real_scale" => (
            "Adapter scale of the real score",
            "DynaDG: at 0 the real score is the teacher",
        ),
        "dm/grad_abs" => (
            "Distribution matching gradient",
            "mean magnitude of fake minus real score, normalised",
        ),
        "rl/weight" => ("Weight of the reward term", "0 during the cold start"),
        "grad_norm/student" => ("Gradient norm of the student", "before clipping"),
        "grad_norm/fake_score" => ("Gradient norm of the fake score", "before clipping"),
        "dpg/overall" => ("DPG-Bench, overall", ""),
        "geneval/overall" => (
            "GenEval, overall",
            "mean over task kinds of the share of images the exact judge accepts",
        ),
        "world_clip" => ("Text alignment", "world CLIP"),
        "preference" => ("Preference", "the model that is trained on"),
        "preference_heldout" => ("Preference, held out", "a model that no run is trained on"),
        "well_formed" => (
            "Well formed",
            "share of images that are background and whole objects alone, whatever the prompt",
        ),
        "saturation" => (
            "Saturation",
            "largest minus smallest channel; rises with colours that please a reward",
        ),
        "high_frequency" => (
            "High frequencies",
            "share of the power at periods of 4 pixels and less; rises with grids and noise",
        ),
        "grid" => (
            "Grid",
            "decibels of the power at periods of 8 and 16 pixels above that around them; rises with visible tiles",
        ),
        "diversity" => ("Diversity", "between images of one prompt"),
        "diversity_correct" => (
            "Diversity, correct images",
            "between the images of one prompt that the judge finds correct",
        ),
        _ => return (words(key), ""),
    };
    (title.to_owned(), about)
}

/// Title of a metric in a table.
pub(crate) fn title(key: &str) -> String {
    match key.split_once('/') {
        Some((_, "overall")) => describe(key).0,
        Some(("geneval", kind)) => format!("GenEval, {}", spaced(kind)),
        Some(("dpg", category)) => format!("DPG-Bench, {category}"),
        _ => describe(key).0,
    }
}

/// The most telling metrics first, then by name.
pub(crate) fn rank(key: &str) -> (usize, String) {
    const ORDER: [&str; 6] = [
        "geneval/overall",
        "dpg/overall",
        "preference_heldout",
        "preference",
        "world_clip",
        "diversity",
    ];
    let place = ORDER
        .iter()
        .position(|name| *name == key)
        .unwrap_or(ORDER.len());
    (place, key.to_owned())
}

/// `reward/world_clip` as `Reward: world clip`.
fn words(key: &str) -> String {
    let text = key.split('/').map(spaced).collect::<Vec<_>>().join(": ");
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(letters).collect()
    })
}

/// `two_objects` as `two objects`.
pub(crate) fn spaced(name: &str) -> String {
    name.replace('_', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_and_unknown_names() {
        assert_eq!(title("geneval/overall"), "GenEval, overall");
        assert_eq!(title("geneval/two_objects"), "GenEval, two objects");
        assert_eq!(title("dpg/overall"), "DPG-Bench, overall");
        assert_eq!(title("dpg/entity"), "DPG-Bench, entity");
        assert_eq!(title("preference"), "Preference");
        assert_eq!(describe("reward/world_clip").0, "Reward: world clip");
        assert_eq!(describe("").0, "");
        let mut keys = vec!["geneval/colors", "diversity", "geneval/overall"];
        keys.sort_by_key(|key| rank(key));
        assert_eq!(keys, ["geneval/overall", "diversity", "geneval/colors"]);
    }
}
