//! Adapters on queries, keys and values that are one layer elsewhere: three pairs of ours become one.

use std::collections::BTreeMap;

use dmdr_tensor::Tensor;

/// A low-rank product `up [out, r]`, `down [r, in]`, which is applied times `alpha / r`.
pub(crate) struct Pair {
    pub(crate) down: Tensor,
    pub(crate) up: Tensor,
    pub(crate) alpha: f64,
}

impl Pair {
    /// Its tensors under the layer's name `layer`.
    pub(crate) fn named(self, layer: &str) -> [(String, Tensor); 3] {
        [
            (format!("{layer}.lora_down.weight"), self.down),
            (format!("{layer}.lora_up.weight"), self.up),
            (format!("{layer}.alpha"), Tensor::from(self.alpha as f32)),
        ]
    }
}

/// The pair of a layer with three times the outputs of `parts`, each on the third of it with that index: `down` stacks
/// theirs, and `up` has them on its diagonal.
pub(crate) fn fused(mut parts: Vec<(i64, Pair)>) -> Pair {
    parts.sort_by_key(|(third, _)| *third);
    let downs: Vec<&Tensor> = parts.iter().map(|(_, pair)| &pair.down).collect();
    let down = Tensor::cat(&downs, 0);
    let num_columns = down.size()[0];
    let (num_rows, rank) = parts[0].1.up.size2().expect("[out, r]");
    let up = Tensor::zeros([3 * num_rows, num_columns], (down.kind(), down.device()));
    for (column, (third, pair)) in (0..).zip(&parts) {
        let rows = up.narrow(0, third * num_rows, num_rows);
        rows.narrow(1, column * rank, rank).copy_(&pair.up);
    }
    Pair {
        alpha: parts[0].1.alpha * parts.len() as f64,
        down,
        up,
    }
}

/// All pairs under their names; `thirds` are put together by name.
pub(crate) fn all_named(
    whole: Vec<(String, Pair)>,
    thirds: BTreeMap<String, Vec<(i64, Pair)>>,
) -> BTreeMap<String, Tensor> {
    let thirds = thirds.into_iter().map(|(name, parts)| (name, fused(parts)));
    let pairs = whole.into_iter().chain(thirds);
    pairs.flat_map(|(name, pair)| pair.named(&name)).collect()
}
