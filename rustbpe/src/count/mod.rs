//! Counts how often each distinct piece occurs: what is learnt depends on the counts alone.

use rustc_hash::FxHashMap;

use crate::error::{Check, Result};
use crate::split::Splitter;

/// How many pieces may pass between two questions whether to stop.
const PIECES_PER_CHECK: usize = 4096;

/// The distinct pieces seen so far, with their counts.
#[derive(Default)]
pub struct PieceCounts {
    counts: FxHashMap<Box<str>, u64>,
}

impl PieceCounts {
    /// Adds the pieces of `text`. After an error some of them may be counted: drop the counts.
    pub fn add(&mut self, splitter: &Splitter, text: &str, check: &mut Check<'_>) -> Result<()> {
        let mut until_check = PIECES_PER_CHECK;
        splitter.for_each(text, |piece| {
            match self.counts.get_mut(piece) {
                Some(count) => *count += 1,
                None => {
                    self.counts.insert(piece.into(), 1);
                }
            }
            until_check -= 1;
            if until_check == 0 {
                until_check = PIECES_PER_CHECK;
                check()?;
            }
            Ok(())
        })
    }

    /// The number of distinct pieces.
    pub fn len(&self) -> usize {
        self.counts.len()
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// The bytes of all distinct pieces together.
    pub fn total_bytes(&self) -> usize {
        self.counts.keys().map(|piece| piece.len()).sum()
    }

    /// Each distinct piece with its count, in no particular order.
    pub fn into_pieces(self) -> impl Iterator<Item = (Box<str>, u64)> {
        self.counts.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::split::SPLIT_PATTERN;

    #[test]
    fn equal_pieces_of_several_texts_are_counted_together() {
        let splitter = Splitter::new(SPLIT_PATTERN).unwrap();
        let mut counts = PieceCounts::default();
        counts.add(&splitter, "to be", &mut || Ok(())).unwrap();
        counts.add(&splitter, "or not to be", &mut || Ok(())).unwrap();
        assert_eq!(counts.total_bytes(), 2 + 3 + 2 + 4 + 3);
        let mut pieces: Vec<(Box<str>, u64)> = counts.into_pieces().collect();
        pieces.sort();
        let expected = [(" be", 2), (" not", 1), (" to", 1), ("or", 1), ("to", 1)];
        assert_eq!(pieces, expected.map(|(piece, count)| (piece.into(), count)));
    }
}
