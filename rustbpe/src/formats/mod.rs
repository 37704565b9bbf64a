//! Tokenizers as other libraries write them.
//!
//! Those know a token by its bytes, so two tokens of equal bytes cannot be written. Training makes none such.

pub mod huggingface;
pub mod tiktoken;

use rustc_hash::FxHashMap;

use crate::error::{Error, Result};
use crate::merge::BYTE_TOKENS;
use crate::tokenizer::Tokenizer;

/// The bytes of each token that is no special one, in the order of their ids.
fn ordinary_tokens(tokenizer: &Tokenizer) -> Result<Vec<&[u8]>> {
    let count = i64::from(BYTE_TOKENS) + tokenizer.merges().len() as i64;
    let mut ids = FxHashMap::default();
    let mut tokens = Vec::new();
    for id in 0..count {
        let token = tokenizer.vocab().token(id)?;
        if let Some(other) = ids.insert(token, id) {
            return Err(Error::value(format!(
                "tokens {other} and {id} have the same bytes; this format needs different ones: use save"
            )));
        }
        tokens.push(token);
    }
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::split::{SPLIT_PATTERN, Splitter};

    #[test]
    fn tokens_of_equal_bytes_are_refused() {
        let splitter = Splitter::new(SPLIT_PATTERN).unwrap();
        // a b + c and a + b c.
        let merges = vec![(97, 98), (98, 99), (256, 99), (97, 257)];
        let tokenizer = Tokenizer::new(splitter, merges, Vec::new()).unwrap();
        let message = ordinary_tokens(&tokenizer).unwrap_err().to_string();
        assert!(message.contains("tokens 258 and 259"), "{message}");
    }
}
