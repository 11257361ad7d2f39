//! A set of prompts read from files, with a census of what was read.

use std::collections::HashSet;

use sha2::{Digest, Sha256};

use crate::FileError;
use crate::fingerprint::fingerprint;
use crate::spool::{Spool, SpoolWriter};
use crate::{BadRow, Census, Options, Order, PromptsError, Source, fault};

/// Prompts in the order of their sources, without the white space around them.
///
/// Reading goes once through all sources and copies what is kept to a file without a name; memory holds eight bytes a
/// prompt.
#[derive(Debug)]
pub struct PromptSet {
    spool: Spool,
    census: Census,
    digests: Vec<String>,
}

/// A prompt that is in two sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overlap {
    /// Its place in this set.
    pub index: usize,
    /// Its place in the other one.
    pub other: usize,
    /// What it says here.
    pub prompt: String,
}

impl PromptSet {
    /// Reads all sources.
    ///
    /// # Errors
    /// A file that cannot be read, a table without the column, a bad row where those are fatal, or no prompt at all.
    pub fn read(sources: &[Source], options: &Options) -> Result<Self, PromptsError> {
        let folder = options.spool.as_deref();
        let place = folder.map_or_else(std::env::temp_dir, ToOwned::to_owned);
        let spooled = |action| FileError::io(action, &place);
        let mut spool = SpoolWriter::new(folder).map_err(spooled("create a file in"))?;
        let mut census = Census::default();
        let mut seen = HashSet::new();
        let mut digests = Vec::new();
        for source in sources {
            let mut digest = Sha256::new();
            source.read(&mut |position, text| {
                census.rows += 1;
                match text.and_then(|text| fault::check(&text).map(|()| text)) {
                    Ok(text) => {
                        let text = text.trim();
                        if census.admit(text, options, &mut seen) {
                            spool.push(text).map_err(spooled("write to"))?;
                            digest.update((text.len() as u64).to_le_bytes());
                            digest.update(text);
                        }
                        Ok(())
                    }
                    Err(fault) => {
                        let path = source.path.clone();
                        census.refuse(
                            BadRow {
                                path,
                                position,
                                fault,
                            },
                            options.on_bad_row,
                        )
                    }
                }
            })?;
            digests.push(format!("{:x}", digest.finalize()));
        }
        if census.kept == 0 {
            let Census {
                rows,
                bad,
                examples,
                ..
            } = census;
            let first = examples.into_iter().next();
            return Err(PromptsError::NoPrompts { rows, bad, first });
        }
        let spool = spool.finish().map_err(spooled("write to"))?;
        Ok(Self {
            spool,
            census,
            digests,
        })
    }

    /// What became of all rows.
    pub fn census(&self) -> &Census {
        &self.census
    }

    /// SHA-256 of what was kept of each source: another digest, another order.
    pub fn digests(&self) -> &[String] {
        &self.digests
    }

    /// Number of prompts, at least one.
    #[expect(clippy::len_without_is_empty, reason = "it never is")]
    pub fn len(&self) -> usize {
        self.spool.len()
    }

    /// Prompt number `index`.
    ///
    /// # Errors
    /// The copy on disk cannot be read.
    ///
    /// # Panics
    /// There are fewer.
    pub fn get(&self, index: usize) -> Result<String, PromptsError> {
        let place = std::path::Path::new("copy of the prompts");
        Ok(self
            .spool
            .get(index)
            .map_err(FileError::io("read", place))?)
    }

    /// All prompts, in order.
    pub fn iter(&self) -> impl Iterator<Item = Result<String, PromptsError>> + '_ {
        (0..self.len()).map(|index| self.get(index))
    }

    /// The order in which `rank` of `ranks` reads the set, `batch` prompts an iteration.
    pub fn order(&self, seed: u64, batch: u64, rank: u64, ranks: u64) -> Order {
        let len = self.len() as u64;
        Order {
            seed,
            len,
            batch,
            rank,
            ranks,
        }
    }

    /// The prompts of one iteration.
    ///
    /// # Errors
    /// As for [`get`](Self::get).
    pub fn batch(&self, order: &Order, iteration: u64) -> Result<Vec<String>, PromptsError> {
        order
            .indices(iteration)
            .map(|index| self.get(index as usize))
            .collect()
    }

    /// Prompts of `self` that are in `other` too, but for case and white space. For the check that no prompt of an
    /// evaluation is trained on, `other` is the evaluation: 32 bytes are held for each of its prompts.
    ///
    /// # Errors
    /// As for [`get`](Self::get), also of an item.
    pub fn overlap<'a>(
        &'a self,
        other: &Self,
    ) -> Result<impl Iterator<Item = Result<Overlap, PromptsError>> + use<'a>, PromptsError> {
        let mut places: Vec<(u128, usize)> = Vec::with_capacity(other.len());
        for (place, prompt) in other.iter().enumerate() {
            places.push((fingerprint(&prompt?), place));
        }
        places.sort_unstable();
        Ok(self.iter().enumerate().filter_map(move |(index, prompt)| {
            let prompt = match prompt {
                Ok(prompt) => prompt,
                Err(error) => return Some(Err(error)),
            };
            let wanted = fingerprint(&prompt);
            let first = places.partition_point(|(found, _)| *found < wanted);
            let (found, other) = *places.get(first)?;
            (found == wanted).then_some(Ok(Overlap {
                index,
                other,
                prompt,
            }))
        }))
    }
}
