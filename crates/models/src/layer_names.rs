//! Layers under the names of other tools, where three of diffusers' layers may be one.

/// The layers that are one in an original checkpoint, in their order.
const QKV: [[&str; 3]; 2] = [
    ["to_q", "to_k", "to_v"],
    ["add_q_proj", "add_k_proj", "add_v_proj"],
];

/// Which outputs of an original layer are those of one of diffusers'.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outputs {
    /// All of them, in their order.
    All,
    /// The third with this index: queries, keys or values.
    Third(i64),
    /// All of them, the second half first: diffusers has a scale before its shift, the original after it.
    Swapped,
}

/// Where `part` is among queries, keys and values: of an attention's first or second input, and which of the three.
pub(crate) fn third(part: &str) -> Option<(usize, i64)> {
    let mut sides = QKV.iter().enumerate();
    sides.find_map(|(side, names)| {
        let index = names.iter().position(|name| *name == part)?;
        Some((side, index as i64))
    })
}
