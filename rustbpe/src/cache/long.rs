//! The pieces that have no place among the short ones, and their tokens.

use std::hash::Hasher;

use rustc_hash::FxHasher;

use super::table::{self, Set, Table};
use crate::memory::prefetch;

/// How many bytes and tokens a piece may have.
const MOST_BYTES: usize = 126;
const MOST_TOKENS: usize = 16;

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

impl table::Entry for Entry {
    const FREE: Self = Self { byte_count: 0, token_count: 0, bytes: [0; _], tokens: [0; _] };

    /// 48 KiB, and 12 MiB.
    const SETS: [usize; 2] = [1 << 7, 1 << 15];

    const SETS_PER_LOSS: usize = 2;

    fn is_free(&self) -> bool {
        self.byte_count == 0
    }

    fn hash(&self) -> usize {
        hash(self.piece())
    }
}

impl Entry {
    fn piece(&self) -> &[u8] {
        &self.bytes[..usize::from(self.byte_count)]
    }
}

/// Where a piece is, if it is in the table.
#[inline]
pub fn hash(piece: &[u8]) -> usize {
    let mut hasher = FxHasher::default();
    hasher.write(piece);
    hasher.finish() as usize
}

/// Pieces and their tokens.
#[derive(Default)]
pub struct LongPieces(Table<Entry>);

impl LongPieces {
    /// Has what `get` will need on its way.
    #[inline]
    pub fn prepare(&self, hash: usize) {
        // The second is asked for seldom.
        let Set([first, _]) = self.0.set(hash);
        prefetch(&first.byte_count);
        prefetch(&first.tokens);
    }

    /// The tokens of a piece, of which this is the hash.
    pub fn get(&self, piece: &[u8], hash: usize) -> Option<&[u32]> {
        let Set(entries) = self.0.set(hash);
        let found = entries.iter().find(|entry| entry.piece() == piece)?;
        Some(&found.tokens[..usize::from(found.token_count)])
    }

    /// Remembers the tokens of a piece that is not there, if both have room in an entry.
    pub fn keep(&mut self, piece: &[u8], tokens: &[u32]) {
        if piece.len() > MOST_BYTES || tokens.len() > MOST_TOKENS {
            return;
        }
        let mut entry = Entry {
            byte_count: piece.len() as u8,
            token_count: tokens.len() as u8,
            ..<Entry as table::Entry>::FREE
        };
        entry.bytes[..piece.len()].copy_from_slice(piece);
        entry.tokens[..tokens.len()].copy_from_slice(tokens);
        self.0.keep(entry);
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
            pieces.keep(&named(number), &[number, 7]);
            assert_eq!(get(&pieces, &named(number)).unwrap(), [number, 7]);
        }
        assert_eq!(pieces.0.len(), <Entry as table::Entry>::SETS[1]);
        let found: Vec<u32> = (0..100_000).filter(|&number| get(&pieces, &named(number)).is_some()).collect();
        assert!(found.len() > 45_000, "{}", found.len());
        assert!(found.iter().all(|&number| get(&pieces, &named(number)).unwrap() == [number, 7]));
    }

    #[test]
    fn the_largest_that_is_kept_has_the_most_bytes_and_the_most_tokens() {
        for (bytes, tokens, is_kept) in [(0, 0, true), (1, 0, false), (0, 1, false)] {
            let (piece, tokens) = (vec![b'x'; MOST_BYTES + bytes], vec![7; MOST_TOKENS + tokens]);
            let mut pieces = LongPieces::default();
            pieces.keep(&piece, &tokens);
            assert_eq!(get(&pieces, &piece), is_kept.then_some(tokens));
        }
    }
}
