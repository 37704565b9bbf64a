//! Merges a short piece by looking for the lowest rank again after each merge.

use super::{NONE, pairs::Pairs};

/// Pieces may have this many bytes.
pub const MOST_BYTES: usize = 64;

/// How many minima are kept at a time: the processor compares for all of them at once.
const LANES: usize = 4;

/// A place where no pair begins.
const DEAD: u64 = u64::MAX;

/// Appends the tokens of `piece`, which has 1 to [`MOST_BYTES`] bytes, to `out`.
///
/// A token stays where its first byte was. What is compared is rank and place in one number, so that the
/// smallest is the leftmost of those of lowest rank. (Places are taken modulo their number, which changes none,
/// but spares the checks of bounds.)
pub fn scan(pairs: &Pairs, piece: &[u8], out: &mut Vec<u32>) {
    let mut tokens = [NONE; MOST_BYTES];
    let mut ranks = [DEAD; MOST_BYTES];
    let mut left = piece[0];
    tokens[0] = u32::from(left);
    for (&right, at) in piece[1..].iter().zip(1..) {
        tokens[at % MOST_BYTES] = u32::from(right);
        ranks[at % MOST_BYTES - 1] = ranked(pairs.of_bytes(left, right), at - 1);
        left = right;
    }
    let used = piece.len().next_multiple_of(LANES);
    // A bit for each place where a token begins.
    let mut starts = u64::MAX >> (MOST_BYTES - piece.len());
    let mut lowest = least(&ranks[..used]);
    loop {
        let made = (lowest >> 32) as u32;
        if made == NONE {
            break;
        }
        // No token is newer than this one, since ranks come up in ascending order.
        let row = pairs.row(made);
        let at = lowest as usize % MOST_BYTES;
        let earlier = starts & !(u64::MAX << at);
        let later = starts & (u64::MAX - 1) << at;
        let eaten = later.trailing_zeros() as usize % MOST_BYTES;
        starts &= !(1 << eaten);
        let later = later & later.wrapping_sub(1);
        // If there is none before, this is 0, where then the pair itself begins.
        let before = (earlier | 1).ilog2() as usize % MOST_BYTES;
        for dead in [before, at, eaten] {
            ranks[dead] = DEAD;
        }
        tokens[at] = made;
        // The new pairs are seldom the lowest. Until they are looked up the processor goes on as if they were not.
        lowest = least(&ranks[..used]);
        if later != 0 {
            let next = tokens[later.trailing_zeros() as usize % MOST_BYTES];
            ranks[at] = ranked(pairs.with_next(row, next), at);
            if ranks[at] < lowest {
                lowest = surprise(ranks[at]);
            }
        }
        if earlier != 0 {
            ranks[before] = ranked(pairs.with_previous(row, tokens[before]), before);
            if ranks[before] < lowest {
                lowest = surprise(ranks[before]);
            }
        }
    }
    while starts != 0 {
        out.push(tokens[starts.trailing_zeros() as usize % MOST_BYTES]);
        starts &= starts - 1;
    }
}

/// The smallest of `ranks`, whose number is a multiple of [`LANES`].
#[inline]
fn least(ranks: &[u64]) -> u64 {
    let mut lowest = [DEAD; LANES];
    for ranks in ranks.chunks_exact(LANES) {
        for (lowest, &rank) in lowest.iter_mut().zip(ranks) {
            *lowest = rank.min(*lowest);
        }
    }
    lowest[0].min(lowest[1]).min(lowest[2].min(lowest[3]))
}

/// [`NONE`] comes after all ranks here too.
#[inline]
fn ranked(rank: u32, at: usize) -> u64 {
    u64::from(rank) << 32 | at as u64
}

/// `rank`; a call keeps what depends on a comparison from being made a selection, which would wait for both sides.
#[cold]
#[inline(never)]
fn surprise(rank: u64) -> u64 {
    rank
}
