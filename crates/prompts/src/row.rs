//! What all readers of prompt files share: how long a row may be, and who is told of it.

use crate::{Fault, Position, PromptsError};

/// The longest row of any format. Prompts are shorter by far; a file in another format, or a table with a lost
/// quotation mark, is found out by this before it fills the memory.
pub(super) const MAX_ROW_BYTES: u64 = 1 << 20;

/// What readers call for every row. An error of its own ends the reading.
pub(super) type Visit<'a> =
    dyn FnMut(Position, Result<String, Fault>) -> Result<(), PromptsError> + 'a;
