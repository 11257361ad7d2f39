//! `dmdr-toy CONFIG ROOT [--resume]` trains the toy method; `dmdr-toy CONFIG --rehearse` says how many bytes an update takes.

use std::{collections::BTreeMap, io::Write as _, path::Path};

use anyhow::{Result, bail};
use dmdr_config::{Experiment, Method};
use dmdr_events::OwnedRun;
use dmdr_tensor::Runtime;
use dmdr_toy::{Toy, ToyRecipe};
use dmdr_train::{Assembly, Rehearsal, Silent};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [config, root, rest @ ..] = &arguments[..] else {
        bail!("dmdr-toy CONFIG ROOT [--resume], or dmdr-toy CONFIG --rehearse");
    };
    let experiment = Experiment::load(config, &[])?;
    let Method::External(external) = &experiment.method else {
        bail!("`{config}` has no `[method.external]`");
    };
    let recipe = ToyRecipe((**external).clone());
    let runtime = Runtime::new(experiment.device, experiment.precision)?;
    let assembly = Assembly::of(&experiment, runtime)
        .with_method(&recipe, &|parts| Ok(Box::new(Toy(parts.simulation))));
    if root == "--rehearse" {
        let bytes = Rehearsal::of(&assembly)?.update;
        writeln!(std::io::stdout(), "{bytes}")?;
        return Ok(());
    }
    // Everything is loaded before a folder is made: bad inputs leave nothing behind.
    let mut distillation = assembly.distillation()?;
    let resume = rest.iter().any(|argument| argument == "--resume");
    let run = if resume {
        OwnedRun::open(Path::new(root).join(&experiment.name))?
    } else {
        let run = OwnedRun::create(Path::new(root), &experiment.name)?;
        run.write_config(&experiment.to_toml())?;
        run
    };
    distillation.run(&run, resume, &BTreeMap::new(), &mut Silent)?;
    Ok(())
}
