//! Remembers the tokens of pieces, since most of a text's pieces are ones that were seen before.
//!
//! A cache belongs to one thread at a time and its size is bounded: 16 MiB for pieces of up to [`SHORT_BYTES`] bytes,
//! and 12 MiB for the longer or more broken ones. What is forgotten or does not fit is merged again, so a cache
//! changes the speed alone.

mod long;
mod table;

use crate::memory::{prefetch, sixteen};
use long::LongPieces;
use table::{Set, Table};

pub use long::hash as long_hash;

/// Pieces of so many bytes have a place in the table.
pub const SHORT_BYTES: usize = 15;

/// How many tokens a piece in the table may have.
pub const SHORT_TOKENS: usize = 4;

/// Tokens in the table are below this.
const TOKEN_BOUND: u32 = 1 << 24;

/// The bytes of a short piece with their number at the end; 0 is the key of none.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Key([u64; 2]);

impl Key {
    /// What pieces that are not short have for a key: none in the table has it.
    pub const LONG: Self = Self([u64::MAX; 2]);

    /// The key of the piece of `length` bytes, 1 to [`SHORT_BYTES`], that begins at `start` of `text`.
    #[inline]
    pub fn new(text: &[u8], start: usize, length: usize) -> Self {
        // All 16 at once, of which those that follow the piece are taken away again.
        let bytes = sixteen(text, start).unwrap_or_else(|| {
            let mut bytes = [0; 16];
            bytes[..length].copy_from_slice(&text[start..start + length]);
            bytes
        });
        let all = u128::from_le_bytes(bytes);
        let [low, high] = KEPT[length % KEPT.len()];
        Self([all as u64 & low, (all >> 64) as u64 & high | (length as u64) << 56])
    }

    /// Where the piece is, if it is in the table: the lowest bits are the number of its bucket.
    #[inline]
    pub fn hash(self) -> usize {
        let folded = (u128::from(self.0[0] ^ 0x9E37_79B9_7F4A_7C15))
            .wrapping_mul(u128::from(self.0[1] ^ 0xD1B5_4A32_D192_ED03));
        ((folded >> 64) as u64 ^ folded as u64) as usize
    }
}

/// The bits of the first so many bytes of 16.
static KEPT: [[u64; 2]; SHORT_BYTES + 1] = kept();

const fn kept() -> [[u64; 2]; SHORT_BYTES + 1] {
    let mut table = [[0; 2]; SHORT_BYTES + 1];
    let mut length = 0;
    while length <= SHORT_BYTES {
        let bits = (1u128 << (8 * length)) - 1;
        table[length] = [bits as u64, (bits >> 64) as u64];
        length += 1;
    }
    table
}

/// A short piece's tokens and, in the highest byte of the first, their number: none if it has too many, or too
/// large ones.
#[derive(Clone, Copy, Default)]
pub struct Tokens([u32; SHORT_TOKENS]);

impl Tokens {
    fn new(tokens: &[u32]) -> Option<Self> {
        if tokens.len() > SHORT_TOKENS || tokens.iter().any(|&token| token >= TOKEN_BOUND) {
            return None;
        }
        let mut held = [0; SHORT_TOKENS];
        held[..tokens.len()].copy_from_slice(tokens);
        held[0] |= (tokens.len() as u32) << TOKEN_BOUND.ilog2();
        Some(Self(held))
    }

    /// How many there are.
    #[inline]
    pub fn count(self) -> usize {
        (self.0[0] / TOKEN_BOUND) as usize
    }

    /// The tokens, and zeros after the last one.
    #[inline]
    pub fn padded(self) -> [u32; SHORT_TOKENS] {
        self.0.map(|token| token % TOKEN_BOUND)
    }
}

/// Two of them fill a line of the processor's cache.
#[derive(Clone, Copy)]
struct Entry {
    key: Key,
    tokens: Tokens,
}

impl table::Entry for Entry {
    const FREE: Self = Self { key: Key([0; 2]), tokens: Tokens([0; SHORT_TOKENS]) };

    /// 64 KiB, and 16 MiB.
    const SETS: [usize; 2] = [1 << 10, 1 << 18];

    const SETS_PER_LOSS: usize = 4;

    fn is_free(&self) -> bool {
        self.key == Key::default()
    }

    fn hash(&self) -> usize {
        self.key.hash()
    }
}

/// Pieces and their tokens.
#[derive(Default)]
pub struct Cache {
    short: Table<Entry>,
    long: LongPieces,
}

impl Cache {
    /// Has what `short` will need on its way; the hash is the key's.
    #[inline]
    pub fn prepare(&self, hash: usize) {
        prefetch(self.short.set(hash));
    }

    /// The tokens of a short piece, whose hash its key gives; if there are none, they are among the longer ones.
    #[inline]
    pub fn short(&mut self, key: Key, hash: usize) -> Option<Tokens> {
        let Set([first, second]) = self.short.set_mut(hash);
        if first.key != key {
            if second.key != key {
                return None;
            }
            std::mem::swap(first, second);
        }
        Some(first.tokens)
    }

    /// Has what `long` will need on its way; the hash is [`long_hash`]'s.
    #[inline]
    pub fn prepare_long(&self, hash: usize) {
        self.long.prepare(hash);
    }

    /// The tokens of a piece that has no place in the table.
    pub fn long(&self, piece: &[u8], hash: usize) -> Option<&[u32]> {
        self.long.get(piece, hash)
    }

    /// Remembers a short piece that is not there; `key` is the piece's.
    pub fn keep_short(&mut self, key: Key, piece: &[u8], tokens: &[u32]) {
        let tokens = Tokens::new(tokens).unwrap_or_else(|| {
            self.keep_long(piece, tokens);
            Tokens::default()
        });
        self.short.keep(Entry { key, tokens });
    }

    /// Remembers a piece that has no place in the table and is not there, if it is not too long.
    pub fn keep_long(&mut self, piece: &[u8], tokens: &[u32]) {
        self.long.keep(piece, tokens);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A piece of its own for each number.
    fn piece(number: usize) -> Vec<u8> {
        format!("{number:x}").into_bytes()
    }

    fn key(number: usize) -> Key {
        let piece = piece(number);
        Key::new(&piece, 0, piece.len())
    }

    fn found(cache: &mut Cache, number: usize) -> Option<Vec<u32>> {
        let key = key(number);
        let tokens = cache.short(key, key.hash())?;
        Some(tokens.padded()[..tokens.count()].to_vec())
    }

    #[test]
    fn what_was_kept_last_is_found_however_large_the_table_has_grown() {
        let mut cache = Cache::default();
        for number in 0..400_000 {
            cache.keep_short(key(number), &piece(number), &[number as u32, 7]);
            assert_eq!(found(&mut cache, number).unwrap(), [number as u32, 7]);
        }
        assert_eq!(cache.short.len(), <Entry as table::Entry>::SETS[1]);
        let held = (0..400_000).filter(|&number| found(&mut cache, number).is_some()).count();
        assert!(held > 300_000, "{held}");
    }

    #[test]
    fn a_key_is_of_the_piece_alone_wherever_the_text_ends() {
        let text = b"abcdefghijklmnopqrstuvwxyz";
        for length in 1..=SHORT_BYTES {
            for start in 0..text.len() - length {
                let alone = Key::new(&text[start..start + length], 0, length);
                assert!(Key::new(text, start, length) == alone, "{start} {length}");
            }
        }
        assert!(Key::new(b"a\0", 0, 1) != Key::new(b"a\0", 0, 2));
    }

    #[test]
    fn a_short_piece_of_many_or_large_tokens_is_among_the_long_ones() {
        let mut cache = Cache::default();
        for (number, tokens) in [&[1, 2, 3, 4, 5][..], &[TOKEN_BOUND]].into_iter().enumerate() {
            cache.keep_short(key(number), &piece(number), tokens);
            assert!(found(&mut cache, number).unwrap().is_empty());
            assert_eq!(cache.long(&piece(number), long_hash(&piece(number))).unwrap(), tokens);
        }
    }
}
