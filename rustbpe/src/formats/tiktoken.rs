//! tiktoken's mergeable ranks: a token a line, in base64, and its rank, which is its id.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustc_hash::FxHashSet;

use super::ordinary_tokens;
use crate::encode::Encoder;
use crate::error::{Check, Error, Result};
use crate::merge::{BYTE_TOKENS, Pair};
use crate::tokenizer::Tokenizer;

/// The lines of a tokenizer; its pattern and its special tokens have no place in them.
pub fn write(tokenizer: &Tokenizer) -> Result<Vec<u8>> {
    let mut lines = String::new();
    for (rank, token) in ordinary_tokens(tokenizer)?.into_iter().enumerate() {
        STANDARD.encode_string(token, &mut lines);
        lines.push_str(&format!(" {rank}\n"));
    }
    Ok(lines.into_bytes())
}

/// The tokens in a file's lines, with their ranks.
pub fn read(bytes: &[u8]) -> Result<Vec<(Vec<u8>, u64)>> {
    let mut ranks = Vec::new();
    for (line, number) in bytes.split(|&byte| byte == b'\n').zip(1..) {
        let line = line.trim_ascii();
        if !line.is_empty() {
            ranks.push(parse(line).ok_or_else(|| {
                Error::value(format!(
                    "line {number} is no token and its rank; it must be a token in base64, a space and a number"
                ))
            })?);
        }
    }
    Ok(ranks)
}

fn parse(line: &[u8]) -> Option<(Vec<u8>, u64)> {
    let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let (token, rank) = (words.next()?, words.next()?);
    let rank = std::str::from_utf8(rank).ok()?.parse().ok()?;
    if words.next().is_some() { None } else { Some((STANDARD.decode(token).ok()?, rank)) }
}

/// The merges that make these tokens in the order of their ranks.
///
/// tiktoken merges any two adjacent tokens that together are a token, the lowest rank first. Where every
/// token, taken alone, is merged by the ranks below its own to exactly two tokens, those two are the only ones
/// that ever come together as that token: so these merges encode every text as tiktoken would. Other ranks are
/// refused.
pub fn merges(ranks: Vec<(Vec<u8>, u64)>, check: &mut Check<'_>) -> Result<Vec<Pair>> {
    let tokens = in_order(ranks)?;
    let bytes = tokens.iter().take(BYTE_TOKENS as usize);
    if !bytes.map(Vec::as_slice).eq((0..=u8::MAX).map(|byte| [byte])) {
        return Err(Error::value(
            "the first 256 tokens are others than the bytes in their order; they must be those, \
             since here a byte is its own id: such ranks cannot be read",
        ));
    }
    let mut encoder = Encoder::new(&[]);
    let mut merges = Vec::new();
    let mut parts = Vec::new();
    for token in &tokens[BYTE_TOKENS as usize..] {
        check()?;
        parts.clear();
        encoder.encode_piece(token, &mut parts, check)?;
        let [left, right] = parts[..] else {
            return Err(Error::value(format!(
                "token b\"{}\" of rank {} is made of {} of lower rank; it must be made of two, \
                 as in all ranks that a training gave",
                token.escape_ascii(),
                BYTE_TOKENS as usize + merges.len(),
                parts.len()
            )));
        };
        encoder.add((left, right));
        merges.push((left, right));
    }
    Ok(merges)
}

/// The tokens by their ranks, which must be 0, 1, 2 and so on, each of another token.
fn in_order(mut ranks: Vec<(Vec<u8>, u64)>) -> Result<Vec<Vec<u8>>> {
    ranks.sort_unstable_by_key(|(_, rank)| *rank);
    let mut seen = FxHashSet::default();
    for ((token, rank), expected) in ranks.iter().zip(0..) {
        if *rank != expected {
            return Err(Error::value(format!(
                "the ranks have {rank} where {expected} is due; they must be 0, 1, 2, ... without gaps, each once"
            )));
        }
        if !seen.insert(token) {
            return Err(Error::value(format!(
                "token b\"{}\" is given twice; every token must be given once",
                token.escape_ascii()
            )));
        }
    }
    Ok(ranks.into_iter().map(|(token, _)| token).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::split::{SPLIT_PATTERN, Splitter};

    fn ranks(tokens: &[&str]) -> Vec<(Vec<u8>, u64)> {
        let bytes = (0..=u8::MAX).map(|byte| vec![byte]);
        bytes.chain(tokens.iter().map(|token| token.as_bytes().to_vec())).zip(0..).collect()
    }

    fn refusal(ranks: Vec<(Vec<u8>, u64)>) -> String {
        merges(ranks, &mut || Ok(())).unwrap_err().to_string()
    }

    #[test]
    fn what_is_written_is_read() {
        let splitter = Splitter::new(SPLIT_PATTERN).unwrap();
        let given = vec![(97, 98), (256, 256), (99, 99), (257, 258), (0, 255)];
        let tokenizer = Tokenizer::new(splitter, given.clone(), vec!["<end>".into()]).unwrap();
        let read = read(&write(&tokenizer).unwrap()).unwrap();
        assert_eq!(merges(read, &mut || Ok(())).unwrap(), given);
    }

    #[test]
    fn what_no_training_gave_is_refused() {
        assert!(refusal(ranks(&["abc"])).contains(r#"b"abc" of rank 256 is made of 3"#));
        assert!(refusal(ranks(&["ab", "ab"])).contains("given twice"));
        assert!(refusal(ranks(&[""])).contains("is made of 0"));
        assert!(refusal(ranks(&[])[1..].to_vec()).contains("have 1 where 0 is due"));
        assert!(refusal(ranks(&[])[..255].to_vec()).contains("the bytes in their order"));
        assert!(refusal(Vec::new()).contains("the bytes in their order"));
    }

    #[test]
    fn lines_that_are_none_are_named() {
        for bad in ["YQ==", "YQ== -1", "YQ== 1 2", "Y! 1", "YQ== 1.0", "\u{e9} 1"] {
            let message = read(format!("YQ== 0\n\n{bad}\n").as_bytes()).unwrap_err().to_string();
            assert!(message.contains("line 3 is no token"), "{message}");
        }
        assert_eq!(read(b"YQ== 0\r\n  Yg== 1  ").unwrap(), [(vec![b'a'], 0), (vec![b'b'], 1)]);
    }
}
