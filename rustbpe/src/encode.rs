//! Merges the bytes of one piece into tokens, exactly as training would have.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rustc_hash::FxHashMap;

use crate::merge::{BYTE_TOKENS, Pair};

/// Pieces of up to this many bytes are scanned; longer ones go through a heap, which costs n log n, not n^2.
const SCAN_BYTES: usize = 48;

/// "These two do not merge", and "there is no such node".
const NONE: u32 = u32::MAX;

/// The merges by pair. The token that a pair makes is its rank too: lower ones merge first.
pub struct Encoder {
    made: FxHashMap<Pair, u32>,
}

impl Encoder {
    /// Takes the merges in the order in which they were learnt.
    pub fn new(merges: &[Pair]) -> Self {
        Self { made: merges.iter().copied().zip(BYTE_TOKENS..).collect() }
    }

    /// Appends the tokens of `piece` to `out`.
    ///
    /// Of all adjacent pairs the one of lowest rank merges, among equals the leftmost, until none is left.
    /// That is the same as applying the merges one after the other, since a token is always made after its
    /// parts.
    pub fn encode_piece(&self, piece: &[u8], out: &mut Vec<u32>) {
        if piece.len() <= SCAN_BYTES {
            self.scan(piece, out);
        } else {
            self.drain(piece, out);
        }
    }

    fn rank(&self, left: u32, right: u32) -> u32 {
        self.made.get(&(left, right)).copied().unwrap_or(NONE)
    }

    /// Looks for the lowest rank again after each merge. The tokens grow together at the end of `out`.
    fn scan(&self, piece: &[u8], out: &mut Vec<u32>) {
        let begin = out.len();
        out.extend(piece.iter().map(|&byte| u32::from(byte)));
        let mut ranks = [NONE; SCAN_BYTES];
        let mut pairs = piece.len().saturating_sub(1);
        for (rank, pair) in ranks.iter_mut().zip(out[begin..].windows(2)) {
            *rank = self.rank(pair[0], pair[1]);
        }
        while let Some((at, &token)) = ranks[..pairs].iter().enumerate().min_by_key(|&(_, &rank)| rank) {
            if token == NONE {
                break;
            }
            let tokens = &mut out[begin..];
            tokens[at] = token;
            tokens.copy_within(at + 2.., at + 1);
            out.pop();
            ranks.copy_within(at + 1..pairs, at);
            pairs -= 1;
            let tokens = &out[begin..];
            if at < pairs {
                ranks[at] = self.rank(tokens[at], tokens[at + 1]);
            }
            if at > 0 {
                ranks[at - 1] = self.rank(tokens[at - 1], tokens[at]);
            }
        }
    }

    /// Keeps the candidates in a heap. A candidate is stale when its node no longer has that rank.
    fn drain(&self, piece: &[u8], out: &mut Vec<u32>) {
        let mut chain = Chain::new(piece);
        let mut heap = BinaryHeap::with_capacity(piece.len());
        for at in 0..piece.len() {
            chain.refresh(at, self, &mut heap);
        }
        while let Some(Reverse((rank, at))) = heap.pop() {
            if chain.nodes[at].rank != rank {
                continue;
            }
            chain.merge(at, rank);
            chain.refresh(at, self, &mut heap);
            if let Some(prev) = chain.prev(at) {
                chain.refresh(prev, self, &mut heap);
            }
        }
        out.extend(chain.tokens());
    }
}

type Candidates = BinaryHeap<Reverse<(u32, usize)>>;

/// The tokens of a long piece, linked to their neighbours.
struct Chain {
    nodes: Vec<Link>,
}

struct Link {
    token: u32,
    /// The rank of the pair that begins here.
    rank: u32,
    prev: usize,
    next: usize,
}

impl Chain {
    fn new(piece: &[u8]) -> Self {
        let link = |(at, &byte): (usize, &u8)| Link {
            token: u32::from(byte),
            rank: NONE,
            prev: at.wrapping_sub(1),
            next: at + 1,
        };
        Self { nodes: piece.iter().enumerate().map(link).collect() }
    }

    /// The node before `at`; before the first one there is none.
    fn prev(&self, at: usize) -> Option<usize> {
        let prev = self.nodes[at].prev;
        (prev < self.nodes.len()).then_some(prev)
    }

    /// Ranks the pair that begins at `at` anew and offers it.
    fn refresh(&mut self, at: usize, encoder: &Encoder, heap: &mut Candidates) {
        let next = self.nodes.get(self.nodes[at].next);
        let rank = next.map_or(NONE, |next| encoder.rank(self.nodes[at].token, next.token));
        self.nodes[at].rank = rank;
        if rank != NONE {
            heap.push(Reverse((rank, at)));
        }
    }

    /// Lets `at` and the node after it become `token`.
    fn merge(&mut self, at: usize, token: u32) {
        let eaten = self.nodes[at].next;
        let next = self.nodes[eaten].next;
        self.nodes[eaten].rank = NONE;
        self.nodes[at].token = token;
        self.nodes[at].next = next;
        if let Some(next) = self.nodes.get_mut(next) {
            next.prev = at;
        }
    }

    fn tokens(&self) -> impl Iterator<Item = u32> {
        let mut at = 0;
        std::iter::from_fn(move || {
            let node = self.nodes.get(at)?;
            at = node.next;
            Some(node.token)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: u32 = 97;
    const B: u32 = 98;

    fn encode(merges: &[Pair], piece: &[u8]) -> Vec<u32> {
        let mut out = vec![7];
        Encoder::new(merges).encode_piece(piece, &mut out);
        out.split_off(1)
    }

    #[test]
    fn the_earliest_merge_goes_first() {
        assert_eq!(encode(&[(B, B), (A, B)], b"abb"), [A, 256]);
        assert_eq!(encode(&[(A, B), (B, B)], b"abb"), [256, B]);
    }

    #[test]
    fn equal_pairs_merge_from_left_to_right() {
        assert_eq!(encode(&[(A, A)], b"aaa"), [256, A]);
    }

    #[test]
    fn nothing_and_one_byte_are_left_alone() {
        assert!(encode(&[(A, A)], b"").is_empty());
        assert_eq!(encode(&[(A, A)], b"a"), [A]);
    }

    #[test]
    fn the_heap_gives_what_the_scan_gives() {
        let merges = [(A, A), (A, B), (256, A), (257, 256), (B, B), (256, 256), (258, 257), (257, 257)];
        let encoder = Encoder::new(&merges);
        for bits in 0..1u32 << 12 {
            let piece: Vec<u8> = (0..12).map(|bit| if bits >> bit & 1 == 0 { b'a' } else { b'b' }).collect();
            let (mut scanned, mut drained) = (Vec::new(), Vec::new());
            encoder.scan(&piece, &mut scanned);
            encoder.drain(&piece, &mut drained);
            assert_eq!(scanned, drained, "{piece:?}");
        }
    }

    #[test]
    fn a_long_piece_takes_no_quadratic_time() {
        let merges = [(A, A), (256, 256), (257, 257), (258, 258)];
        assert_eq!(encode(&merges, &b"a".repeat(1_600_003)).len(), 100_002);
    }
}
