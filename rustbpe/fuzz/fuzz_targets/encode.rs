//! Any merges and any text: ids as the definition says, which decode to the text.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use rustbpe_fuzz::merge::Pair;
use rustbpe_fuzz::reference::{self, text};
use rustbpe_fuzz::special::Rules;
use rustbpe_fuzz::split::{SPLIT_PATTERN, Splitter};
use rustbpe_fuzz::tokenizer::Tokenizer;

static SPLITTERS: LazyLock<[Splitter; 2]> =
    LazyLock::new(|| [SPLIT_PATTERN, r"(?s:.+)"].map(|pattern| Splitter::new(pattern).unwrap()));

/// Merges of what there is: mostly of bytes and tokens that the texts have too.
fn merges(data: &[u8]) -> Vec<Pair> {
    let mut made: Vec<Pair> = Vec::new();
    for pair in data.chunks_exact(2) {
        let half = |byte: u8| match byte {
            0..=127 => u32::from(b"abc' \n1\xc3\xa9\xf0"[usize::from(byte) % 10]),
            _ if made.is_empty() => u32::from(byte),
            _ => 256 + u32::from(byte) % made.len() as u32,
        };
        let pair = (half(pair[0]), half(pair[1]));
        if !made.contains(&pair) {
            made.push(pair);
        }
    }
    made
}

fuzz_target!(|data: &[u8]| {
    let [pattern, count, rest @ ..] = data else { return };
    let (learnt, rest) = rest.split_at(rest.len().min(usize::from(*count) % 64));
    let splitter = SPLITTERS[usize::from(*pattern) % SPLITTERS.len()].clone();
    let merges = merges(learnt);
    let Ok(tokenizer) = Tokenizer::new(splitter, merges.clone(), vec!["<end>".into()]) else { return };
    let text = text(rest);
    let mut expected = Vec::new();
    tokenizer
        .splitter()
        .for_each(&text, |piece| {
            expected.extend(reference::encode(piece, &merges));
            Ok(())
        })
        .unwrap();
    // Twice: the second time from whatever the first one kept.
    for _ in 0..2 {
        let ids = tokenizer.encode(&text, Rules::default(), &mut || Ok(())).unwrap();
        assert_eq!(ids, expected);
        let bytes: Vec<u8> =
            ids.iter().flat_map(|&id| tokenizer.vocab().token(i64::from(id)).unwrap().to_vec()).collect();
        assert_eq!(bytes, text.as_bytes());
    }
});
