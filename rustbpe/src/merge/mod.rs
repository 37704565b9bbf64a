//! Learns merges: takes the most frequent adjacent pair, replaces it everywhere by a new token, and repeats.
//!
//! Every pair knows the places where its tokens meet, so a merge touches its own occurrences only. A pair's
//! occurrences all arise in one step, the one that makes the younger of its two tokens (the bytes are there from
//! the start): later steps only take away. Hence:
//!
//! - The list of a pair's places is complete when the pair is born; some of them may be stale later.
//! - A pair has one entry in the heap, whose count is never too low. Only when it comes up is it counted anew, so
//!   the many pairs that never come up cost nothing more. Pairs of bytes, whose lists are long, are kept count
//!   of.

mod births;
mod words;

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::count::PieceCounts;
use crate::error::Result;
use births::Births;
use words::{WALL, Words};

/// Two adjacent tokens.
pub type Pair = (u32, u32);

/// The first 256 ids are the bytes; merge number `i` makes id `256 + i`.
pub const BYTE_TOKENS: u32 = 256;

/// Asked often, with the number of merges that are done; an error ends the work and is handed to the caller.
pub type Watch<'a> = dyn FnMut(usize) -> Result<()> + 'a;

/// How many places may be visited between two questions whether to stop.
const PLACES_PER_CHECK: usize = 1 << 18;

/// Learns up to `want` merges; fewer only if every piece has become a single token.
///
/// The pair with the highest count wins, among equal counts the smallest pair. A pair's count is the number
/// of adjacent places where it stands (places may overlap), times the count of the piece. Occurrences are
/// replaced from left to right.
pub fn learn(counts: PieceCounts, want: usize, watch: &mut Watch<'_>) -> Result<Vec<Pair>> {
    watch(0)?;
    let mut learner = Learner::new(Words::new(counts, &mut || watch(0))?);
    learner.find_byte_pairs(&mut || watch(0))?;
    let mut merges = Vec::new();
    while merges.len() < want {
        let Some(best) = learner.take_best(&mut || watch(merges.len()))? else {
            break;
        };
        learner.replace(&best, BYTE_TOKENS + merges.len() as u32, &mut || watch(merges.len()))?;
        merges.push(best.pair.0);
    }
    Ok(merges)
}

/// A pair that may be merged. The order is that of merging.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    /// At least how often the pair occurs.
    count: u64,
    pair: Reverse<Pair>,
    /// The first of its places in the pool.
    start: u32,
    places: u32,
}

struct Learner {
    words: Words,
    /// How many slots each token fills.
    lengths: Vec<u32>,
    /// The count of each pair of bytes.
    byte_pairs: Vec<u64>,
    /// Places of all pairs, those of one pair together and ascending: the slots where its second tokens begin.
    pool: Vec<u32>,
    heap: BinaryHeap<Candidate>,
    before: Births,
    after: Births,
}

/// The number of a pair of bytes; none for other pairs.
#[inline]
fn byte_pair(left: u32, right: u32) -> Option<usize> {
    (left < BYTE_TOKENS && right < BYTE_TOKENS).then_some((left << 8 | right) as usize)
}

impl Learner {
    fn new(words: Words) -> Self {
        Self {
            words,
            lengths: vec![1; BYTE_TOKENS as usize],
            byte_pairs: vec![0; 1 << 16],
            pool: Vec::new(),
            heap: BinaryHeap::new(),
            before: Births::default(),
            after: Births::default(),
        }
    }

    /// Counts every pair of bytes and notes its places.
    fn find_byte_pairs(&mut self, check: &mut dyn FnMut() -> Result<()>) -> Result<()> {
        let slots = &self.words.slots;
        let mut nexts = vec![0u32; 1 << 16];
        let mut weights = self.words.weights.ascend();
        for (before, chunk) in chunks(slots) {
            check()?;
            for (place, pair) in (before as u32 + 1..).zip(chunk.windows(2)) {
                if let Some(number) = byte_pair(pair[0], pair[1]) {
                    nexts[number] += 1;
                    self.byte_pairs[number] += weights.weight(place);
                }
            }
        }
        let mut start = 0;
        for (number, next) in nexts.iter_mut().enumerate() {
            let places = std::mem::replace(next, start);
            let (pair, count) =
                (Reverse((number as u32 >> 8, number as u32 & 0xff)), self.byte_pairs[number]);
            if places > 0 {
                self.heap.push(Candidate { count, pair, start, places });
            }
            start += places;
        }
        self.pool = vec![0; start as usize];
        for (before, chunk) in chunks(slots) {
            check()?;
            for (place, pair) in (before as u32 + 1..).zip(chunk.windows(2)) {
                if let Some(number) = byte_pair(pair[0], pair[1]) {
                    self.pool[nexts[number] as usize] = place;
                    nexts[number] += 1;
                }
            }
        }
        Ok(())
    }

    /// The winner, taken out of the heap; `None` when no two tokens are adjacent any more.
    fn take_best(&mut self, check: &mut dyn FnMut() -> Result<()>) -> Result<Option<Candidate>> {
        while let Some(mut candidate) = self.heap.pop() {
            check()?;
            let claimed = candidate.count;
            candidate.count = self.count(&mut candidate);
            if candidate.count == 0 {
                continue;
            }
            if candidate.count == claimed || self.heap.peek().is_none_or(|next| candidate > *next) {
                return Ok(Some(candidate));
            }
            self.heap.push(candidate);
        }
        Ok(None)
    }

    /// How often a pair occurs; forgets its stale places.
    fn count(&mut self, candidate: &mut Candidate) -> u64 {
        let Reverse((left, right)) = candidate.pair;
        if let Some(number) = byte_pair(left, right) {
            return self.byte_pairs[number];
        }
        let start = candidate.start as usize;
        let places = &mut self.pool[start..start + candidate.places as usize];
        let slots = &self.words.slots;
        let mut weights = self.words.weights.ascend();
        let (mut kept, mut count) = (0, 0);
        for index in 0..places.len() {
            let place = places[index];
            if slots[place as usize - 1] == left && slots[place as usize] == right {
                places[kept] = place;
                kept += 1;
                count += weights.weight(place);
            }
        }
        candidate.places = kept as u32;
        count
    }

    /// Replaces a pair by `token` wherever it stands.
    fn replace(&mut self, best: &Candidate, token: u32, check: &mut dyn FnMut() -> Result<()>) -> Result<()> {
        let Reverse((left, right)) = best.pair;
        let (left_length, right_length) = (self.lengths[left as usize], self.lengths[right as usize]);
        self.lengths.push(left_length + right_length);
        self.before.make_room(token);
        self.after.make_room(token);
        let slots = &mut self.words.slots;
        let mut weights = self.words.weights.ascend();
        for index in 0..best.places as usize {
            if index % PLACES_PER_CHECK == PLACES_PER_CHECK - 1 {
                check()?;
            }
            let place = self.pool[best.start as usize + index];
            let at = place as usize;
            if slots[at - 1] != left || slots[at] != right {
                continue;
            }
            let (first, end) = (at - left_length as usize, at + right_length as usize);
            let weight = weights.weight(place);
            let (prev, next) = (slots[first - 1], slots[end]);
            slots[first] = token;
            slots[end - 1] = token;
            if prev != WALL {
                self.before.add(prev, first as u32, weight);
                if let Some(number) = byte_pair(prev, left) {
                    self.byte_pairs[number] -= weight;
                }
            }
            if next != WALL {
                self.after.add(next, end as u32, weight);
                if let Some(number) = byte_pair(right, next) {
                    self.byte_pairs[number] -= weight;
                }
            }
        }
        let mut take = |count, pair, start, places| {
            self.heap.push(Candidate { count, pair: Reverse(pair), start, places })
        };
        self.before.settle(&mut self.pool, |neighbour| (neighbour, token), &mut take);
        self.after.settle(&mut self.pool, |neighbour| (token, neighbour), &mut take);
        Ok(())
    }
}

/// Parts of `slots` that overlap by one, with the number of slots before each.
fn chunks(slots: &[u32]) -> impl Iterator<Item = (usize, &[u32])> {
    (0..slots.len())
        .step_by(PLACES_PER_CHECK)
        .map(|start| (start, &slots[start..slots.len().min(start + PLACES_PER_CHECK + 1)]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
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
