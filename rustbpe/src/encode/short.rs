//! Merges a short piece by looking for the lowest rank again after each merge.

use super::{NONE, pairs::Pairs};

/// Pieces may have this many bytes.
pub const MOST_BYTES: usize = 64;

/// How many minima are kept at a time: the processor compares for all of them at once.
const LANES: usize = 4;

/// A place where no pair begins.
const DEAD: u64 = u64::MAX;

/// Most pieces have no more than so many, and need less room.
const FEW_BYTES: usize = 16;

/// Appends the tokens of `piece`, which has 1 to [`MOST_BYTES`] bytes, to `out`.
pub fn scan(pairs: &Pairs, piece: &[u8], out: &mut Vec<u32>) {
    if piece.len() <= FEW_BYTES {
        scan_in::<FEW_BYTES>(pairs, piece, out);
    } else {
        scan_in::<MOST_BYTES>(pairs, piece, out);
    }
}

/// `scan` of a piece of up to `ROOM` bytes.
///
/// A token stays where its first byte was. What is compared is rank and place in one number, so that the
/// smallest is the leftmost of those of lowest rank. (Places are taken modulo their number, which changes none,
/// but spares the checks of bounds.)
#[inline]
fn scan_in<const ROOM: usize>(pairs: &Pairs, piece: &[u8], out: &mut Vec<u32>) {
    let mut tokens = [NONE; ROOM];
    let mut ranks = [DEAD; ROOM];
    let mut left = piece[0];
    tokens[0] = u32::from(left);
    for (&right, at) in piece[1..].iter().zip(1..) {
        tokens[at % ROOM] = u32::from(right);
        ranks[at % ROOM - 1] = ranked(pairs.of_bytes(left, right), at - 1);
        left = right;
    }
    // To compare all of few costs less than to guess how many are left out.
    let used = if ROOM == FEW_BYTES { ROOM } else { piece.len().next_multiple_of(LANES) };
    // A bit for each place where a token begins.
    let mut starts = u64::MAX >> (u64::BITS as usize - piece.len());
    let mut lowest = least(&ranks[..used]);
    loop {
        let made = (lowest >> 32) as u32;
        if made == NONE {
            break;
        }
        // No token is newer than this one, since ranks come up in ascending order.
        let row = pairs.row(made);
        let at = lowest as usize % ROOM;
        let earlier = starts & !(u64::MAX << at);
        let later = starts & (u64::MAX - 1) << at;
        let eaten = later.trailing_zeros() as usize % ROOM;
        starts &= !(1 << eaten);
        let later = later & later.wrapping_sub(1);
        // If there is none before, this is 0, where then the pair itself begins.
        let before = (earlier | 1).ilog2() as usize % ROOM;
        for dead in [before, at, eaten] {
            ranks[dead] = DEAD;
        }
        tokens[at] = made;
        // The new pairs are seldom the lowest. Until they are looked up the processor goes on as if they were not.
        lowest = least(&ranks[..used]);
        if later != 0 {
            let next = tokens[later.trailing_zeros() as usize % ROOM];
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
    let mut kept = [NONE; ROOM];
    let kept = &mut kept[..starts.count_ones() as usize];
    for token in &mut *kept {
        *token = tokens[starts.trailing_zeros() as usize % ROOM];
        starts &= starts - 1;
    }
    out.extend_from_slice(kept);
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
