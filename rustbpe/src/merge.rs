//! Learns merges: takes the most frequent adjacent pair, replaces it everywhere by a new token, and repeats.
//!
//! The distinct pieces lie in one array of nodes, linked inside each piece. Every pair knows the nodes where
//! it begins, so a merge touches its own occurrences only. Two facts keep the bookkeeping small:
//!
//! - A pair's occurrences all arise in one step, the one that makes the younger of its two tokens (the bytes
//!   are there from the start): later steps only take away. So a heap entry is never too low; one that is too
//!   high is lowered when it comes up.
//! - What begins at a node only grows. So a remembered place is either still that pair or never will be
//!   again.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rustc_hash::FxHashMap;

use crate::count::PieceCounts;
use crate::error::{Check, Error, Result};

/// Two adjacent tokens.
pub type Pair = (u32, u32);

/// The first 256 ids are the bytes; merge number `i` makes id `256 + i`.
pub const BYTE_TOKENS: u32 = 256;

/// Asked often, with the number of merges that are done; an error ends the work and is handed to the caller.
pub type Watch<'a> = dyn FnMut(usize) -> Result<()> + 'a;

/// No neighbour; as a token: this node was merged into the one before it.
const NONE: u32 = u32::MAX;

/// How many nodes may be visited between two questions whether to stop.
const NODES_PER_CHECK: usize = 1 << 16;

/// Learns up to `want` merges; fewer only if every piece has become a single token.
///
/// The pair with the highest count wins, among equal counts the smallest pair. A pair's count is the number
/// of adjacent places where it stands (places may overlap), times the count of the piece. Occurrences are
/// replaced from left to right.
pub fn learn(counts: PieceCounts, want: usize, watch: &mut Watch<'_>) -> Result<Vec<Pair>> {
    if counts.total_bytes() >= NONE as usize {
        return Err(Error::value(
            "the distinct pieces have 4 GiB or more; they must have less: give less text",
        ));
    }
    let mut learner = Learner::new(counts);
    learner.find_pairs(&mut || watch(0))?;
    let mut merges = Vec::new();
    while merges.len() < want {
        watch(merges.len())?;
        let Some((pair, places)) = learner.take_best() else {
            break;
        };
        let token = BYTE_TOKENS + merges.len() as u32;
        learner.replace(pair, &places, token, &mut || watch(merges.len()))?;
        merges.push(pair);
    }
    Ok(merges)
}

/// A token in place, or the remains of one.
struct Node {
    token: u32,
    prev: u32,
    next: u32,
    piece: u32,
}

/// Where a pair stands, and how often that is once pieces are weighted.
#[derive(Default)]
struct Occurrences {
    count: u64,
    places: Vec<u32>,
}

struct Learner {
    nodes: Vec<Node>,
    weights: Vec<u64>,
    pairs: FxHashMap<Pair, Occurrences>,
    heap: BinaryHeap<(u64, Reverse<Pair>)>,
}

impl Learner {
    fn new(counts: PieceCounts) -> Self {
        let mut nodes = Vec::with_capacity(counts.total_bytes());
        let mut weights = Vec::with_capacity(counts.len());
        for (text, count) in counts.into_pieces() {
            let piece = weights.len() as u32;
            weights.push(count);
            let first = nodes.len() as u32;
            let last = first + text.len() as u32 - 1;
            for (at, byte) in (first..).zip(text.bytes()) {
                let prev = if at == first { NONE } else { at - 1 };
                let next = if at == last { NONE } else { at + 1 };
                nodes.push(Node { token: u32::from(byte), prev, next, piece });
            }
        }
        Self { nodes, weights, pairs: FxHashMap::default(), heap: BinaryHeap::new() }
    }

    /// Notes every pair of bytes.
    fn find_pairs(&mut self, check: &mut Check<'_>) -> Result<()> {
        let mut fresh = Vec::new();
        for at in 0..self.nodes.len() {
            if at % NODES_PER_CHECK == 0 {
                check()?;
            }
            self.note(at as u32, &mut fresh);
        }
        self.rank(fresh);
        Ok(())
    }

    /// The winner and its occurrences, taken out of the table; `None` when no two tokens are adjacent any
    /// more.
    fn take_best(&mut self) -> Option<(Pair, Vec<u32>)> {
        while let Some((claimed, Reverse(pair))) = self.heap.pop() {
            match self.pairs.get(&pair).map(|occurrences| occurrences.count) {
                Some(count) if count == claimed => {
                    return self.pairs.remove(&pair).map(|occurrences| (pair, occurrences.places));
                }
                Some(count) => self.heap.push((count, Reverse(pair))),
                None => {}
            }
        }
        None
    }

    /// Replaces `pair` at `places`, which ascend, by `token`.
    fn replace(&mut self, pair: Pair, places: &[u32], token: u32, check: &mut Check<'_>) -> Result<()> {
        let mut fresh = Vec::new();
        for (done, &at) in places.iter().enumerate() {
            if done % NODES_PER_CHECK == NODES_PER_CHECK - 1 {
                check()?;
            }
            if self.pair_at(at) != Some(pair) {
                continue;
            }
            let node = &self.nodes[at as usize];
            let (prev, eaten) = (node.prev, node.next);
            let next = self.nodes[eaten as usize].next;
            self.forget(prev);
            self.forget(eaten);
            self.nodes[eaten as usize].token = NONE;
            self.nodes[at as usize].token = token;
            self.nodes[at as usize].next = next;
            if next != NONE {
                self.nodes[next as usize].prev = at;
            }
            self.note(prev, &mut fresh);
            self.note(at, &mut fresh);
        }
        self.rank(fresh);
        Ok(())
    }

    /// The pair that begins at node `at`, if there is one.
    fn pair_at(&self, at: u32) -> Option<Pair> {
        let node = self.nodes.get(at as usize)?;
        let next = self.nodes.get(node.next as usize)?;
        (node.token != NONE).then_some((node.token, next.token))
    }

    fn weight(&self, at: u32) -> u64 {
        self.weights[self.nodes[at as usize].piece as usize]
    }

    /// Adds the pair that begins at `at` to the table, and to `fresh` if it is the first of its kind.
    fn note(&mut self, at: u32, fresh: &mut Vec<Pair>) {
        let Some(pair) = self.pair_at(at) else { return };
        let weight = self.weight(at);
        let occurrences = self.pairs.entry(pair).or_default();
        if occurrences.count == 0 {
            fresh.push(pair);
        }
        occurrences.count += weight;
        occurrences.places.push(at);
    }

    /// Takes the pair that begins at `at` off the count; its place stays behind and is seen to be stale
    /// later.
    fn forget(&mut self, at: u32) {
        let Some(pair) = self.pair_at(at) else { return };
        let weight = self.weight(at);
        if let Some(occurrences) = self.pairs.get_mut(&pair) {
            occurrences.count -= weight;
            if occurrences.count == 0 {
                self.pairs.remove(&pair);
            }
        }
    }

    /// Puts pairs whose occurrences are all known now into the heap.
    fn rank(&mut self, fresh: Vec<Pair>) {
        for pair in fresh {
            if let Some(occurrences) = self.pairs.get(&pair) {
                self.heap.push((occurrences.count, Reverse(pair)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::split::Splitter;

    fn learn_from(texts: &[&str], want: usize) -> Vec<Pair> {
        let splitter = Splitter::new(r"\S+|\s+").unwrap();
        let mut counts = PieceCounts::default();
        for text in texts {
            counts.add(&splitter, text, &mut || Ok(())).unwrap();
        }
        learn(counts, want, &mut |_| Ok(())).unwrap()
    }

    #[test]
    fn the_most_frequent_pair_is_merged_first() {
        let [a, b, c] = [97, 98, 99];
        assert_eq!(learn_from(&["abc ab ab", "bc"], 2), [(a, b), (b, c)]);
    }

    #[test]
    fn among_equal_counts_the_smallest_pair_wins() {
        assert_eq!(learn_from(&["zy", "ab"], 2), [(97, 98), (122, 121)]);
    }

    #[test]
    fn overlapping_pairs_are_replaced_from_left_to_right() {
        // aaaaa -> X X a -> (X, X) and (X, a) stand once each; (X, a) is the smaller.
        assert_eq!(learn_from(&["aaaaa"], 9), [(97, 97), (256, 97), (256, 257)]);
    }

    #[test]
    fn text_without_pairs_gives_no_merges() {
        assert_eq!(learn_from(&["a b c"], 5), []);
        assert_eq!(learn_from(&[], 5), []);
    }

    #[test]
    fn a_stop_ends_the_work() {
        let splitter = Splitter::new(r"(?s:.+)").unwrap();
        let mut counts = PieceCounts::default();
        counts.add(&splitter, "abcdefgh", &mut || Ok(())).unwrap();
        let mut asked = 0;
        let stopped = learn(counts, 9, &mut |_| {
            asked += 1;
            if asked > 3 { Err(Error::Stopped("enough".into())) } else { Ok(()) }
        });
        assert!(matches!(stopped, Err(Error::Stopped(_))));
    }

    #[test]
    fn a_long_piece_takes_no_quadratic_time() {
        let text = "ab".repeat(500_000);
        assert_eq!(learn_from(&[&text], 20).len(), 20);
    }
}
