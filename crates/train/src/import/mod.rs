//! An adapter of another tool as the start of a student (`student.init`): PEFT's, diffusers', kohya's and
//! ComfyUI's names become ours.

mod file;
mod foreign;
mod lora_config;
mod names;

use std::collections::BTreeMap;

use dmdr_tensor::{Device, Init, ParamStore, Scope, Tensor};

pub use self::file::{AdapterFile, TextEncoders};
use self::{
    file::Pair,
    names::{Names, Share},
};
use crate::{TrainError, mmdit::Outputs};

const WAY_OUT: &str = "add it to `student.tuning.lora.targets`, or remove it from the file";

/// A student's adapter that was brought from another tool.
#[derive(Debug)]
pub struct Imported {
    /// The pairs, under our names.
    pub tensors: BTreeMap<String, Tensor>,
    /// What became of the file, for people: a sentence a line.
    pub notes: Vec<String>,
}

/// The shapes of a layer's pair.
struct Target {
    a: Vec<i64>,
    b: Vec<i64>,
}

/// The pairs of `file` under the names of `adapter`, whose built-in factor is `scaling`: what multiplies a pair in the file
/// goes into `B`, as does the difference to `scaling`.
///
/// A pair of lower rank is filled up with what a fresh adapter of `seed` has there: rows of `A` that are drawn, and zeros
/// in `B`. The product is the same, and the new rows can be trained. Of a pair of higher rank, columns of `B` that are zero
/// are left out, if that is enough.
///
/// # Errors
/// A file that lacks a pair of the adapter, holds another layer, has a rank or shape that does not fit, or contradicts
/// itself about alpha.
pub fn import(
    adapter: &ParamStore,
    scaling: f64,
    seed: u64,
    file: &AdapterFile,
) -> Result<Imported, TrainError> {
    let mismatch = |reason: String| TrainError::Import {
        path: file.path.clone(),
        reason,
    };
    let targets = targets(adapter);
    let mut names = Names::default();
    for (layer, target) in &targets {
        names.add(layer, target.b[0], target.a[1]);
    }
    let (mut found, mut factors) = (BTreeMap::new(), Vec::new());
    let is_foreign = |pair: &&Pair| names.shares(&pair.stem).is_empty();
    let num_foreign = file.pairs.values().filter(is_foreign).count();
    for (stem, pair) in &file.pairs {
        let shares = names.shares(&pair.stem);
        if shares.is_empty() {
            return Err(mismatch(format!(
                "`{stem}` ({} of {} pairs) belongs to no layer that the config targets: {WAY_OUT}",
                num_foreign,
                file.pairs.len()
            )));
        }
        check_thirds(stem, pair, shares).map_err(mismatch)?;
        let scale = file.scale(stem, pair).map_err(mismatch)?;
        factors.push(scale);
        for share in shares {
            let up = own_outputs(&pair.up, share.outputs).map_err(|reason| {
                mismatch(format!(
                    "the pair of `{stem}` for layer `{}`: {reason}",
                    share.layer
                ))
            })?;
            let own = (stem, pair.down.shallow_clone(), up * (scale / scaling));
            if let Some((other, ..)) = found.insert(share.layer.clone(), own) {
                return Err(mismatch(format!(
                    "layer `{}` has two pairs, `{other}` and `{stem}`; remove one",
                    share.layer
                )));
            }
        }
    }
    let (mut tensors, mut too_high) = (BTreeMap::new(), Vec::new());
    let num_layers = targets.len();
    for (layer, target) in targets {
        let Some((stem, down, up)) = found.remove(&layer) else {
            return Err(mismatch(format!(
                "it has no pair for layer `{layer}`, which the config targets: leave it out of `student.tuning.lora.targets`"
            )));
        };
        let [down, up] = without_zeros(down, up, target.a[0]);
        if down.size()[0] > target.a[0] {
            too_high.push((layer, down.size()[0], target.a[0]));
            continue;
        }
        let [a, b] = fitted(&layer, &target, seed, &down, &up).map_err(|(expected, found)| {
            mismatch(format!(
                "the pair of `{stem}` for layer `{layer}` has shape {found:?}; the network asks for {expected:?}"
            ))
        })?;
        tensors.insert(format!("{layer}.lora_A.weight"), a);
        tensors.insert(format!("{layer}.lora_B.weight"), b);
    }
    if let Some((layer, found, expected)) = too_high.first() {
        let highest = too_high.iter().map(|(_, rank, _)| rank).max();
        return Err(mismatch(format!(
            "layer `{layer}` has rank {found}; expected at most {expected}, the config's: set `student.tuning.lora.rank` to {}",
            highest.unwrap_or(found)
        )));
    }
    let notes = notes(file, num_layers, &factors);
    Ok(Imported { tensors, notes })
}

/// The layers that `adapter` has pairs of.
fn targets(adapter: &ParamStore) -> BTreeMap<String, Target> {
    let shapes = adapter.shapes();
    let target = |(name, a): (&String, &Vec<i64>)| {
        let layer = name.strip_suffix(".lora_A.weight")?;
        let b = shapes.get(&format!("{layer}.lora_B.weight"))?.clone();
        Some((layer.to_owned(), Target { a: a.clone(), b }))
    };
    shapes.iter().filter_map(target).collect()
}

/// Refuses a pair that also changes queries, keys or values that are no targets: they would be lost.
fn check_thirds(stem: &str, pair: &Pair, shares: &[Share]) -> Result<(), String> {
    for third in 0..3 {
        let has = |share: &Share| {
            share.outputs == Outputs::Third(third) || !matches!(share.outputs, Outputs::Third(_))
        };
        if shares.iter().any(has) {
            continue;
        }
        let lost = own_outputs(&pair.up, Outputs::Third(third))?;
        if lost.abs().max().double_value(&[]) > 0.0 {
            let part = ["queries", "keys", "values"][third as usize];
            return Err(format!(
                "`{stem}` also changes the {part}, a layer that the config does not target: {WAY_OUT}"
            ));
        }
    }
    Ok(())
}

/// The rows of `up` that make `outputs`.
fn own_outputs(up: &Tensor, outputs: Outputs) -> Result<Tensor, String> {
    let num_rows = up.size()[0];
    let part = |index: i64, count: i64| {
        if num_rows % count == 0 {
            let length = num_rows / count;
            Ok(up.narrow(0, index * length, length))
        } else {
            Err(format!("{num_rows} outputs are not {count} equal parts"))
        }
    };
    Ok(match outputs {
        Outputs::All => up.shallow_clone(),
        Outputs::Third(index) => part(index, 3)?,
        Outputs::Swapped => Tensor::cat(&[part(1, 2)?, part(0, 2)?], 0),
    })
}

/// A pair whose rank is above `rank` without the columns of `up` that are zero, as of three pairs that were put together.
fn without_zeros(down: Tensor, up: Tensor, rank: i64) -> [Tensor; 2] {
    if down.size()[0] <= rank {
        return [down, up];
    }
    let columns = up.transpose(0, 1).flatten(1, -1);
    let used = columns
        .abs()
        .amax([1], false)
        .gt(0.0)
        .nonzero()
        .flatten(0, -1);
    [down.index_select(0, &used), up.index_select(1, &used)]
}

/// A pair of at most the target's rank in the target's shapes; otherwise the shape that was expected and the one found.
fn fitted(
    layer: &str,
    target: &Target,
    seed: u64,
    down: &Tensor,
    up: &Tensor,
) -> Result<[Tensor; 2], (Vec<i64>, Vec<i64>)> {
    let rank = down.size()[0];
    let of_rank = |shape: &[i64], axis: usize| {
        let mut shape = shape.to_vec();
        shape[axis] = rank;
        shape
    };
    // A layer may be a convolution of kernel 1 in one tool and linear in another.
    let reshaped = |tensor: &Tensor, expected: Vec<i64>| {
        let wide = |shape: &[i64]| {
            shape
                .iter()
                .copied()
                .filter(|&size| size != 1)
                .collect::<Vec<_>>()
        };
        match wide(&tensor.size()) == wide(&expected) {
            true => Ok(tensor.reshape(&expected)),
            false => Err((expected, tensor.size())),
        }
    };
    let a = reshaped(down, of_rank(&target.a, 0))?;
    let b = reshaped(up, of_rank(&target.b, 1))?;
    let missing = target.a[0] - rank;
    if missing == 0 {
        return Ok([a, b]);
    }
    let store = ParamStore::trainable(Device::Cpu, seed);
    let scope = Scope::root(&store, &[]).sub(layer);
    let fresh = scope.param("lora_A.weight", &target.a, Init::KaimingUniform);
    let mut zeros = target.b.clone();
    zeros[1] = missing;
    let zeros = Tensor::zeros(&zeros, (b.kind(), b.device()));
    let rows = fresh.detach().narrow(0, rank, missing);
    Ok([Tensor::cat(&[a, rows], 0), Tensor::cat(&[b, zeros], 1)])
}

fn notes(file: &AdapterFile, num_layers: usize, factors: &[f64]) -> Vec<String> {
    let ranks = file.pairs.values().map(Pair::rank);
    let (low, high) = ranks.fold((i64::MAX, 0), |(low, high), rank| {
        (low.min(rank), high.max(rank))
    });
    let ranks = if low == high {
        format!("rank {low}")
    } else {
        format!("ranks {low} to {high}")
    };
    let least = factors.iter().copied().fold(f64::INFINITY, f64::min);
    let most = factors.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let factors = if (most - least).abs() < 1e-9 {
        format!("{most:.4}")
    } else {
        format!("{least:.4} to {most:.4}")
    };
    let mut notes = vec![format!(
        "{}: {num_layers} layers of {ranks}, each product times {factors}",
        file.path.display()
    )];
    if file.num_left_out > 0 {
        notes.push(format!(
            "left out: {} tensors of text encoders",
            file.num_left_out
        ));
    }
    notes
}

#[cfg(test)]
mod tests;
