//! Merges the bytes of one piece into tokens, exactly as training would have.

mod long;
mod pairs;
mod short;

use crate::error::{Check, Result};
use crate::merge::Pair;

use pairs::Pairs;

/// "These two do not merge", and "there is no such node".
const NONE: u32 = u32::MAX;

/// Turns pieces into tokens. It never changes; threads share it.
pub struct Encoder {
    pairs: Pairs,
}

impl Encoder {
    /// Takes the merges in the order in which they were learnt.
    pub fn new(merges: &[Pair]) -> Self {
        Self { pairs: Pairs::new(merges) }
    }

    /// Takes one merge more than before, the next in order.
    pub fn add(&mut self, pair: Pair) {
        self.pairs.add(pair);
    }

    /// Appends the tokens of `piece` to `out`; `check` is asked during a long one.
    ///
    /// Of all adjacent pairs the one of lowest rank merges, among equals the leftmost, until none is left.
    /// That is the same as applying the merges one after the other, since a token is always made after its
    /// parts.
    ///
    /// A short piece is scanned for the lowest rank after each merge, which costs n^2. A long one takes time
    /// linear in its bytes but for a sort; where it fails, `out` is as it was.
    pub fn encode_piece(&self, piece: &[u8], out: &mut Vec<u32>, check: &mut Check<'_>) -> Result<()> {
        match piece.len() {
            0 => {}
            1 => out.push(u32::from(piece[0])),
            2..=short::MOST_BYTES => short::scan(&self.pairs, piece, out),
            _ => long::sweep(&self.pairs, piece, out, check)?,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: u32 = 97;
    const B: u32 = 98;

    fn encode(merges: &[Pair], piece: &[u8]) -> Vec<u32> {
        let mut out = vec![7];
        Encoder::new(merges).encode_piece(piece, &mut out, &mut || Ok(())).unwrap();
        out.split_off(1)
    }

    /// What the merges say, one after the other.
    fn apply(merges: &[Pair], piece: &[u8]) -> Vec<u32> {
        let mut tokens: Vec<u32> = piece.iter().map(|&byte| u32::from(byte)).collect();
        for (&pair, made) in merges.iter().zip(256..) {
            let mut at = 0;
            while at + 1 < tokens.len() {
                if (tokens[at], tokens[at + 1]) == pair {
                    tokens.splice(at..at + 2, [made]);
                }
                at += 1;
            }
        }
        tokens
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
    fn every_length_gives_what_the_merges_say() {
        let merges = [(A, A), (A, B), (256, A), (257, 256), (B, B), (256, 256), (258, 257), (257, 257)];
        let mut state = 1u64;
        for length in 0..400 {
            let piece: Vec<u8> = (0..length % 90)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    if state >> 40 & 3 == 0 { b'b' } else { b'a' }
                })
                .collect();
            let expected = apply(&merges, &piece);
            assert_eq!(encode(&merges, &piece), expected, "{piece:?}");
            let mut swept = Vec::new();
            long::sweep(&Pairs::new(&merges), &piece, &mut swept, &mut || Ok(())).unwrap();
            assert_eq!(swept, expected, "{piece:?}");
        }
    }

    /// Numbers that only look random.
    struct Numbers(u64);

    impl Numbers {
        fn below(&mut self, bound: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) as usize % bound
        }

        fn bytes(&mut self, length: usize, letters: usize) -> Vec<u8> {
            (0..length).map(|_| b'a' + self.below(letters) as u8).collect()
        }

        /// Any two tokens, whether or not they ever meet, but no two of them twice.
        fn merges(&mut self, count: usize, letters: usize) -> Vec<Pair> {
            let mut merges: Vec<Pair> = Vec::new();
            for _ in 0..count {
                let tokens = letters + merges.len();
                // The first and the last tokens more often than those between.
                let mut token = || match (self.below(tokens), self.below(3)) {
                    (number, 0) => number,
                    (number, 1) => number % (letters + 2).min(tokens),
                    (number, _) => tokens - 1 - number % 5.min(tokens),
                };
                let [left, right] = [token(), token()].map(|number| {
                    if number < letters { A + number as u32 } else { (256 + number - letters) as u32 }
                });
                if !merges.contains(&(left, right)) {
                    merges.push((left, right));
                }
            }
            merges
        }
    }

    #[test]
    fn any_merges_give_what_they_say_whether_they_came_at_once_or_one_by_one() {
        let mut numbers = Numbers(1);
        for round in 0..600 {
            let letters = 1 + round % 4;
            let count = 1 + numbers.below(if round % 5 == 0 { 300 } else { 40 });
            let merges = numbers.merges(count, letters);
            let at_once = Encoder::new(&merges);
            let (early, late) = merges.split_at(numbers.below(merges.len() + 1));
            let mut one_by_one = Encoder::new(early);
            late.iter().for_each(|&pair| one_by_one.add(pair));
            for length in 1..=70 {
                let piece = numbers.bytes(length, letters);
                let expected = apply(&merges, &piece);
                for encoder in [&at_once, &one_by_one] {
                    let mut out = Vec::new();
                    encoder.encode_piece(&piece, &mut out, &mut || Ok(())).unwrap();
                    assert_eq!(out, expected, "{merges:?} {piece:?}");
                }
            }
        }
    }

    #[test]
    fn a_token_may_have_any_number_of_partners() {
        let bytes = (0..256).map(|byte| (256, byte));
        let tokens = (0..20_000).map(|number| (257 + number, 256));
        let merges: Vec<Pair> = std::iter::once((A, B)).chain(bytes).chain(tokens).collect();
        let mut one_by_one = Encoder::new(&[]);
        merges.iter().for_each(|&pair| one_by_one.add(pair));
        for encoder in [Encoder::new(&merges), one_by_one] {
            for (&(left, right), made) in merges.iter().zip(256..) {
                assert_eq!(encoder.pairs.made_by(left, right), made);
            }
            assert_eq!(encoder.pairs.made_by(256, 256), NONE);
        }
    }

    #[test]
    fn merges_that_come_one_by_one_are_the_same_merges() {
        let merges: Vec<Pair> = (0..2000).map(|i| (i % 7 + 97, i / 7)).collect();
        let mut encoder = Encoder::new(&[]);
        merges.iter().for_each(|&pair| encoder.add(pair));
        for (&(left, right), made) in merges.iter().zip(256..) {
            assert_eq!(encoder.pairs.made_by(left, right), made);
            assert_eq!(encoder.pairs.made_by(left + 7, right), NONE);
        }
    }

    #[test]
    fn a_long_piece_takes_no_quadratic_time() {
        let merges = [(A, A), (256, 256), (257, 257), (258, 258)];
        assert_eq!(encode(&merges, &b"a".repeat(1_600_003)).len(), 100_002);
    }

    #[test]
    fn a_long_piece_asks_whether_to_stop_from_its_first_byte_on() {
        let piece = b"ab".repeat(1_000_000);
        let mut asked = 0;
        let mut check = || {
            asked += 1;
            Ok(())
        };
        Encoder::new(&[(A, B)]).encode_piece(&piece, &mut Vec::new(), &mut check).unwrap();
        assert!(asked > 3 * 15, "{asked}");
    }

    #[test]
    fn a_long_piece_can_be_stopped() {
        let piece = b"a".repeat(1_000_000);
        let mut out = vec![7];
        let stopped = Encoder::new(&[(A, A)])
            .encode_piece(&piece, &mut out, &mut || Err(crate::error::Error::Stopped("enough".into())));
        assert!(stopped.is_err());
        assert_eq!(out, [7]);
    }
}
