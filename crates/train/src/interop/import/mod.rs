//! An adapter of another tool as the start of a student (`student.init`): PEFT's, diffusers', kohya's and
//! ComfyUI's names become ours.

mod file;
mod foreign;
mod lora_config;
mod names;

use std::collections::BTreeMap;

use dmdr_models::Outputs;
use dmdr_tensor::{Device, Init, ParamStore, Scope, Tensor};

pub use self::file::{AdapterFile, TextEncoders};
use self::{
    file::Pair,
    names::{Names, Share},
};
use crate::TrainError;

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
    let mut found = matched(&targets, file).map_err(mismatch)?;
    let notes = notes(file, &found);
    let (mut tensors, mut too_high) = (BTreeMap::new(), Vec::new());
    for (layer, target) in targets {
        let Some(own) = found.remove(&layer) else {
            return Err(mismatch(format!(
                "it has no pair for layer `{layer}`, which the config targets: leave it out of `student.tuning.lora.targets`"
            )));
        };
        let pair = shaped(&target, &own.down, &own.up).map_err(|(expected, found)| {
            mismatch(format!(
                "the pair of `{}` for layer `{layer}` has shape {found:?}; the network asks for {expected:?}",
                own.stem
            ))
        })?;
        let pair = without_zeros(pair, target.a[0]);
        let rank = pair[0].size()[0];
        if rank > target.a[0] {
            too_high.push((layer, rank, target.a[0]));
            continue;
        }
        let [a, b] = filled_up(&layer, &target, seed, pair);
        tensors.insert(format!("{layer}.lora_A.weight"), a);
        tensors.insert(format!("{layer}.lora_B.weight"), b * (own.factor / scaling));
    }
    if let Some((layer, found, expected)) = too_high.first() {
        let highest = too_high.iter().map(|(_, rank, _)| rank).max();
        return Err(mismatch(format!(
            "layer `{layer}` has rank {found}; expected at most {expected}, the config's: set `student.tuning.lora.rank` to {}",
            highest.unwrap_or(found)
        )));
    }
    Ok(Imported { tensors, notes })
}

/// What a file has for a layer: the product is `factor * up * down`.
struct Found {
    stem: String,
    down: Tensor,
    up: Tensor,
    factor: f64,
}

/// The pairs of `file` by the layers of `targets`.
fn matched(
    targets: &BTreeMap<String, Target>,
    file: &AdapterFile,
) -> Result<BTreeMap<String, Found>, String> {
    let mut names = Names::default();
    for (layer, target) in targets {
        names.add(layer, target.b[0], target.a[1]);
    }
    let is_foreign = |pair: &&Pair| names.shares(&pair.stem).is_empty();
    let num_foreign = file.pairs.values().filter(is_foreign).count();
    let mut found = BTreeMap::<String, Found>::new();
    for (stem, pair) in &file.pairs {
        let shares = names.shares(&pair.stem);
        if shares.is_empty() {
            let way_out = if num_foreign == file.pairs.len() {
                "is it an adapter of another model?"
            } else {
                WAY_OUT
            };
            return Err(format!(
                "`{stem}` ({num_foreign} of {} pairs) belongs to no layer that the config targets: {way_out}",
                file.pairs.len()
            ));
        }
        check_thirds(stem, pair, shares)?;
        let factor = file.scale(stem, pair)?;
        for Share { layer, outputs } in shares {
            let up = own_outputs(&pair.up, *outputs)
                .map_err(|reason| format!("the pair of `{stem}` for layer `{layer}`: {reason}"))?;
            let own = Found {
                stem: stem.clone(),
                down: pair.down.shallow_clone(),
                up,
                factor,
            };
            if let Some(other) = found.insert(layer.clone(), own) {
                return Err(format!(
                    "layer `{layer}` has two pairs, `{}` and `{stem}`; remove one",
                    other.stem
                ));
            }
        }
    }
    Ok(found)
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

/// A pair in the shapes of the target's, but for its rank; otherwise the shape that was expected and the one found.
fn shaped(
    target: &Target,
    down: &Tensor,
    up: &Tensor,
) -> Result<[Tensor; 2], (Vec<i64>, Vec<i64>)> {
    let rank = down.size()[0];
    let reshaped = |tensor: &Tensor, shape: &[i64], axis: usize| {
        let mut expected = shape.to_vec();
        expected[axis] = rank;
        // A layer may be a convolution of kernel 1 in one tool and linear in another.
        let wide = |shape: &[i64]| -> Vec<i64> {
            let sizes = shape.iter().copied();
            sizes.filter(|&size| size != 1).collect()
        };
        if wide(&tensor.size()) == wide(&expected) {
            Ok(tensor.reshape(&expected))
        } else {
            Err((expected, tensor.size()))
        }
    };
    Ok([reshaped(down, &target.a, 0)?, reshaped(up, &target.b, 1)?])
}

/// A pair whose rank is above `rank` without the columns of `B` that are zero, as of three pairs that were put together.
fn without_zeros([a, b]: [Tensor; 2], rank: i64) -> [Tensor; 2] {
    if a.size()[0] <= rank {
        return [a, b];
    }
    let columns = b.transpose(0, 1).flatten(1, -1);
    let largest = columns.abs().amax([1], false);
    let used = largest.gt(0.0).nonzero().flatten(0, -1);
    [a.index_select(0, &used), b.index_select(1, &used)]
}

/// A pair of at most the target's rank with what a fresh adapter has in the remaining ones.
fn filled_up(layer: &str, target: &Target, seed: u64, [a, b]: [Tensor; 2]) -> [Tensor; 2] {
    let rank = a.size()[0];
    let missing = target.a[0] - rank;
    if missing == 0 {
        return [a, b];
    }
    let store = ParamStore::trainable(Device::Cpu, seed);
    let scope = Scope::root(&store, &[]).sub(layer);
    let fresh = scope.param("lora_A.weight", &target.a, Init::KaimingUniform);
    let mut zeros = target.b.clone();
    zeros[1] = missing;
    let zeros = Tensor::zeros(&zeros, (b.kind(), b.device()));
    let rows = fresh.detach().narrow(0, rank, missing);
    [Tensor::cat(&[a, rows], 0), Tensor::cat(&[b, zeros], 1)]
}

/// What is told about `file`, whose pairs are `found`.
fn notes(file: &AdapterFile, found: &BTreeMap<String, Found>) -> Vec<String> {
    let ranks = file.pairs.values().map(|pair| pair.rank() as f64);
    let factors = found.values().map(|own| own.factor);
    let mut notes = vec![format!(
        "{}: {} layers of rank {}, each product times {}",
        file.path.display(),
        found.len(),
        range(ranks),
        range(factors)
    )];
    if file.num_left_out > 0 {
        let count = file.num_left_out;
        notes.push(format!("left out: {count} tensors of text encoders"));
    }
    let is_zero = |own: &Found| own.factor == 0.0 || own.up.abs().max().double_value(&[]) == 0.0;
    if found.values().all(is_zero) {
        notes.push(
            "warning: every product is zero, so the student starts as the teacher".to_owned(),
        );
    }
    notes
}

/// The least and the largest of `values`, or the one that they all are.
fn range(values: impl Iterator<Item = f64>) -> String {
    let start = (f64::INFINITY, f64::NEG_INFINITY);
    let (low, high) = values.fold(start, |(low, high), value| {
        (low.min(value), high.max(value))
    });
    let [low, high] = [low, high].map(|value| ((value * 1e4).round() / 1e4).to_string());
    if low == high {
        low
    } else {
        format!("{low} to {high}")
    }
}

#[cfg(test)]
mod tests;
