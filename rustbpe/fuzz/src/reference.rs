//! Byte-pair encoding as it is defined, slow and plain.

use std::collections::BTreeMap;

use crate::merge::Pair;

/// `tokens` with `pair` replaced by `token`, from left to right.
pub fn replaced(tokens: &[u32], pair: Pair, token: u32) -> Vec<u32> {
    let mut out: Vec<u32> = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if tokens[at..].starts_with(&[pair.0, pair.1]) {
            out.push(token);
            at += 2;
        } else {
            out.push(tokens[at]);
            at += 1;
        }
    }
    out
}

/// Up to `want` merges of pieces, of which some may be equal.
pub fn learn(pieces: &[&str], want: usize) -> Vec<Pair> {
    let mut words: Vec<Vec<u32>> = pieces.iter().map(|piece| bytes(piece)).collect();
    let mut merges = Vec::new();
    while merges.len() < want {
        let mut counts: BTreeMap<Pair, u64> = BTreeMap::new();
        for pair in words.iter().flat_map(|word| word.windows(2)) {
            *counts.entry((pair[0], pair[1])).or_default() += 1;
        }
        // The first of the highest is the smallest pair: the map is in order.
        let Some(most) = counts.values().copied().max() else { break };
        let Some((&best, _)) = counts.iter().find(|&(_, &count)| count == most) else { break };
        let token = 256 + merges.len() as u32;
        words = words.iter().map(|word| replaced(word, best, token)).collect();
        merges.push(best);
    }
    merges
}

/// The tokens of one piece: every merge in turn.
pub fn encode(piece: &str, merges: &[Pair]) -> Vec<u32> {
    (256..).zip(merges).fold(bytes(piece), |tokens, (token, pair)| replaced(&tokens, *pair, token))
}

fn bytes(piece: &str) -> Vec<u32> {
    piece.bytes().map(u32::from).collect()
}

/// Text of random bytes: each selects a character that the pattern treats in its own way, or stands for itself.
pub fn text(data: &[u8]) -> String {
    const ATOMS: [&str; 64] = [
        "a",
        "b",
        "c",
        "ab",
        "A",
        "é",
        "ß",
        "ſ",
        "\u{212a}",
        "字",
        "न",
        "\u{93f}",
        "ا",
        "ʰ",
        "ª",
        "0",
        "1",
        "12",
        "٣",
        "²",
        "Ⅷ",
        "①",
        "'",
        "'s",
        "'S",
        "'t",
        "'ll",
        "'LL",
        "'ve",
        "'re",
        "'m",
        "'D",
        " ",
        "  ",
        "\t",
        "\n",
        "\r",
        "\r\n",
        "\u{b}",
        "\u{c}",
        "\u{1c}",
        "\u{85}",
        "\u{a0}",
        "\u{1680}",
        "\u{180e}",
        "\u{2003}",
        "\u{2028}",
        "\u{200b}",
        "\u{3000}",
        "\u{feff}",
        "!",
        "?",
        "_",
        "=",
        "\0",
        "\u{7f}",
        "\u{301}",
        "\u{200d}",
        "\u{fe0f}",
        "🙂",
        "🇩",
        "\u{e0001}",
        "\u{10ffff}",
        "\u{378}",
    ];
    if data.first().is_some_and(|first| first & 1 == 0) {
        return String::from_utf8_lossy(&data[1..]).into_owned();
    }
    let mut text = String::new();
    for &byte in data.iter().skip(1) {
        let atom = ATOMS[usize::from(byte) % ATOMS.len()];
        // A run now and then: what is linear in theory is quadratic in a mistake.
        let times = if byte >= 250 { 70 } else { 1 + usize::from(byte) / 128 };
        (0..times).for_each(|_| text.push_str(atom));
    }
    text
}
