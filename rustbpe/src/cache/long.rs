//! Pieces of any length and their tokens, in one block of memory for all, so that to forget them costs nothing.

use std::hash::Hasher;
use std::ops::Range;

use hashbrown::HashTable;
use rustc_hash::FxHasher;

/// How many pieces one generation has at most, and how many bytes and tokens one of them.
pub const MOST_PIECES: usize = 1 << 15;
const MOST_BYTES: usize = 128;

/// Pieces of two generations: when the younger one is full it becomes the older, and that is forgotten.
#[derive(Default)]
pub struct LongPieces {
    young: Generation,
    old: Generation,
}

impl LongPieces {
    /// The tokens of a piece, which is young from now on.
    pub fn get(&mut self, piece: &[u8]) -> Option<&[u32]> {
        if piece.len() > MOST_BYTES {
            return None;
        }
        let hash = hash(piece);
        let place = match self.young.find(piece, hash) {
            Some(place) => place,
            None => {
                let tokens = self.old.tokens_at(self.old.find(piece, hash)?).to_vec();
                self.keep(piece, &tokens);
                self.young.find(piece, hash)?
            }
        };
        Some(self.young.tokens_at(place))
    }

    /// Remembers the tokens of a piece, if it is not too long.
    pub fn keep(&mut self, piece: &[u8], tokens: &[u32]) {
        if piece.len() > MOST_BYTES {
            return;
        }
        let hash = hash(piece);
        if self.young.find(piece, hash).is_some() {
            return;
        }
        if self.young.is_full() {
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
        }
        self.young.insert(piece, hash, tokens);
    }
}

/// Where a piece and its tokens are.
#[derive(Clone, Copy)]
struct Place {
    hash: u64,
    bytes: u32,
    tokens: u32,
    byte_count: u8,
    token_count: u8,
}

#[derive(Default)]
struct Generation {
    places: HashTable<Place>,
    bytes: Vec<u8>,
    tokens: Vec<u32>,
}

impl Generation {
    fn is_full(&self) -> bool {
        self.places.len() == MOST_PIECES
    }

    fn find(&self, piece: &[u8], hash: u64) -> Option<Place> {
        let same =
            |place: &Place| place.hash == hash && &self.bytes[range(place.bytes, place.byte_count)] == piece;
        self.places.find(hash, same).copied()
    }

    fn tokens_at(&self, place: Place) -> &[u32] {
        &self.tokens[range(place.tokens, place.token_count)]
    }

    /// A piece of up to [`MOST_BYTES`] bytes has no more tokens than bytes.
    fn insert(&mut self, piece: &[u8], hash: u64, tokens: &[u32]) {
        let place = Place {
            hash,
            bytes: self.bytes.len() as u32,
            tokens: self.tokens.len() as u32,
            byte_count: piece.len() as u8,
            token_count: tokens.len() as u8,
        };
        self.bytes.extend_from_slice(piece);
        self.tokens.extend_from_slice(tokens);
        self.places.insert_unique(hash, place, |place| place.hash);
    }

    fn clear(&mut self) {
        self.places.clear();
        self.bytes.clear();
        self.tokens.clear();
    }
}

fn range(start: u32, count: u8) -> Range<usize> {
    start as usize..start as usize + usize::from(count)
}

fn hash(piece: &[u8]) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write(piece);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_that_are_asked_for_survive_and_their_number_is_bounded() {
        let mut pieces = LongPieces::default();
        let named = |number: usize| format!("{number:x}").into_bytes();
        pieces.keep(b"asked for", &[1, 2, 3]);
        for number in 0..5 * MOST_PIECES {
            pieces.keep(&named(number), &[number as u32]);
            pieces.keep(&named(number), &[number as u32]);
            assert_eq!(pieces.get(b"asked for").unwrap(), [1, 2, 3]);
            assert_eq!(pieces.get(&named(number)).unwrap(), [number as u32]);
        }
        let LongPieces { young, old } = &pieces;
        assert!([young, old].iter().all(|generation| generation.places.len() <= MOST_PIECES));
        assert!(pieces.get(&named(0)).is_none());
    }

    #[test]
    fn the_longest_that_is_kept_has_the_most_bytes_and_as_many_tokens() {
        let mut pieces = LongPieces::default();
        for length in [MOST_BYTES, MOST_BYTES + 1] {
            let (piece, tokens) = (vec![b'x'; length], vec![7; length]);
            pieces.keep(&piece, &tokens);
            let expected = (length == MOST_BYTES).then_some(&tokens[..]);
            assert_eq!(pieces.get(&piece), expected);
        }
    }
}
