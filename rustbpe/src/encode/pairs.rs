//! Which token a pair of tokens makes: the question asked most often while a piece is merged.

use super::NONE;
use crate::merge::{BYTE_TOKENS, Pair};

/// The key of a free slot. No pair has it, since [`NONE`] is no token.
const FREE: u64 = u64::MAX;

/// The bytes are looked up in a square, all other pairs by linear probing in a table that is at most half full.
///
/// Most questions are about pairs that make nothing: a bit for each of eight hashes a slot answers nearly all of
/// them, and those bits stay near the processor.
pub struct Pairs {
    /// `of_bytes[left << 8 | right]`.
    of_bytes: Vec<u32>,
    keys: Vec<u64>,
    made: Vec<u32>,
    /// A bit is set if there is a pair with its hash.
    hints: Vec<u64>,
    held: usize,
    /// How far a hash is shifted down to be a slot.
    shift: u32,
    next: u32,
}

impl Pairs {
    /// Pair number `i` makes token `256 + i`.
    pub fn new(merges: &[Pair]) -> Self {
        let mut pairs = Self::with_slots(merges.len().saturating_mul(2));
        merges.iter().for_each(|&pair| pairs.add(pair));
        pairs
    }

    /// The pair that makes the next token; it is not there yet.
    pub fn add(&mut self, (left, right): Pair) {
        let made = self.next;
        self.next += 1;
        if left < BYTE_TOKENS && right < BYTE_TOKENS {
            self.of_bytes[square(left, right)] = made;
            return;
        }
        if self.held * 2 >= self.keys.len() {
            self.grow();
        }
        self.put(key(left, right), made);
    }

    /// The token that `left` and `right` make, which is the rank of their merge too: lower ones go first.
    /// [`NONE`] if they make none.
    #[inline]
    pub fn made_by(&self, left: u32, right: u32) -> u32 {
        if left < BYTE_TOKENS && right < BYTE_TOKENS {
            return self.of_bytes[square(left, right)];
        }
        let key = key(left, right);
        let (word, bit) = self.hint(key);
        if self.hints[word] & bit == 0 {
            return NONE;
        }
        let mut slot = self.slot(key);
        loop {
            match self.keys[slot] {
                found if found == key => return self.made[slot],
                FREE => return NONE,
                _ => slot = (slot + 1) & (self.keys.len() - 1),
            }
        }
    }

    fn with_slots(least: usize) -> Self {
        let slots = least.next_power_of_two().max(64);
        Self {
            of_bytes: vec![NONE; square(BYTE_TOKENS - 1, BYTE_TOKENS - 1) + 1],
            keys: vec![FREE; slots],
            made: vec![NONE; slots],
            hints: vec![0; slots / 8],
            held: 0,
            shift: u64::BITS - slots.trailing_zeros(),
            next: BYTE_TOKENS,
        }
    }

    fn grow(&mut self) {
        let slots = self.keys.len() * 2;
        let keys = std::mem::replace(&mut self.keys, vec![FREE; slots]);
        let made = std::mem::replace(&mut self.made, vec![NONE; slots]);
        self.shift -= 1;
        self.hints = vec![0; slots / 8];
        self.held = 0;
        for (key, made) in keys.into_iter().zip(made) {
            if key != FREE {
                self.put(key, made);
            }
        }
    }

    fn put(&mut self, key: u64, made: u32) {
        let mut slot = self.slot(key);
        while self.keys[slot] != FREE {
            slot = (slot + 1) & (self.keys.len() - 1);
        }
        self.keys[slot] = key;
        let (word, bit) = self.hint(key);
        self.hints[word] |= bit;
        self.made[slot] = made;
        self.held += 1;
    }

    /// The slot where the search for `key` begins.
    fn slot(&self, key: u64) -> usize {
        (hash(key) >> self.shift) as usize
    }

    /// Which bit says whether `key` may be there: of what word, and its value. There are eight for a slot.
    fn hint(&self, key: u64) -> (usize, u64) {
        let bit = hash(key) >> (self.shift - 3);
        ((bit / 64) as usize, 1 << (bit % 64))
    }
}

fn hash(key: u64) -> u64 {
    key.wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

fn key(left: u32, right: u32) -> u64 {
    u64::from(left) << 32 | u64::from(right)
}

fn square(left: u32, right: u32) -> usize {
    (left << 8 | right) as usize
}
