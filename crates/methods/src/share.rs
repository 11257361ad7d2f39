//! Which rows of an iteration's batch a computation has: those of its process, or a part of them.

use std::ops::Range;

use dmdr_models::Conditioning;
use dmdr_tensor::{Kind, Ranks, Tensor};

/// A share of the whole batch. A process has every `ranks`-th row, so that each has samples of every depth; a part is a block
/// of those. All draws are made for the whole batch and each share takes its own rows: what a sample gets does not depend on
/// how the batch is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    rank: i64,
    ranks: i64,
    part: i64,
    parts: i64,
}

impl Share {
    /// All of it, in one process.
    pub const WHOLE: Self = Self {
        rank: 0,
        ranks: 1,
        part: 0,
        parts: 1,
    };

    /// What one of several processes has.
    pub fn of_process(ranks: Ranks) -> Self {
        Self {
            rank: ranks.rank() as i64,
            ranks: ranks.count() as i64,
            ..Self::WHOLE
        }
    }

    /// Rows of the whole batch, of which its process has `count`.
    pub fn whole(self, count: usize) -> usize {
        count * self.ranks as usize
    }

    /// The indices in the whole batch of its `len` rows.
    pub fn indices(self, len: usize) -> impl Iterator<Item = u64> {
        let first = self.part * len as i64;
        (first..first + len as i64).map(move |row| (row * self.ranks + self.rank) as u64)
    }

    /// It in `parts` of equal size.
    pub fn parts(self, parts: usize) -> impl Iterator<Item = Self> {
        let parts = parts as i64;
        (0..parts).map(move |part| Self {
            part: self.part * parts + part,
            parts: self.parts * parts,
            ..self
        })
    }

    /// In how many parts its process computes a batch.
    pub(crate) fn num_parts(self) -> usize {
        self.parts as usize
    }

    /// Whether no part of its process comes behind it.
    pub(crate) fn is_last(self) -> bool {
        self.part + 1 == self.parts
    }

    /// All that its process has.
    pub(crate) fn process(self) -> Self {
        Self {
            part: 0,
            parts: 1,
            ..self
        }
    }

    /// How many such shares the whole batch has.
    pub(crate) fn num_shares(self) -> i64 {
        self.parts * self.ranks
    }

    /// Its rows among the `count` of its process.
    ///
    /// # Panics
    /// If they cannot be divided evenly.
    pub fn rows(self, count: usize) -> Range<usize> {
        let (part, parts) = (self.part as usize, self.parts as usize);
        assert!(count.is_multiple_of(parts), "{count} rows in {parts} parts");
        let len = count / parts;
        part * len..(part + 1) * len
    }

    /// Its rows of `x`, which has those of its process.
    ///
    /// # Panics
    /// As for [`Self::rows`].
    pub fn of(self, x: &Tensor) -> Tensor {
        let rows = self.rows(x.size()[0] as usize);
        x.narrow(0, rows.start as i64, rows.len() as i64)
    }

    /// Its rows of an encoding that has those of its process.
    ///
    /// # Panics
    /// As for [`Self::rows`].
    pub fn of_cond(self, cond: &Conditioning) -> Conditioning {
        let rows = self.rows(cond.batch() as usize);
        cond.narrow(rows.start as i64, rows.len() as i64)
    }

    /// How many of its `len` rows lie among the first `limit` of the whole batch.
    pub(crate) fn below(self, limit: i64, len: i64) -> i64 {
        let of_process = (limit - self.rank + self.ranks - 1).div_euclid(self.ranks);
        (of_process - self.part * len).clamp(0, len)
    }

    /// Whether this part has any of the first `limit` rows in one of the processes: if so, in the first.
    pub(crate) fn is_any_below(self, limit: i64, len: i64) -> bool {
        Self { rank: 0, ..self }.below(limit, len) > 0
    }

    /// Its `len` rows of what `draw` makes for a number of rows.
    pub fn draw(self, len: i64, draw: impl FnOnce(i64) -> Tensor) -> Tensor {
        self.draw_first(len * self.parts * self.ranks, len, draw)
    }

    /// As [`Self::draw`], where only the first `limit` rows of the whole batch are drawn for, of which it has `len` in all.
    pub(crate) fn draw_first(
        self,
        limit: i64,
        len: i64,
        draw: impl FnOnce(i64) -> Tensor,
    ) -> Tensor {
        let drawn = draw(limit);
        if self == Self::WHOLE {
            return drawn;
        }
        let of_process = drawn.slice(0, self.rank, None, self.ranks);
        let first = (self.part * len).min(of_process.size()[0]);
        // Not a view, which would keep all that was drawn.
        of_process.narrow(0, first, self.below(limit, len)).copy()
    }

    /// Normal noise for its rows, like `x`.
    pub fn randn_like(self, x: &Tensor) -> Tensor {
        self.randn_groups_like(x, 1)
    }

    /// As [`Self::randn_like`], where `size` rows in a row are of one group, and groups are what is divided.
    pub(crate) fn randn_groups_like(self, x: &Tensor, size: i64) -> Tensor {
        let shape = x.size();
        let drawn = self.draw(shape[0] / size, |groups| {
            let rows = [&[groups * size], &shape[1..]].concat();
            Tensor::randn(rows, (Kind::Float, x.device()))
                .reshape([&[groups, size], &shape[1..]].concat())
        });
        drawn.reshape(&shape)
    }
}

#[cfg(test)]
mod tests {
    use dmdr_tensor::Device;

    use super::*;

    /// One of two processes.
    fn of_two(rank: i64) -> Share {
        Share {
            rank,
            ranks: 2,
            ..Share::WHOLE
        }
    }

    /// Row numbers instead of noise.
    fn count(rows: i64) -> Tensor {
        Tensor::arange(rows, (Kind::Int64, Device::Cpu))
    }

    fn values(x: &Tensor) -> Vec<i64> {
        Vec::try_from(x).expect("i64")
    }

    #[test]
    fn shares_have_each_row_once() {
        let mut seen = Vec::new();
        for rank in 0..2 {
            for part in of_two(rank).parts(3) {
                seen.extend(values(&part.draw(2, count)));
            }
        }
        assert_eq!(seen, [0, 2, 4, 6, 8, 10, 1, 3, 5, 7, 9, 11]);
        let twice: Vec<_> = Share::WHOLE
            .parts(2)
            .flat_map(|half| half.parts(2))
            .collect();
        assert_eq!(twice, Share::WHOLE.parts(4).collect::<Vec<_>>());
    }

    #[test]
    fn a_share_has_its_rows_of_the_first_ones() {
        for limit in 0..=12 {
            let mut seen = Vec::new();
            for rank in 0..2 {
                for part in of_two(rank).parts(3) {
                    let own = values(&part.draw_first(limit, 2, count));
                    let indices = part.indices(2).map(|index| index as i64);
                    assert!(indices.take(own.len()).eq(own.iter().copied()));
                    assert_eq!(own.len() as i64, part.below(limit, 2));
                    seen.extend(own);
                }
            }
            seen.sort_unstable();
            assert_eq!(seen, (0..limit).collect::<Vec<_>>());
        }
    }

    #[test]
    fn groups_stay_whole() {
        let like = |rows| Tensor::zeros([rows, 2], (Kind::Float, Device::Cpu));
        dmdr_tensor::reseed(&[3]);
        let whole = Share::WHOLE.randn_groups_like(&like(12), 3);
        for (rank, groups) in [(0, [0, 2]), (1, [1, 3])] {
            for (part, group) in of_two(rank).parts(2).zip(groups) {
                dmdr_tensor::reseed(&[3]);
                let own = part.randn_groups_like(&like(3), 3);
                assert!(own.equal(&whole.narrow(0, group * 3, 3)), "{rank} {group}");
            }
        }
    }

    #[test]
    #[should_panic(expected = "5 rows in 2 parts")]
    fn parts_are_equal() {
        let _ = Share::WHOLE.parts(2).next().expect("one").rows(5);
    }
}
