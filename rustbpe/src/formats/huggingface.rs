//! Hugging Face's `tokenizer.json`: byte-level BPE with our pattern, for the library `tokenizers`.

use serde::ser::{Serialize, Serializer};
use serde_json::{Value, json};

use super::ordinary_tokens;
use crate::error::{Error, Result};
use crate::tokenizer::Tokenizer;

/// The file of a tokenizer.
pub fn write(tokenizer: &Tokenizer) -> Result<Vec<u8>> {
    let letters = byte_letters();
    let written = |token: &[u8]| -> String { token.iter().map(|&byte| letters[byte as usize]).collect() };
    let tokens: Vec<String> = ordinary_tokens(tokenizer)?.into_iter().map(written).collect();
    let merges: Vec<[&str; 2]> = tokenizer
        .merges()
        .iter()
        .map(|&(left, right)| [tokens[left as usize].as_str(), tokens[right as usize].as_str()])
        .collect();
    let byte_level =
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
    let split = json!({
        "type": "Split",
        "pattern": {"Regex": tokenizer.pattern()},
        "behavior": "Isolated",
        "invert": false,
    });
    let file = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": tokenizer.specials().entries().map(added_token).collect::<Vec<Value>>(),
        "normalizer": null,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, byte_level]},
        "post_processor": null,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": null,
            "unk_token": null,
            "continuing_subword_prefix": null,
            "end_of_word_suffix": null,
            "fuse_unk": false,
            "byte_fallback": false,
            "ignore_merges": false,
            "vocab": Ids(&tokens),
            "merges": merges,
        },
    });
    let mut bytes = serde_json::to_vec_pretty(&file)
        .map_err(|error| Error::value(format!("the tokenizer cannot be written: {error}")))?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Each token with its id.
struct Ids<'a>(&'a [String]);

impl Serialize for Ids<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().zip(0u32..))
    }
}

fn added_token((name, id): (&str, u32)) -> Value {
    json!({
        "id": id,
        "content": name,
        "single_word": false,
        "lstrip": false,
        "rstrip": false,
        "normalized": false,
        "special": true,
    })
}

/// The printable character that stands for each byte, as GPT-2 had it: most stand for themselves, the others
/// follow U+00FF in their order.
fn byte_letters() -> Vec<char> {
    let mut others = '\u{100}'..;
    (0..=u8::MAX)
        .map(|byte| match byte {
            0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF => char::from(byte),
            _ => others.next().unwrap_or_default(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_a_letter_of_its_own() {
        let letters = byte_letters();
        assert_eq!(letters[b'a' as usize], 'a');
        assert_eq!(letters[b' ' as usize], '\u{120}');
        assert_eq!(letters[0xAD], '\u{143}');
        let distinct: std::collections::HashSet<char> = letters.into_iter().collect();
        assert_eq!(distinct.len(), 256);
    }
}
