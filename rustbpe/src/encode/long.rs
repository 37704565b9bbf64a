//! Merges a long piece rank by rank.
//!
//! A token is made after its parts, so what becomes possible by a merge has a higher rank than the merge:
//! ranks come up in ascending order, each once, and then all its places are known.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rustc_hash::FxHashMap;

use super::{NONE, pairs::Pairs};
use crate::error::{Check, Error, Result};

/// How many places may be visited between two questions whether to stop.
const PLACES_PER_CHECK: usize = 1 << 16;

/// Appends the tokens of `piece` to `out`, unless `check` stops it.
pub fn sweep(pairs: &Pairs, piece: &[u8], out: &mut Vec<u32>, check: &mut Check<'_>) -> Result<()> {
    if piece.len() >= NONE as usize {
        return Err(Error::value("a piece of the text has 4 GiB or more; it must have less: split the text"));
    }
    let mut chain = Chain { pairs, nodes: Vec::with_capacity(piece.len()) };
    let mut agenda = Agenda::default();
    for bytes in piece.chunks(PLACES_PER_CHECK) {
        check()?;
        chain.extend(bytes);
    }
    for at in 0..piece.len() as u32 {
        if (at as usize).is_multiple_of(PLACES_PER_CHECK) {
            check()?;
        }
        chain.rank(at, &mut agenda);
    }
    let mut visited = 0;
    while let Some((rank, places)) = agenda.take_lowest() {
        for at in places {
            visited += 1;
            if visited % PLACES_PER_CHECK == 0 {
                check()?;
            }
            // Its tokens may have merged with others since it was noted.
            if chain.nodes[at as usize].rank == rank {
                chain.merge(at, &mut agenda);
            }
        }
    }
    check()?;
    out.extend(chain.nodes.iter().map(|node| node.token).filter(|&token| token != NONE));
    Ok(())
}

/// The places by rank. What is noted while a rank is worked off must be of a higher one.
#[derive(Default)]
struct Agenda {
    places: FxHashMap<u32, Vec<u32>>,
    ranks: BinaryHeap<Reverse<u32>>,
}

impl Agenda {
    fn note(&mut self, rank: u32, at: u32) {
        let places = self.places.entry(rank).or_default();
        if places.is_empty() {
            self.ranks.push(Reverse(rank));
        }
        places.push(at);
    }

    /// The lowest rank and its places from left to right.
    fn take_lowest(&mut self) -> Option<(u32, Vec<u32>)> {
        let Reverse(rank) = self.ranks.pop()?;
        let mut places = self.places.remove(&rank)?;
        places.sort_unstable();
        Some((rank, places))
    }
}

/// The tokens, each at its first byte, linked to their neighbours.
struct Chain<'a> {
    pairs: &'a Pairs,
    nodes: Vec<Node>,
}

struct Node {
    /// [`NONE`] if it is part of the token before it.
    token: u32,
    /// The rank of the pair that begins here.
    rank: u32,
    prev: u32,
    next: u32,
}

impl Chain<'_> {
    /// Appends the next bytes of the piece.
    fn extend(&mut self, bytes: &[u8]) {
        for (&byte, at) in bytes.iter().zip(self.nodes.len() as u32..) {
            self.nodes.push(Node {
                token: u32::from(byte),
                rank: NONE,
                prev: at.wrapping_sub(1),
                next: at + 1,
            });
        }
    }

    /// Ranks the pair that begins at `at` anew and notes it.
    fn rank(&mut self, at: u32, agenda: &mut Agenda) {
        let node = &self.nodes[at as usize];
        let rank = match self.nodes.get(node.next as usize) {
            Some(next) => self.pairs.made_by(node.token, next.token),
            None => NONE,
        };
        self.nodes[at as usize].rank = rank;
        if rank != NONE {
            agenda.note(rank, at);
        }
    }

    /// Lets `at` and the node after it become the token that they make.
    fn merge(&mut self, at: u32, agenda: &mut Agenda) {
        let node = &self.nodes[at as usize];
        let (made, prev, eaten) = (node.rank, node.prev, node.next);
        let next = self.nodes[eaten as usize].next;
        let eaten = &mut self.nodes[eaten as usize];
        (eaten.token, eaten.rank) = (NONE, NONE);
        let node = &mut self.nodes[at as usize];
        (node.token, node.next) = (made, next);
        if let Some(next) = self.nodes.get_mut(next as usize) {
            next.prev = at;
        }
        self.rank(at, agenda);
        if prev != NONE {
            self.rank(prev, agenda);
        }
    }
}
