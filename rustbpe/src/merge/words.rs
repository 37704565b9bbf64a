//! The distinct pieces as one row of tokens, walls between them, those of equal count beside each other.
//!
//! A token of n bytes has n slots and stands in the first and the last of them, so its neighbours are found
//! without links: two tokens meet at slot `p` if one stands in `p - 1` and the other in `p`. What the slots in
//! between hold is of no meaning. Tokens only grow, so two that once met at `p` and no longer do never will
//! again, and then at least one of the two slots holds a younger token.

use rustc_hash::FxHashMap;

use crate::count::PieceCounts;
use crate::error::{Check, Error, Result};

/// What stands before and after each piece.
pub const WALL: u32 = u32::MAX;

/// So much may the distinct pieces have, so that every place fits into 32 bits.
const MOST_BYTES: usize = 1 << 30;

/// How many slots may be filled between two questions whether to stop.
const SLOTS_PER_CHECK: usize = 1 << 20;

/// The row of tokens, a wall at each end.
pub struct Words {
    /// What stands in each slot.
    pub slots: Vec<u32>,
    /// How often the pieces occur that are there.
    pub weights: Weights,
}

impl Words {
    /// Lays the pieces out as bytes, unless `check` stops it. Those of a single byte hold no pair and are left out.
    pub fn new(counts: PieceCounts, check: &mut Check<'_>) -> Result<Self> {
        let pairs = || counts.pieces().filter(|(piece, _)| piece.len() > 1);
        let mut lengths: FxHashMap<u64, usize> = FxHashMap::default();
        for (piece, count) in pairs() {
            *lengths.entry(count).or_default() += piece.len() + 1;
        }
        let total: usize = lengths.values().sum();
        if total >= MOST_BYTES {
            return Err(Error::value(
                "the distinct pieces have 1 GiB or more; they must have less: give less text, \
                 or a pattern that cuts it into smaller pieces",
            ));
        }
        let mut order: Vec<u64> = lengths.keys().copied().collect();
        order.sort_unstable_by(|one, other| other.cmp(one));
        let mut weights = Weights { starts: Vec::new(), weights: Vec::new() };
        let mut next = lengths;
        let mut start = 1;
        for weight in order {
            let length = next.insert(weight, start).unwrap_or_default();
            weights.starts.push(start as u32);
            weights.weights.push(weight);
            start += length;
        }
        let mut slots = Vec::with_capacity(total + 1);
        while slots.len() <= total {
            check()?;
            slots.resize((total + 1).min(slots.len() + SLOTS_PER_CHECK), WALL);
        }
        for (piece, count) in pairs() {
            let Some(at) = next.get_mut(&count) else { continue };
            piece.with_bytes(|bytes| {
                for bytes in bytes.chunks(SLOTS_PER_CHECK) {
                    check()?;
                    for (slot, &byte) in slots[*at..].iter_mut().zip(bytes) {
                        *slot = u32::from(byte);
                    }
                    *at += bytes.len();
                }
                Ok(())
            })?;
            *at += 1;
        }
        Ok(Self { slots, weights })
    }
}

/// How often the piece occurs that a slot is of. Equal ones are neighbours, the largest first.
pub struct Weights {
    starts: Vec<u32>,
    weights: Vec<u64>,
}

impl Weights {
    /// Looks weights up at places that ascend.
    pub fn ascend(&self) -> Ascent<'_> {
        Ascent { of: self, next: 0, until: 0, weight: 0 }
    }
}

/// Where a walk through the weights is.
pub struct Ascent<'a> {
    of: &'a Weights,
    next: usize,
    until: u32,
    weight: u64,
}

impl Ascent<'_> {
    /// The weight at `place`, which is not before the last one asked for.
    #[inline]
    pub fn weight(&mut self, place: u32) -> u64 {
        if place >= self.until {
            self.move_to(place);
        }
        self.weight
    }

    fn move_to(&mut self, place: u32) {
        self.next += self.of.starts[self.next..].partition_point(|&start| start <= place);
        self.until = self.of.starts.get(self.next).copied().unwrap_or(u32::MAX);
        self.weight = self.next.checked_sub(1).map_or(0, |at| self.of.weights[at]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::split::Splitter;

    #[test]
    fn pieces_stand_between_walls_in_the_order_of_their_counts() {
        let splitter = Splitter::new(r"\S+|\s+").unwrap();
        let mut counts = PieceCounts::default();
        counts.add(&splitter, "one two three two x three three", &mut || Ok(())).unwrap();
        let words = Words::new(counts, &mut || Ok(())).unwrap();
        let bytes: Vec<u8> = words.slots.iter().map(|&slot| slot.try_into().unwrap_or(b'|')).collect();
        assert_eq!(bytes, b"|three|two|one|");
        let mut ascent = words.weights.ascend();
        let weights: Vec<u64> = (1..14).map(|place| ascent.weight(place)).collect();
        assert_eq!(weights, [3, 3, 3, 3, 3, 3, 2, 2, 2, 2, 1, 1, 1]);
        assert_eq!(words.weights.ascend().weight(11), 1);
    }

    #[test]
    fn a_large_piece_asks_whether_to_stop() {
        let splitter = Splitter::new(crate::split::SPLIT_PATTERN).unwrap();
        let mut counts = PieceCounts::default();
        counts.add(&splitter, &"x".repeat(5 * SLOTS_PER_CHECK), &mut || Ok(())).unwrap();
        let mut asked = 0;
        let mut check = || {
            asked += 1;
            Ok(())
        };
        Words::new(counts, &mut check).unwrap();
        assert!(asked >= 10, "{asked}");
    }
}
