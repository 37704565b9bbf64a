//! Which token a pair of tokens makes: the question asked most often while a piece is merged.

use super::NONE;
use crate::merge::{BYTE_TOKENS, Pair};

/// A row is doubled until all its pairs are where the search for them begins, or it has so many entries a pair.
const SPREAD: usize = 4;

/// A pair in the row of its newer token.
#[derive(Clone, Copy)]
struct Entry {
    /// The other token; the lowest bit says whether that is the left one. There are less than 2^31 tokens.
    other: u32,
    made: u32,
}

const FREE: Entry = Entry { other: NONE, made: NONE };

/// The pairs in which one token is the newer, or the same twice: a table with linear probing, at most half full.
#[derive(Clone, Copy)]
pub struct Row {
    start: u32,
    /// How far a hash is shifted down to be an entry's number.
    shift: u32,
}

/// A row of two free entries, which all tokens share that are the newer ones of no pair.
const EMPTY: Row = Row { start: 0, shift: u32::BITS - 1 };

/// The bytes are looked up in a square, all other pairs in the row of their newer token.
///
/// While a piece is merged, no token is newer than the one just made: the pairs that it forms with its neighbours
/// are all in its row. Most tokens have a row of one line of the processor's cache or none, and the rows of the
/// tokens learnt first, which are the ones met most often, are close together.
pub struct Pairs {
    /// `square[left << 8 | right]`.
    square: Vec<u32>,
    /// Of each token.
    rows: Vec<Row>,
    /// How many pairs are in the row of each token.
    held: Vec<u32>,
    entries: Vec<Entry>,
}

impl Pairs {
    /// Pair number `i` makes token `256 + i`.
    pub fn new(merges: &[Pair]) -> Self {
        let tokens = BYTE_TOKENS as usize + merges.len();
        let mut pairs = Self {
            square: vec![NONE; 1 << 16],
            rows: vec![EMPTY; tokens],
            held: vec![0; tokens],
            entries: vec![FREE; 2],
        };
        let mut entries = Vec::new();
        for (&pair, made) in merges.iter().zip(BYTE_TOKENS..) {
            pairs.each_entry(pair, made, |_, newer, entry| entries.push((newer, entry)));
        }
        entries.sort_by_key(|&(newer, _)| newer);
        for row in entries.chunk_by(|(one, _), (other, _)| one == other) {
            let newer = row[0].0;
            pairs.build(newer, row.iter().map(|&(_, entry)| entry).collect());
        }
        pairs
    }

    /// The pair that makes the next token; it is not there yet.
    pub fn add(&mut self, pair: Pair) {
        let made = self.rows.len() as u32;
        self.rows.push(EMPTY);
        self.held.push(0);
        self.each_entry(pair, made, Self::insert);
    }

    /// The token that `left` and `right` make, which is the rank of their merge too: lower ones go first.
    /// [`NONE`] if they make none.
    #[inline]
    pub fn made_by(&self, left: u32, right: u32) -> u32 {
        if left < BYTE_TOKENS && right < BYTE_TOKENS {
            self.of_bytes(left as u8, right as u8)
        } else if left < right {
            self.with_previous(self.row(right), left)
        } else {
            self.with_next(self.row(left), right)
        }
    }

    /// What two bytes make.
    #[inline]
    pub fn of_bytes(&self, left: u8, right: u8) -> u32 {
        self.square[usize::from(left) << 8 | usize::from(right)]
    }

    /// The row of `token`, which is no byte.
    #[inline]
    pub fn row(&self, token: u32) -> Row {
        self.rows[token as usize]
    }

    /// What the token of `row` makes with the one after it, which is not newer.
    #[inline]
    pub fn with_next(&self, row: Row, next: u32) -> u32 {
        self.find(row, next << 1)
    }

    /// What the token of `row` makes with the one before it, which is not newer.
    #[inline]
    pub fn with_previous(&self, row: Row, previous: u32) -> u32 {
        self.find(row, previous << 1 | 1)
    }

    #[inline]
    fn find(&self, row: Row, other: u32) -> u32 {
        let entry = self.entries[row.place(other)];
        // Both at once, since either alone would be guessed wrong often.
        if (entry.other != other) & (entry.made != NONE) {
            return self.entries[self.probe(row, other)].made;
        }
        entry.made
    }

    /// Where `other` is in the row, or else is to be put.
    #[cold]
    fn probe(&self, row: Row, other: u32) -> usize {
        let (start, last) = (row.start as usize, row.entries() - 1);
        let mut place = row.place(other);
        while self.entries[place].other != other && self.entries[place].made != NONE {
            place = start + ((place - start + 1) & last);
        }
        place
    }

    /// Hands on the entries of a pair and the tokens to whose rows they belong.
    fn each_entry(&mut self, (left, right): Pair, made: u32, mut take: impl FnMut(&mut Self, u32, Entry)) {
        if left < BYTE_TOKENS && right < BYTE_TOKENS {
            self.square[(left << 8 | right) as usize] = made;
            return;
        }
        if left >= right {
            take(self, left, Entry { other: right << 1, made });
        }
        if right >= left {
            take(self, right, Entry { other: left << 1 | 1, made });
        }
    }

    fn insert(&mut self, newer: u32, entry: Entry) {
        // The row that tokens without pairs share is never written to.
        let row = self.row(newer);
        let held = self.held[newer as usize] as usize;
        if (held + 1) * 2 <= row.entries() && held > 0 {
            let place = self.probe(row, entry.other);
            self.entries[place] = entry;
            self.held[newer as usize] += 1;
            return;
        }
        let (start, end) = (row.start as usize, row.start as usize + row.entries());
        let mut entries: Vec<Entry> =
            self.entries[start..end].iter().copied().filter(|entry| entry.made != NONE).collect();
        entries.push(entry);
        self.build(newer, entries);
    }

    /// Gives `newer` a row of these entries, at the end of all.
    fn build(&mut self, newer: u32, entries: Vec<Entry>) {
        let start = self.entries.len();
        let mut count = (entries.len() * 2).next_power_of_two();
        loop {
            let row = Row { start: start as u32, shift: u32::BITS - count.trailing_zeros() };
            self.entries.truncate(start);
            self.entries.resize(start + count, FREE);
            let mut displaced = 0;
            for &entry in &entries {
                let place = self.probe(row, entry.other);
                displaced += usize::from(place != row.place(entry.other));
                self.entries[place] = entry;
            }
            if displaced == 0 || count >= entries.len() * SPREAD {
                self.rows[newer as usize] = row;
                self.held[newer as usize] = entries.len() as u32;
                return;
            }
            count *= 2;
        }
    }
}

impl Row {
    /// How many there are.
    fn entries(self) -> usize {
        1 << (u32::BITS - self.shift)
    }

    /// Where the search for `other` begins.
    #[inline]
    fn place(self, other: u32) -> usize {
        self.start as usize + (other.wrapping_mul(0x9E37_79B1) >> self.shift) as usize
    }
}
