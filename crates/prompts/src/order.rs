//! Which prompts an iteration reads: a pure function of (seed, iteration, rank) that keeps nothing in memory.
//!
//! Epoch `e` reads the prompts in a permutation drawn from (seed, e). The permutation is a Feistel network on the
//! smallest even number of bits that holds every index, walked until it lands inside (Black and Rogaway, "Ciphers with
//! arbitrary finite domains", 2002): any place of it costs a few hashes, so there is no cursor to save and no list to hold.

/// The order of one rank.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// Which sequence.
    pub seed: u64,
    /// Number of prompts, from 1.
    pub len: u64,
    /// Prompts an iteration, on each rank.
    pub batch: u64,
    /// This rank, below `ranks`.
    pub rank: u64,
    /// Number of ranks; each reads its own part of an iteration's prompts.
    pub ranks: u64,
}

impl Order {
    /// The `batch` prompts of `iteration`, from 0: every `ranks`-th of all. An iteration over the end of an epoch goes on into the
    /// next one.
    ///
    /// # Panics
    /// There are no prompts, or `rank` is not below `ranks`.
    pub fn indices(&self, iteration: u64) -> impl Iterator<Item = u64> + use<> {
        assert!(self.len > 0, "an order needs at least one prompt");
        assert!(
            self.rank < self.ranks,
            "rank {} of {}",
            self.rank,
            self.ranks
        );
        let order = *self;
        let first = iteration * self.ranks * self.batch + self.rank;
        (0..self.batch).map(move |row| order.at(first + row * order.ranks))
    }

    /// The first iteration that reads prompts of `epoch`.
    pub fn first_iteration(&self, epoch: u64) -> u64 {
        epoch * self.len / (self.batch * self.ranks)
    }

    /// The prompt at a place of the endless sequence of all ranks.
    fn at(&self, place: u64) -> u64 {
        let (epoch, mut index) = (place / self.len, place % self.len);
        let half = half_bits(self.len);
        let key = mix(self.seed ^ mix(epoch));
        loop {
            index = feistel(index, half, key);
            if index < self.len {
                return index;
            }
        }
    }
}

/// Half of the bits of the network's domain: at least one, so that there are two halves.
fn half_bits(len: u64) -> u32 {
    let bits = u64::BITS - (len - 1).leading_zeros();
    bits.div_ceil(2).max(1)
}

/// A permutation of `0..4^half`.
fn feistel(index: u64, half: u32, key: u64) -> u64 {
    const ROUNDS: u64 = 8;
    let mask = (1 << half) - 1;
    let (mut left, mut right) = (index >> half, index & mask);
    for round in 0..ROUNDS {
        let hash = mix(key ^ mix(right << 8 | round));
        (left, right) = (right, left ^ (hash & mask));
    }
    left << half | right
}

/// The finaliser of `SplitMix64`: every input bit changes every output bit with probability one half.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn order(seed: u64, len: u64, batch: u64, rank: u64, ranks: u64) -> Order {
        Order {
            seed,
            len,
            batch,
            rank,
            ranks,
        }
    }

    proptest! {
        #[test]
        fn every_epoch_is_a_permutation(seed in any::<u64>(), len in 1u64..3000, epoch in 0u64..1 << 20) {
            let order = order(seed, len, 1, 0, 1);
            let read: BTreeSet<u64> = (epoch * len..(epoch + 1) * len).map(|place| order.at(place)).collect();
            prop_assert_eq!(read, (0..len).collect());
        }

        #[test]
        fn ranks_partition_what_one_would_read(
            seed in any::<u64>(), len in 1u64..500, batch in 1u64..9, ranks in 1u64..6, iteration in 0u64..1 << 30,
        ) {
            let whole: Vec<u64> = order(seed, len, batch * ranks, 0, 1).indices(iteration).collect();
            for rank in 0..ranks {
                let own = order(seed, len, batch, rank, ranks).indices(iteration);
                let expected = whole.iter().copied().skip(rank as usize).step_by(ranks as usize);
                prop_assert!(own.eq(expected));
            }
        }

        #[test]
        fn an_epoch_starts_where_it_says(len in 1u64..500, batch in 1u64..9, ranks in 1u64..4, epoch in 0u64..50) {
            let order = order(1, len, batch, 0, ranks);
            let (iteration, places) = (order.first_iteration(epoch), batch * ranks);
            prop_assert!((iteration * places..(iteration + 1) * places).contains(&(epoch * len)));
        }
    }

    /// Small sets are where a weak network would show: each of the six orders of three prompts is as frequent as any.
    #[test]
    fn all_orders_of_few_prompts_are_equally_frequent() {
        let order = order(7, 3, 1, 0, 1);
        let epochs = 12_000u64;
        let mut counts = std::collections::BTreeMap::new();
        for epoch in 0..epochs {
            let read = [0, 1, 2].map(|place| order.at(epoch * 3 + place));
            *counts.entry(read).or_insert(0u64) += 1;
        }
        assert_eq!(counts.len(), 6);
        let expected = epochs as f64 / 6.0;
        let chi2: f64 = counts
            .values()
            .map(|&count| (count as f64 - expected).powi(2) / expected)
            .sum();
        // 0.999 quantile of chi-squared with five degrees of freedom.
        assert!(chi2 < 20.5, "{chi2} {counts:?}");
    }

    #[test]
    fn seeds_and_epochs_differ() {
        let read = |seed, epoch: u64| -> Vec<u64> {
            let order = order(seed, 100, 100, 0, 1);
            order.indices(epoch).collect()
        };
        let all: BTreeSet<Vec<u64>> = [(0, 0), (0, 1), (1, 0), (1, 1)]
            .map(|(seed, epoch)| read(seed, epoch))
            .into();
        assert_eq!(all.len(), 4);
    }
}
