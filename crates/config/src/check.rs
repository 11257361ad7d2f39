//! Rules that tie several keys together. Ranges of single keys are in `range.rs`.

mod evaluation;
mod reward;
mod table;

pub(crate) use self::table::table;

use self::reward::is_of_world;

use crate::error::Problem;
use crate::experiment::Experiment;
use crate::method::Method;
use crate::net::NetId;
use crate::networks::{FakeForm, FakeScore, LoraInit};
use crate::pretrain::{KindShares, Pretrain, PretrainModel};
use crate::recipe::Recipe;
use crate::world::World;

/// Every broken rule of an experiment.
pub(crate) fn experiment(e: &Experiment) -> Vec<Problem> {
    let mut problems = Vec::new();
    // A method of another program has its rules there.
    if !matches!(e.method, Method::External(_)) {
        problems.extend(method(e, e.method.recipe()));
    }
    prefixes(e, &mut problems);
    student(e, &mut problems);
    fake_score(e, &mut problems);
    world(e, &mut problems);
    for (index, reward) in e.rewards.iter().enumerate() {
        let files = reward.model.files();
        if let Some((field, weights)) = files
            .into_iter()
            .find(|(_, path)| *path == e.assets.preference_heldout)
        {
            let key = format!("rewards.{index}.model.{}.{field}", reward.model.name());
            problems.push(Problem::new(
                &[&key, "assets.preference_heldout"],
                format!(
                    "both are `{}`, but the held-out metric must not be trained on",
                    weights.display()
                ),
                "train on another reward model, or hold out another one",
            ));
        }
    }
    evaluation::evaluation(e, &mut problems);
    evaluation::guard(e, &mut problems);
    kinds("kinds", &e.kinds, &mut problems);
    seed(e.seed, &mut problems);
    problems
}

/// Every broken rule that a method's recipe has a say in.
pub(crate) fn method(e: &Experiment, recipe: &dyn Recipe) -> Vec<Problem> {
    let mut problems = Vec::new();
    rewards(e, recipe, &mut problems);
    problems.extend(recipe.problems(&e.setup()));
    evaluation::lowering(e, recipe, &mut problems);
    problems
}

/// Several steps, or a shift, have a grid of times that begins at pure noise.
fn student(e: &Experiment, problems: &mut Vec<Problem>) {
    if e.student.conditioning_time.is_none() {
        return;
    }
    if e.student.num_steps > 1 {
        problems.push(Problem::new(
            &["student.conditioning_time", "student.num_steps"],
            format!(
                "only a student of one step can be told another time than that of pure noise; this one has {}",
                e.student.num_steps
            ),
            "set `num_steps` to 1, or remove `conditioning_time`",
        ));
    }
    if (e.student.shift - 1.0).abs() > f64::EPSILON {
        problems.push(Problem::new(
            &["student.conditioning_time", "student.shift"],
            "both say where the grid of times begins",
            "remove `shift`",
        ));
    }
}

/// Keys of an adapter that the form of the fake score has no use for, and forms that a network has no place for.
fn fake_score(e: &Experiment, problems: &mut Vec<Problem>) {
    let form = e.fake_score.form;
    if form != FakeForm::Lora && e.fake_score.init_lora_weights != LoraInit::default() {
        problems.push(Problem::new(
            &["fake_score.init_lora_weights", "fake_score.form"],
            "only an adapter beside the weights is told how to start",
            "remove `init_lora_weights`",
        ));
    }
    if form != FakeForm::Lora && e.fake_score.targets.is_some() {
        problems.push(Problem::new(
            &["fake_score.targets", "fake_score.form"],
            "only an adapter beside the weights is told where to go",
            "remove `targets`",
        ));
    }
    if form == FakeForm::OutputLora && matches!(e.world, World::Prompts(_)) {
        problems.push(Problem::new(
            &["fake_score.form"],
            "the networks of pipelines have no fused projections to put an adapter behind",
            "use `lora` or `full`",
        ));
    }
}

/// What a world cannot do, and keys that belong to another one.
fn world(e: &Experiment, problems: &mut Vec<Problem>) {
    let mut foreign = |key: &str, is_set: bool, owner: &str| {
        if is_set {
            problems.push(Problem::new(
                &[key],
                format!("only {owner} has one"),
                "remove it",
            ));
        }
    };
    let is_emoji = matches!(e.world, World::Preset(_));
    foreign(
        "teacher.text_encoder",
        !is_emoji && e.teacher.text_encoder.is_some(),
        "the emoji world's teacher",
    );
    foreign(
        "kinds",
        !is_emoji && e.kinds != KindShares::default(),
        "the emoji world",
    );
    foreign(
        "teacher.revision",
        is_emoji && e.teacher.revision.is_some(),
        "a repository of the hub",
    );
    foreign(
        "teacher.max_sequence_length",
        !matches!(e.world, World::Prompts(_)) && e.teacher.max_sequence_length.is_some(),
        "a pipeline with prompts as text",
    );
    foreign(
        "teacher.vae",
        !matches!(e.world, World::Classes(_)) && e.teacher.vae.is_some(),
        "a class-conditional teacher",
    );
    if let World::Prompts(files) = &e.world {
        problems.extend(files.rules().problem("world.prompts"));
    }
    for (index, reward) in e.rewards.iter().enumerate() {
        if !is_of_world(&reward.model, &e.world) {
            problems.push(Problem::new(
                &[
                    &format!("rewards.{index}.model.{}", reward.model.name()),
                    "world",
                ],
                "this reward is of another world",
                "`world_clip`, `preference` and `judge` go with `[world] preset`, `dino` with classes, `aesthetic` with all but \
                 emoji, the others with `[world.prompts]`",
            ));
        }
    }
}

fn rewards(e: &Experiment, recipe: &dyn Recipe, problems: &mut Vec<Problem>) {
    let rl = recipe.rl();
    let keys = [rl.map_or("method", |rl| rl.key), "rewards"];
    match (rl, e.rewards.len()) {
        (Some(_), 0) => problems.push(Problem::new(
            &keys,
            "there is a reinforcement learning term but no reward",
            "add a `[[rewards]]` table, or remove the term for distribution matching only",
        )),
        (None, n) if n > 0 => problems.push(Problem::new(
            &keys,
            format!("there are {n} rewards but no reinforcement learning term to train on them"),
            match recipe.rl_table() {
                Some(table) => format!("add `{table}`, or remove `[[rewards]]` (`--set rewards=`)"),
                None => {
                    "remove `[[rewards]]` (`--set rewards=`): this method trains on none".to_owned()
                }
            },
        )),
        (Some(_), _)
            if e.rewards
                .iter()
                .all(|reward| reward.weight.bounds().1 == 0.0) =>
        {
            problems.push(Problem::new(
                &["rewards"],
                "the weight of every reward is 0 at every update",
                "give at least one of them a positive `weight`",
            ));
        }
        _ => {}
    }
}

/// Words before the prompts of a reward that reads none.
fn prefixes(e: &Experiment, problems: &mut Vec<Problem>) {
    for (index, reward) in e.rewards.iter().enumerate() {
        if reward.prefix.is_some() && !reward.model.reads_text() {
            problems.push(Problem::new(
                &[&format!("rewards.{index}.prefix")],
                format!(
                    "reward `{}` reads no prompt as free text",
                    reward.model.name()
                ),
                "remove it",
            ));
        }
    }
}

/// Every broken rule of a pretraining.
pub(crate) fn pretrain(p: &Pretrain) -> Vec<Problem> {
    let (dim, heads, patch) = match &p.model {
        PretrainModel::Teacher(m) => (m.dim, m.heads, m.patch),
        PretrainModel::WorldClip(m) => (m.dim, m.heads, m.patch),
        PretrainModel::Preference(m) => (m.dim, m.heads, m.patch),
    };
    let mut problems = Vec::new();
    let key = |field: &str| format!("model.{}.{field}", p.model.name());
    let (dim_key, heads_key, patch_key) = (key("dim"), key("heads"), key("patch"));
    if heads == 0 || !dim.is_multiple_of(heads) {
        problems.push(Problem::new(
            &[&dim_key, &heads_key],
            format!("dim = {dim} is not divisible by heads = {heads}"),
            "make `dim` a multiple of `heads`",
        ));
    } else if !(dim / heads).is_multiple_of(2) {
        problems.push(Problem::new(
            &[&dim_key, &heads_key],
            format!(
                "dim = {dim} over heads = {heads} gives a head of odd width {}",
                dim / heads
            ),
            "choose them so that `dim / heads` is even",
        ));
    }
    if let PretrainModel::Teacher(m) = &p.model {
        kinds("model.teacher.kinds", &m.kinds, &mut problems);
    }
    let canvas = p.world.preset.canvas();
    if patch == 0 || !canvas.is_multiple_of(patch) {
        problems.push(Problem::new(
            &[&patch_key, "world.preset"],
            format!(
                "patch = {patch} does not divide the canvas of {canvas} pixels of world `{}`",
                p.world.preset
            ),
            format!("choose a divisor of {canvas}, such as 4"),
        ));
    }
    if p.events.evaluate_every > 0 {
        problems.push(Problem::new(
            &["events.evaluate_every"],
            format!(
                "it is {}, but a pretraining has no periodic evaluation",
                p.events.evaluate_every
            ),
            "remove it or set it to 0",
        ));
    }
    seed(p.seed, &mut problems);
    problems
}

fn kinds(key: &str, kinds: &KindShares, problems: &mut Vec<Problem>) {
    if kinds.to_array().iter().sum::<f64>() <= 0.0 {
        problems.push(Problem::new(
            &[key],
            "every share is 0, so there is nothing to draw",
            "give at least one kind a positive share",
        ));
    }
}

fn seed(seed: u64, problems: &mut Vec<Problem>) {
    if i64::try_from(seed).is_err() {
        problems.push(Problem::new(
            &["seed"],
            format!("{seed} does not fit 64 signed bits"),
            format!("choose a seed of at most {}", i64::MAX),
        ));
    }
}

/// What is allowed in an experiment but probably not meant.
pub(crate) fn experiment_warnings(e: &Experiment) -> Vec<String> {
    let updates = e.method.recipe().plan().num_updates;
    let mut warnings = Vec::new();
    if e.fake_score.form == FakeForm::Full && e.fake_score.adapts() {
        warnings.push(
            "`fake_score.rank`, `alpha` and `scale` are an adapter's: a full fake score has no use for them".to_owned(),
        );
    }
    // A method of another program has its warnings there.
    if !matches!(e.method, Method::External(_)) {
        warnings.extend(method_warnings(e, e.method.recipe()));
    }
    let key = format!("method.{}.num_updates", e.method.name());
    periods(&e.events, updates, &key, &mut warnings);
    warnings
}

/// What a method's recipe warns of, and what it anneals for longer than it trains.
pub(crate) fn method_warnings(e: &Experiment, recipe: &dyn Recipe) -> Vec<String> {
    let updates = recipe.plan().num_updates;
    let mut warnings = recipe.warnings(&e.setup());
    let nets = recipe.nets(&e.setup());
    if e.fake_score != FakeScore::default() && !nets.iter().any(|net| net.id == NetId::FAKE_SCORE) {
        warnings.push(format!(
            "`fake_score` is not used: `method.{}` has none",
            e.method.name()
        ));
    }
    let key = format!("method.{}.num_updates", e.method.name());
    for (annealed, settled) in recipe.anneals() {
        if settled > updates {
            warnings.push(format!(
                "`{annealed}` is annealed over {settled} updates, but `{key}` is {updates}: the run ends on a \
                 biased objective"
            ));
        }
    }
    warnings
}

/// What is allowed in a pretraining but probably not meant.
pub(crate) fn pretrain_warnings(p: &Pretrain) -> Vec<String> {
    let mut warnings = Vec::new();
    let settled = p.optim.lr.settled_at();
    if settled > p.num_updates {
        warnings.push(format!(
            "`optim.lr` is annealed over {settled} updates, but `num_updates` is {}",
            p.num_updates
        ));
    }
    periods(&p.events, p.num_updates, "num_updates", &mut warnings);
    warnings
}

fn periods(events: &crate::Events, steps: u64, key: &str, warnings: &mut Vec<String>) {
    for (name, period) in [
        ("sample_every", events.sample_every),
        ("evaluate_every", events.evaluate_every),
    ] {
        if period > steps {
            warnings.push(format!(
                "`events.{name}` = {period} is above `{key}` = {steps}: it never happens"
            ));
        }
    }
}

#[cfg(test)]
mod tests;
