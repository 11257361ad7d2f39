//! Rules of the periodic evaluation and of the guard that watches it.

use crate::error::Problem;
use crate::experiment::Experiment;
use crate::fidelity::Detector;
use crate::guard::{Guard, GuardAction};
use crate::metric;
use crate::recipe::Recipe;
use crate::reward::{Reward, RewardModel};
use crate::world::World;

use super::reward::is_of_world;
use super::table::{distinct, named};

/// Least side of images in which a grid is looked for.
const GRID_SIDE: usize = 64;

pub(super) fn evaluation(e: &Experiment, problems: &mut Vec<Problem>) {
    let evaluation = &e.evaluation;
    let names = evaluation.names();
    if matches!(e.world, World::Preset(_)) {
        if !names.is_empty() {
            problems.push(Problem::new(
                &["evaluation", "world"],
                "the emoji world has metrics of its own",
                "remove `detectors`, `metrics` and `diversity` from `[evaluation]`",
            ));
        }
        return;
    }
    if names.is_empty() && e.events.evaluate_every > 0 {
        problems.push(Problem::new(
            &["events.evaluate_every", "evaluation"],
            "there is nothing to measure",
            "add an `[[evaluation.metrics]]`, or set it to 0",
        ));
    }
    let key = |index| named("evaluation.", evaluation.metrics.len(), index);
    distinct(&names, key, problems);
    for (index, metric) in evaluation.metrics.iter().enumerate() {
        if !is_of_world(&metric.model, &e.world) {
            problems.push(Problem::new(
                &[&format!("evaluation.metrics.{index}.model"), "world"],
                format!("`{}` is of another world", metric.model.name()),
                "use a reward model that could be trained on here",
            ));
        }
    }
    if let World::Prompts(files) = &e.world
        && files.size < GRID_SIDE
        && evaluation.detectors.contains(&Detector::Grid)
    {
        problems.push(Problem::new(
            &["evaluation.detectors", "world.prompts.size"],
            format!(
                "`grid` looks at images of at least {GRID_SIDE} pixels, and these have {}",
                files.size
            ),
            "remove it",
        ));
    }
    if evaluation.diversity.is_some() {
        two_seeds(e, "evaluation.diversity", problems);
    }
}

/// Diversity needs two images of a prompt.
fn two_seeds(e: &Experiment, key: &str, problems: &mut Vec<Problem>) {
    if e.evaluation.num_seeds < 2 {
        problems.push(Problem::new(
            &[key, "evaluation.num_seeds"],
            "diversity is measured between images of one prompt",
            "set `evaluation.num_seeds` to 2 or more",
        ));
    }
}

pub(super) fn guard(e: &Experiment, problems: &mut Vec<Problem>) {
    let Some(guard) = &e.guard else { return };
    if e.events.evaluate_every == 0 {
        problems.push(Problem::new(
            &["guard", "events.evaluate_every"],
            "the guard watches the periodic evaluation, and there is none",
            "set `events.evaluate_every`, or remove `[guard]`",
        ));
    }
    match e.world {
        World::Preset(_) => watches_scenes(e, guard, problems),
        World::Prompts(_) | World::Classes(_) => watches_pictures(e, guard, problems),
    }
}

/// What a guard can lower.
pub(super) fn lowering(e: &Experiment, recipe: &dyn Recipe, problems: &mut Vec<Problem>) {
    let Some(guard) = &e.guard else { return };
    let has_both = recipe.rl().is_some() && recipe.has_other_terms();
    if matches!(guard.action, GuardAction::LowerRl(_)) && !has_both {
        problems.push(Problem::new(
            &["guard.action", &format!("method.{}", e.method.name())],
            "only reinforcement learning beside distribution matching can be lowered",
            "use `action = \"stop\"`",
        ));
    }
}

/// What is measured of emoji scenes.
fn watches_scenes(e: &Experiment, guard: &Guard, problems: &mut Vec<Problem>) {
    let is_judged = |reward: &Reward| matches!(reward.model, RewardModel::Judge);
    match guard.metric.as_str() {
        "diversity" => two_seeds(e, "guard.metric", problems),
        "geneval" if e.rewards.iter().any(is_judged) => problems.push(Problem::new(
            &["guard.metric", "rewards"],
            "GenEval is decided by the judge, which is trained on",
            "watch another metric",
        )),
        "preference_heldout" | "geneval" => {}
        other => problems.push(unknown(
            other,
            &["preference_heldout", "geneval", "diversity"],
        )),
    }
}

/// What `[evaluation]` measures elsewhere, but for numbers of pixels, which have no better and worse.
fn watches_pictures(e: &Experiment, guard: &Guard, problems: &mut Vec<Problem>) {
    let metrics = &e.evaluation.metrics;
    let is_watched = |name: &str| name == guard.metric;
    if let Some(metric) = metrics.iter().find(|metric| is_watched(metric.name())) {
        let trained = e.rewards.iter().position(|r| r.model == metric.model);
        problems.extend(trained.map(|index| {
            Problem::new(
                &["guard.metric", &format!("rewards.{index}.model")],
                format!("`{}` is trained on", guard.metric),
                "watch a metric that no reward is trained on",
            )
        }));
    } else if !(is_watched("diversity") && e.evaluation.diversity.is_some()) {
        let names = metric::names(metrics, &[], e.evaluation.diversity.as_ref());
        problems.push(unknown(&guard.metric, &names));
    }
}

fn unknown(metric: &str, names: &[&str]) -> Problem {
    let help = match names {
        [] => "add an `[[evaluation.metrics]]` that it can watch".to_owned(),
        names => format!("use one of `{}`", names.join("`, `")),
    };
    Problem::new(
        &["guard.metric"],
        format!("nothing called `{metric}` can be watched here"),
        help,
    )
}
