//! What could be set for less memory, and as much of it as a device of a given size needs.

use std::{iter, path::Path};

use anyhow::Result;
use dmdr_config::{Checkpointing, Device, Experiment, Lora, Memory, Tuning};

/// A change that saves memory.
pub(super) struct Switch {
    /// In words.
    pub(super) label: String,
    /// `KEY=VALUE`, as `--set` takes it.
    pub(super) sets: Vec<String>,
    /// The experiment with it.
    pub(super) changed: Experiment,
}

/// What `experiment` can be changed to.
pub(super) struct Fitted {
    /// `KEY=VALUE`, each key once.
    pub(super) sets: Vec<String>,
    /// Bytes that it takes then.
    pub(super) peak: u64,
}

type TurnOn = fn(&mut Memory) -> &mut bool;

/// From what costs least time on.
const MEMORY: [(&str, TurnOn); 3] = [
    ("rewards_on_host", |memory| &mut memory.rewards_on_host),
    ("base_in_8_bits", |memory| &mut memory.base_in_8_bits),
    ("base_on_host", |memory| &mut memory.base_on_host),
];

/// Shares of blocks that are computed again, one after the other.
const SHARES: [f64; 4] = [0.25, 0.5, 0.75, 1.0];

/// Single switches, without those that the config's rules refuse, such as more prompts in groups than a batch has.
pub(super) fn switches(experiment: &Experiment) -> Vec<Switch> {
    let recomputes = experiment.gradient_checkpointing != Checkpointing::ALL;
    let again = checkpointed(experiment, f64::from(recomputes));
    let memory = MEMORY
        .iter()
        .filter_map(|switch| kept_otherwise(experiment, *switch));
    let mut switches: Vec<Switch> = iter::once(again)
        .chain(halved(experiment))
        .chain(memory)
        .chain(adapted(experiment))
        .collect();
    switches.retain(|switch| switch.changed.check().is_ok());
    switches
}

/// What an experiment takes, in bytes.
type Peak<'a> = &'a dyn Fn(&Experiment) -> Result<u64>;

/// What `experiment` needs to take `capacity` bytes at most, where `peak` says what one takes: what costs least time goes
/// first. None if all of it is not enough.
pub(super) fn fit(
    experiment: &Experiment,
    capacity: u64,
    peak: Peak<'_>,
) -> Result<Option<Fitted>> {
    let mut current = experiment.clone();
    let mut fitted = Fitted {
        sets: Vec::new(),
        peak: peak(&current)?,
    };
    let mut saves = |current: &mut Experiment, switch: Option<Switch>| match switch {
        Some(switch) if fitted.peak > capacity => fitted.take(current, switch, peak),
        _ => Ok(false),
    };
    for share in SHARES {
        let more = more_checkpointed(&current, share);
        saves(&mut current, more)?;
    }
    loop {
        let half = halved(&current);
        if !saves(&mut current, half)? {
            break;
        }
    }
    for switch in MEMORY {
        let kept = kept_otherwise(&current, switch);
        saves(&mut current, kept)?;
    }
    Ok((fitted.peak <= capacity).then_some(fitted))
}

impl Fitted {
    /// Changes `current` by `switch`, if that is allowed and saves something; whether it did.
    fn take(&mut self, current: &mut Experiment, switch: Switch, peak: Peak<'_>) -> Result<bool> {
        if switch.changed.check().is_err() {
            return Ok(false);
        }
        let found = peak(&switch.changed)?;
        if found >= self.peak {
            return Ok(false);
        }
        let key = |set: &str| set.split('=').next().map(str::to_owned);
        let set_again: Vec<_> = switch.sets.iter().map(|set| key(set)).collect();
        self.sets.retain(|set| !set_again.contains(&key(set)));
        self.sets.extend(switch.sets);
        (*current, self.peak) = (switch.changed, found);
        Ok(true)
    }
}

fn more_checkpointed(experiment: &Experiment, share: f64) -> Option<Switch> {
    let is_more = share > experiment.gradient_checkpointing.share();
    is_more.then(|| checkpointed(experiment, share))
}

/// With another share of blocks that are computed again.
fn checkpointed(experiment: &Experiment, share: f64) -> Switch {
    let mut changed = experiment.clone();
    changed.gradient_checkpointing = Checkpointing::of(share);
    let value = match share {
        0.0 => "false".to_owned(),
        1.0 => "true".to_owned(),
        share => share.to_string(),
    };
    Switch {
        label: format!("gradient_checkpointing = {value}"),
        sets: vec![format!("gradient_checkpointing={value}")],
        changed,
    }
}

/// With a switch of `[memory]` that is off.
fn kept_otherwise(experiment: &Experiment, (key, of): (&str, TurnOn)) -> Option<Switch> {
    // Where the host computes, there is no other place to wait.
    if experiment.device == Device::Cpu && key.ends_with("on_host") {
        return None;
    }
    let mut changed = experiment.clone();
    let switch = of(&mut changed.memory);
    if std::mem::replace(switch, true) {
        return None;
    }
    Some(Switch {
        label: format!("memory.{key} = true"),
        sets: vec![format!("memory.{key}=true")],
        changed,
    })
}

/// Half the batch twice, which is the same batch.
fn halved(experiment: &Experiment) -> Option<Switch> {
    let recipe = experiment.method.recipe();
    let half = |count: usize| (count >= 2 && count.is_multiple_of(2)).then_some(count / 2);
    let batch_size = half(recipe.plan().batch_size)?;
    let accumulate = experiment.accumulate * 2;
    // By their keys, so that nobody has to know every method.
    let mut sets = vec![
        format!(
            "method.{}.batch_size={batch_size}",
            experiment.method.name()
        ),
        format!("accumulate={accumulate}"),
    ];
    if let Some(part) = recipe.rl()
        && let Some(groups) = part.algorithm.needs().groups
    {
        let (key, name, count) = (part.key, part.algorithm.name(), half(groups.num_prompts)?);
        sets.push(format!("{key}.algorithm.{name}.groups.num_prompts={count}"));
    }
    let changed = Experiment::parse(Path::new("config"), &experiment.to_toml(), &sets);
    Some(Switch {
        label: format!("batch_size = {batch_size}, accumulate = {accumulate}"),
        changed: changed.ok()?,
        sets,
    })
}

/// A student that is an adapter. What a run does changes with it.
fn adapted(experiment: &Experiment) -> Option<Switch> {
    if experiment.student.tuning != Tuning::Full || experiment.student.init.is_some() {
        return None;
    }
    let lora = Lora {
        targets: None,
        ..experiment.fake_score.lora()
    };
    let mut changed = experiment.clone();
    changed.student.tuning = Tuning::Lora(lora.clone());
    Some(Switch {
        label: format!("student.tuning = lora, rank {}", lora.rank),
        sets: Vec::new(),
        changed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn smoke(sets: &[&str]) -> Experiment {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
        let text = std::fs::read_to_string(format!("{root}/configs/smoke.toml")).expect("a config");
        let mut sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
        sets.push("device=cuda".to_owned());
        Experiment::parse(Path::new("smoke.toml"), &text, &sets).expect("a config")
    }

    /// A device on which each thing takes a round number of bytes.
    fn peak(experiment: &Experiment) -> u64 {
        let memory = experiment.memory;
        let kept = |on_device: bool, bytes| if on_device { bytes } else { 0 };
        let batch = experiment.method.recipe().plan().batch_size as f64;
        let activations = 100.0 * batch * (1.0 - 0.9 * experiment.gradient_checkpointing.share());
        let base = if memory.base_in_8_bits { 100 } else { 200 };
        activations as u64 + kept(!memory.rewards_on_host, 50) + kept(!memory.base_on_host, base)
    }

    fn sets_for(capacity: u64, sets: &[&str]) -> Option<Vec<String>> {
        let found = fit(&smoke(sets), capacity, &|changed| Ok(peak(changed)));
        let found = found.expect("it is a number");
        if let Some(found) = &found {
            assert!(found.peak <= capacity);
        }
        found.map(|found| found.sets)
    }

    #[test]
    fn what_costs_least_goes_first() {
        let batch_of_4 = ["method.dmdr.batch_size=4"];
        assert_eq!(sets_for(650, &batch_of_4).expect("fits"), [""; 0]);
        assert_eq!(
            sets_for(500, &batch_of_4).expect("fits"),
            ["gradient_checkpointing=0.5"]
        );
        assert_eq!(
            sets_for(260, &batch_of_4).expect("fits"),
            [
                "gradient_checkpointing=true",
                "method.dmdr.batch_size=1",
                "accumulate=4"
            ]
        );
        let all = sets_for(10, &batch_of_4).expect("fits");
        assert_eq!(all.len(), 6, "{all:?}");
        assert!(all.contains(&"memory.base_on_host=true".to_owned()));
        assert_eq!(sets_for(8, &batch_of_4), None);
    }

    #[test]
    fn what_is_set_makes_the_config_that_fits() {
        let sets = sets_for(10, &["method.dmdr.batch_size=4"]).expect("fits");
        let all: Vec<&str> = sets.iter().map(String::as_str).collect();
        let again = smoke(&[&["method.dmdr.batch_size=4"], &all[..]].concat());
        assert!(peak(&again) <= 10);
    }
}
