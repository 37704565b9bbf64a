//! The pieces that have no place among the short ones, and their tokens.

use std::hash::Hasher;

use rustc_hash::FxHasher;

use crate::memory::{prefetch, spacious};

/// How many bytes and tokens a piece may have.
const MOST_BYTES: usize = 126;
const MOST_TOKENS: usize = 16;

/// The table begins with 48 KiB, and grows to 12 MiB.
const LEAST_SETS: usize = 1 << 7;
const MOST_SETS: usize = 1 << 15;

/// A piece and its tokens. Of most pieces all is in the first and the last of its three lines of the processor's
/// cache.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Entry {
    /// None where there is no piece.
    byte_count: u8,
    token_count: u8,
    bytes: [u8; MOST_BYTES],
    tokens: [u32; MOST_TOKENS],
}

const FREE: Entry = Entry { byte_count: 0, token_count: 0, bytes: [0; _], tokens: [0; _] };

/// Two pieces, of which the second was there before the first and is the one to be forgotten.
type Set = [Entry; 2];

/// Pieces and their tokens.
pub struct LongPieces {
    /// Their number is a power of two.
    sets: Vec<Set>,
    /// Pieces that were forgotten since the table grew.
    forgotten: usize,
}

impl Default for LongPieces {
    fn default() -> Self {
        Self { sets: vec![[FREE; 2]; LEAST_SETS], forgotten: 0 }
    }
}

/// Where a piece is, if it is in the table.
#[inline]
pub fn hash(piece: &[u8]) -> usize {
    let mut hasher = FxHasher::default();
    hasher.write(piece);
    hasher.finish() as usize
}

impl LongPieces {
    /// Has what `get` will need on its way.
    #[inline]
    pub fn prepare(&self, hash: usize) {
        // The second is asked for seldom.
        let [first, _] = &self.sets[hash & (self.sets.len() - 1)];
        prefetch(&first.byte_count);
        prefetch(&first.tokens);
    }

    /// The tokens of a piece, of which this is the hash.
    pub fn get(&self, piece: &[u8], hash: usize) -> Option<&[u32]> {
        let set = &self.sets[hash & (self.sets.len() - 1)];
        let found = set.iter().find(|entry| entry.piece() == piece)?;
        Some(&found.tokens[..usize::from(found.token_count)])
    }

    /// Remembers the tokens of a piece that is not there, if both have room in an entry.
    pub fn keep(&mut self, piece: &[u8], hash: usize, tokens: &[u32]) {
        if piece.len() > MOST_BYTES || tokens.len() > MOST_TOKENS {
            return;
        }
        if self.forgotten > self.sets.len() / 2 && self.sets.len() < MOST_SETS {
            self.grow();
        }
        let mut entry = Entry { byte_count: piece.len() as u8, token_count: tokens.len() as u8, ..FREE };
        entry.bytes[..piece.len()].copy_from_slice(piece);
        entry.tokens[..tokens.len()].copy_from_slice(tokens);
        self.put(hash, entry);
    }

    fn put(&mut self, hash: usize, entry: Entry) {
        let last = self.sets.len() - 1;
        let [first, second] = &mut self.sets[hash & last];
        let lost = std::mem::replace(second, std::mem::replace(first, entry));
        self.forgotten += usize::from(!lost.is_free());
    }

    fn grow(&mut self) {
        let count = self.sets.len() * 4;
        let mut sets = spacious(count);
        sets.resize(count, [FREE; 2]);
        let before = std::mem::replace(&mut self.sets, sets);
        // The first of a set is put last, so that it is the first again.
        for [first, second] in before {
            [second, first]
                .into_iter()
                .filter(|entry| !entry.is_free())
                .for_each(|entry| self.put(hash(entry.piece()), entry));
        }
        self.forgotten = 0;
    }
}

impl Entry {
    fn is_free(&self) -> bool {
        self.byte_count == 0
    }

    fn piece(&self) -> &[u8] {
        &self.bytes[..usize::from(self.byte_count)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(pieces: &LongPieces, piece: &[u8]) -> Option<Vec<u32>> {
        pieces.get(piece, hash(piece)).map(<[u32]>::to_vec)
    }

    #[test]
    fn what_was_kept_last_is_found_however_large_the_table_has_grown() {
        let mut pieces = LongPieces::default();
        let named = |number: u32| format!("a piece that is long {number:x}").into_bytes();
        for number in 0..100_000 {
            pieces.keep(&named(number), hash(&named(number)), &[number, 7]);
            assert_eq!(get(&pieces, &named(number)).unwrap(), [number, 7]);
        }
        assert_eq!(pieces.sets.len(), MOST_SETS);
        let found: Vec<u32> = (0..100_000).filter(|&number| get(&pieces, &named(number)).is_some()).collect();
        assert!(found.len() > 45_000, "{}", found.len());
        assert!(found.iter().all(|&number| get(&pieces, &named(number)).unwrap() == [number, 7]));
    }

    #[test]
    fn the_older_of_two_whose_hashes_end_alike_is_forgotten() {
        let mut pieces = LongPieces::default();
        let found = |pieces: &LongPieces| {
            [b"one", b"two", b"six"]
                .map(|piece| pieces.get(piece, 7 + 5 * LEAST_SETS).map(|tokens| tokens[0]))
        };
        pieces.keep(b"one", 7, &[1]);
        pieces.keep(b"two", 7 + LEAST_SETS, &[2]);
        assert_eq!(found(&pieces), [Some(1), Some(2), None]);
        pieces.keep(b"six", 7, &[6]);
        assert_eq!(found(&pieces), [None, Some(2), Some(6)]);
    }

    #[test]
    fn the_largest_that_is_kept_has_the_most_bytes_and_the_most_tokens() {
        for (bytes, tokens, is_kept) in [(0, 0, true), (1, 0, false), (0, 1, false)] {
            let (piece, tokens) = (vec![b'x'; MOST_BYTES + bytes], vec![7; MOST_TOKENS + tokens]);
            let mut pieces = LongPieces::default();
            pieces.keep(&piece, hash(&piece), &tokens);
            assert_eq!(get(&pieces, &piece), is_kept.then_some(tokens));
        }
    }
}
