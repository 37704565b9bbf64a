//! Remembers the tokens of pieces, since most of a text's pieces are ones that were seen before.
//!
//! A cache belongs to one thread at a time and its size is fixed: [`BUCKETS`] x 64 bytes for pieces of up to
//! [`SHORT_BYTES`] bytes, and at most [`LONG_PIECES`] of the longer or more broken ones. What is forgotten or
//! does not fit is merged again, so a cache changes the speed alone.

use rustc_hash::FxHashMap;

use crate::prefetch::prefetch;

/// Pieces of so many bytes have a place in the table.
pub const SHORT_BYTES: usize = 15;

/// How many tokens a piece in the table may have.
pub const SHORT_TOKENS: usize = 5;

/// Tokens in the table are below this.
const TOKEN_BOUND: u32 = 1 << 24;

/// 2^16 buckets are 4 MiB.
const BUCKETS: usize = 1 << 16;

/// Longer pieces that are remembered, and the most bytes and tokens that one of them has: 6 MiB if all have
/// as many.
const LONG_PIECES: usize = 1 << 13;
const LONG_BYTES: usize = 128;

/// The bytes of a short piece with their number at the end; 0 is the key of none.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Key([u64; 2]);

impl Key {
    /// The key of the piece of `length` bytes, 1 to [`SHORT_BYTES`], that begins at `start` of `text`.
    #[inline]
    pub fn new(text: &[u8], start: usize, length: usize) -> Self {
        let mut bytes = [0; 16];
        match text.get(start..start + 16) {
            // All 16 at once, of which those that follow the piece are taken away again.
            Some(all) => bytes.copy_from_slice(all),
            None => bytes[..length].copy_from_slice(&text[start..start + length]),
        }
        let kept = u128::from_le_bytes(bytes) & ((1 << (8 * length)) - 1);
        let key = kept | (length as u128) << 120;
        Self([key as u64, (key >> 64) as u64])
    }

    /// The bucket in which the piece is, if it is in the table.
    #[inline]
    pub fn bucket(self) -> usize {
        let folded = (u128::from(self.0[0] ^ 0x9E37_79B9_7F4A_7C15))
            .wrapping_mul(u128::from(self.0[1] ^ 0xD1B5_4A32_D192_ED03));
        ((folded >> 64) as u64 ^ folded as u64) as usize % BUCKETS
    }
}

/// A short piece's tokens, in 24 bits each, and their number.
#[derive(Clone, Copy, Default)]
pub struct Tokens(u128);

impl Tokens {
    fn new(tokens: &[u32]) -> Option<Self> {
        if tokens.len() > SHORT_TOKENS || tokens.iter().any(|&token| token >= TOKEN_BOUND) {
            return None;
        }
        let packed = tokens.iter().rev().fold(0, |packed, &token| packed << 24 | u128::from(token));
        Some(Self(packed | (tokens.len() as u128) << 120))
    }

    /// How many there are.
    #[inline]
    pub fn count(self) -> usize {
        (self.0 >> 120) as usize
    }

    /// The tokens, and zeros or worse after the last one.
    #[inline]
    pub fn padded(self) -> [u32; SHORT_TOKENS] {
        std::array::from_fn(|i| (self.0 >> (24 * i)) as u32 & (TOKEN_BOUND - 1))
    }
}

#[derive(Clone, Copy, Default)]
struct Entry {
    key: Key,
    tokens: Tokens,
}

/// Two pieces, of which the second is the one to be forgotten. It fills a line of the processor's cache.
#[derive(Clone, Copy, Default)]
#[repr(align(64))]
struct Bucket([Entry; 2]);

/// Pieces and their tokens.
pub struct Cache {
    buckets: Vec<Bucket>,
    long: FxHashMap<Box<[u8]>, Box<[u32]>>,
}

impl Default for Cache {
    fn default() -> Self {
        Self { buckets: vec![Bucket::default(); BUCKETS], long: FxHashMap::default() }
    }
}

impl Cache {
    /// Has what `short` will need on its way.
    #[inline]
    pub fn prepare(&self, bucket: usize) {
        prefetch(&self.buckets[bucket % BUCKETS]);
    }

    /// The tokens of a short piece, from the bucket that its key says.
    #[inline]
    pub fn short(&mut self, key: Key, bucket: usize) -> Option<Tokens> {
        let [first, second] = &mut self.buckets[bucket % BUCKETS].0;
        if first.key == key {
            return Some(first.tokens);
        }
        if second.key == key {
            std::mem::swap(first, second);
            return Some(first.tokens);
        }
        None
    }

    /// The tokens of a piece that is not in the table.
    pub fn long(&self, piece: &[u8]) -> Option<&[u32]> {
        self.long.get(piece).map(AsRef::as_ref)
    }

    /// Remembers a short piece; `key` is the piece's.
    pub fn keep_short(&mut self, key: Key, piece: &[u8], tokens: &[u32]) {
        let Some(tokens) = Tokens::new(tokens) else {
            return self.keep_long(piece, tokens);
        };
        let [first, second] = &mut self.buckets[key.bucket()].0;
        *second = std::mem::replace(first, Entry { key, tokens });
    }

    /// Remembers a piece that has no place in the table, if it is not too long.
    pub fn keep_long(&mut self, piece: &[u8], tokens: &[u32]) {
        if piece.len() > LONG_BYTES {
            return;
        }
        if self.long.len() == LONG_PIECES {
            self.long.clear();
        }
        self.long.insert(piece.into(), tokens.into());
    }
}
