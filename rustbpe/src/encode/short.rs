//! Merges a short piece by looking for the lowest rank again after each merge.

use super::{NONE, pairs::Pairs};

/// Where no pair begins.
const DEAD: u64 = u64::MAX;

/// Appends the tokens of `piece`, which has 1 to `N` bytes, to `out`.
///
/// A token stays where its first byte was. What is compared is rank and place in one number, so that the
/// smallest is the leftmost of those of lowest rank.
pub fn scan<const N: usize>(pairs: &Pairs, piece: &[u8], out: &mut Vec<u32>) {
    let count = piece.len();
    let mut tokens = [NONE; N];
    let mut ranks = [DEAD; N];
    let mut next = [0u8; N];
    let mut prev = [0u8; N];
    for (at, &byte) in piece.iter().enumerate() {
        tokens[at] = u32::from(byte);
        next[at] = at as u8 + 1;
        prev[at] = at.wrapping_sub(1) as u8;
    }
    for at in 0..count - 1 {
        ranks[at] = ranked(pairs.made_by(tokens[at], tokens[at + 1]), at);
    }
    loop {
        let lowest = ranks[..count].iter().copied().min().unwrap_or(DEAD);
        if lowest == DEAD {
            break;
        }
        let (made, at) = ((lowest >> 32) as u32, lowest as u32 as usize);
        let eaten = next[at] as usize;
        let after = next[eaten] as usize;
        tokens[at] = made;
        tokens[eaten] = NONE;
        ranks[eaten] = DEAD;
        next[at] = after as u8;
        ranks[at] = DEAD;
        if after < count {
            prev[after] = at as u8;
            ranks[at] = ranked(pairs.made_by(made, tokens[after]), at);
        }
        if at > 0 {
            let before = prev[at] as usize;
            ranks[before] = ranked(pairs.made_by(tokens[before], made), before);
        }
    }
    out.extend(tokens[..count].iter().copied().filter(|&token| token != NONE));
}

fn ranked(rank: u32, at: usize) -> u64 {
    if rank == NONE { DEAD } else { u64::from(rank) << 32 | at as u64 }
}
