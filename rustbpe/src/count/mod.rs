//! Counts how often each distinct piece occurs: what is learnt depends on the counts alone.
//!
//! Most pieces are short, so a table keeps those as two words each, without a pointer to follow. The others lie
//! one after the other in a block of bytes.

pub mod crew;
mod table;

use std::hint::black_box;

use rustc_hash::FxHashMap;

use crate::error::{Check, Result};
use crate::split::Splitter;
use table::ShortTable;

/// How many pieces may pass between two questions whether to stop.
const PIECES_PER_CHECK: usize = 4096;

/// So many short pieces are cut before they are counted.
const GROUP: usize = 64;

/// The longest piece that is kept without a pointer: with its length it fills 16 bytes.
const SHORT_BYTES: usize = 15;

/// The distinct pieces seen so far, with their counts.
pub struct PieceCounts {
    short: ShortTable,
    long: FxHashMap<Box<[u8]>, u64>,
    /// Short pieces that are cut but not counted yet; none outside of `add`.
    waiting: Vec<u128>,
}

impl Default for PieceCounts {
    fn default() -> Self {
        Self { short: ShortTable::default(), long: FxHashMap::default(), waiting: Vec::with_capacity(GROUP) }
    }
}

impl PieceCounts {
    /// Adds the pieces of `text`. After an error some of them may be counted: drop the counts.
    pub fn add(&mut self, splitter: &Splitter, text: &str, check: &mut Check<'_>) -> Result<()> {
        let bytes = text.as_bytes();
        let mut until_check = PIECES_PER_CHECK;
        splitter.for_each_range(text, |start, end| {
            match short_key(bytes, start, end) {
                Some(key) => {
                    self.waiting.push(key);
                    if self.waiting.len() == GROUP {
                        self.settle();
                    }
                }
                None => self.add_long(&bytes[start..end], 1),
            }
            until_check -= 1;
            if until_check == 0 {
                until_check = PIECES_PER_CHECK;
                check()?;
            }
            Ok(())
        })?;
        self.settle();
        Ok(())
    }

    /// Counts the pieces that wait. All their slots are asked for before the first is needed.
    fn settle(&mut self) {
        black_box(self.waiting.iter().fold(0, |sum, &key| sum ^ self.short.first_count(key)));
        for key in self.waiting.drain(..) {
            self.short.add(key, 1);
        }
    }

    /// Adds what was counted elsewhere.
    pub fn absorb(&mut self, other: Self) {
        for slot in other.short.filled() {
            self.short.add(slot.key, slot.count);
        }
        for (piece, count) in other.long {
            self.add_long(&piece, count);
        }
    }

    /// The number of distinct pieces.
    pub fn len(&self) -> usize {
        self.short.len() + self.long.len()
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Each distinct piece with its count, in no particular order.
    pub fn pieces(&self) -> impl Iterator<Item = (Piece<'_>, u64)> {
        let short = self.short.filled().map(|slot| (Piece::Short(slot.key), slot.count));
        short.chain(self.long.iter().map(|(piece, &count)| (Piece::Long(piece), count)))
    }

    fn add_long(&mut self, piece: &[u8], count: u64) {
        match self.long.get_mut(piece) {
            Some(known) => *known += count,
            None => {
                self.long.insert(piece.into(), count);
            }
        }
    }
}

/// A piece in the form in which it is kept.
#[derive(Clone, Copy)]
pub enum Piece<'a> {
    /// Its bytes, the first one lowest, and its length as the highest byte.
    Short(u128),
    /// Its bytes.
    Long(&'a [u8]),
}

impl Piece<'_> {
    /// The number of bytes.
    pub fn len(&self) -> usize {
        match self {
            Self::Short(key) => (key >> 120) as usize,
            Self::Long(bytes) => bytes.len(),
        }
    }

    /// Whether there are no bytes, which no piece is like.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Calls `visit` with the bytes.
    pub fn with_bytes<T>(&self, visit: impl FnOnce(&[u8]) -> T) -> T {
        match self {
            Self::Short(key) => visit(&key.to_le_bytes()[..self.len()]),
            Self::Long(bytes) => visit(bytes),
        }
    }
}

/// The key of a short piece. Where the text goes on far enough, 16 bytes are read at once.
#[inline]
fn short_key(text: &[u8], start: usize, end: usize) -> Option<u128> {
    let length = end - start;
    if length > SHORT_BYTES {
        return None;
    }
    let bytes = match text.get(start..start + 16).and_then(|bytes| bytes.first_chunk::<16>()) {
        Some(bytes) => u128::from_le_bytes(*bytes) & ((1 << (8 * length)) - 1),
        None => {
            let mut bytes = [0; 16];
            bytes[..length].copy_from_slice(&text[start..end]);
            u128::from_le_bytes(bytes)
        }
    };
    Some(bytes | (length as u128) << 120)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::split::SPLIT_PATTERN;

    fn count(texts: &[&str]) -> Vec<(Vec<u8>, u64)> {
        let splitter = Splitter::new(SPLIT_PATTERN).unwrap();
        let mut counts = PieceCounts::default();
        for text in texts {
            counts.add(&splitter, text, &mut || Ok(())).unwrap();
        }
        sorted(&counts)
    }

    fn sorted(counts: &PieceCounts) -> Vec<(Vec<u8>, u64)> {
        let mut pieces: Vec<_> =
            counts.pieces().map(|(piece, count)| (piece.with_bytes(<[u8]>::to_vec), count)).collect();
        assert_eq!(pieces.len(), counts.len());
        pieces.sort();
        pieces
    }

    #[test]
    fn equal_pieces_of_several_texts_are_counted_together() {
        let expected = [(" be", 2), (" not", 1), (" to", 1), ("or", 1), ("to", 1)];
        let expected = expected.map(|(piece, count)| (piece.as_bytes().to_vec(), count));
        assert_eq!(count(&["to be", "or not to be"]), expected);
    }

    #[test]
    fn pieces_of_every_length_are_told_apart_at_the_end_of_a_text_and_inside() {
        let zeros: Vec<String> = (1..40).map(|length| "\0".repeat(length)).collect();
        let letters: Vec<String> = (1..40).map(|length| "x".repeat(length)).collect();
        for words in [zeros, letters] {
            let alone: Vec<&str> = words.iter().map(String::as_str).collect();
            let joined = words.join("\n");
            let expected: Vec<(Vec<u8>, u64)> =
                words.iter().map(|word| (word.as_bytes().to_vec(), 2)).collect();
            let mut found = count(&[&alone[..], &[&joined]].concat());
            // Line breaks go with the symbols before them, else they are pieces.
            found.retain(|(piece, _)| !piece.contains(&b'\n'));
            if words[0] == "x" {
                assert_eq!(found, expected);
            } else {
                assert_eq!(found.len(), expected.len());
            }
        }
    }

    #[test]
    fn more_pieces_than_a_table_has_at_first_are_all_kept() {
        let words: Vec<String> = (0..20_000).map(|number| format!(" {number:x}{number:o}")).collect();
        let splitter = Splitter::new(r"\S+|\s+").unwrap();
        let mut counts = [PieceCounts::default(), PieceCounts::default()];
        for (number, word) in words.iter().enumerate() {
            counts[number % 2].add(&splitter, word, &mut || Ok(())).unwrap();
            counts[0].add(&splitter, word, &mut || Ok(())).unwrap();
        }
        let [mut all, other] = counts;
        all.absorb(other);
        let found = sorted(&all);
        assert_eq!(found.len(), 20_001);
        assert!(found.iter().all(|(piece, count)| *count == if piece == b" " { 40_000 } else { 2 }));
    }
}
