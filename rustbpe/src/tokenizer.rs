//! The whole: pattern, merges and special tokens together turn text into ids and ids into bytes.

use rustc_hash::FxHashSet;

use crate::encode::Encoder;
use crate::error::{Check, Error, Result};
use crate::file;
use crate::merge::{BYTE_TOKENS, Pair};
use crate::special::{Finder, Specials};
use crate::split::Splitter;
use crate::vocab::Vocab;

/// How many pieces may pass between two questions whether to stop.
const PIECES_PER_CHECK: usize = 4096;

/// An immutable tokenizer, to be shared between threads.
pub struct Tokenizer {
    splitter: Splitter,
    merges: Vec<Pair>,
    encoder: Encoder,
    vocab: Vocab,
    specials: Specials,
    sha256: String,
}

impl Tokenizer {
    /// Puts a tokenizer together; special tokens get the ids after the last merge.
    pub fn new(splitter: Splitter, merges: Vec<Pair>, special_tokens: Vec<String>) -> Result<Self> {
        let vocab = Vocab::new(&merges, &special_tokens)?;
        let mut seen = FxHashSet::default();
        if let Some(index) = merges.iter().position(|pair| !seen.insert(*pair)) {
            return Err(Error::value(format!(
                "merge {index} is given twice; every merge must be given once"
            )));
        }
        let specials = Specials::new(special_tokens, BYTE_TOKENS + merges.len() as u32)?;
        let sha256 = file::sha256(splitter.pattern(), &merges, specials.names())?;
        Ok(Self { encoder: Encoder::new(&merges), splitter, merges, vocab, specials, sha256 })
    }

    /// What cuts texts into pieces.
    pub fn splitter(&self) -> &Splitter {
        &self.splitter
    }

    /// The pattern that cuts texts into pieces.
    pub fn pattern(&self) -> &str {
        self.splitter.pattern()
    }

    /// The merges in the order in which they were learnt; number `i` makes id `256 + i`.
    pub fn merges(&self) -> &[Pair] {
        &self.merges
    }

    /// The bytes of each id.
    pub fn vocab(&self) -> &Vocab {
        &self.vocab
    }

    /// The special tokens.
    pub fn specials(&self) -> &Specials {
        &self.specials
    }

    /// The identity of this tokenizer: the hash of its canonical content, in hex.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// The ids of `text`. What `special` finds becomes one id; the text between is split on its own.
    pub fn encode(&self, text: &str, special: Option<&Finder>, check: &mut Check<'_>) -> Result<Vec<u32>> {
        self.encode_with(&self.splitter, text, special, check)
    }

    /// `encode` with a copy of the splitter, which keeps threads out of each other's way.
    pub fn encode_with(
        &self,
        splitter: &Splitter,
        text: &str,
        special: Option<&Finder>,
        check: &mut Check<'_>,
    ) -> Result<Vec<u32>> {
        let mut ids = Vec::new();
        let mut done = 0;
        for found in special.into_iter().flat_map(|finder| finder.in_text(text)) {
            self.encode_ordinary(splitter, &text[done..found.start], &mut ids, check)?;
            ids.push(found.id);
            done = found.end;
        }
        self.encode_ordinary(splitter, &text[done..], &mut ids, check)?;
        Ok(ids)
    }

    fn encode_ordinary(
        &self,
        splitter: &Splitter,
        text: &str,
        ids: &mut Vec<u32>,
        check: &mut Check<'_>,
    ) -> Result<()> {
        let mut until_check = PIECES_PER_CHECK;
        splitter.for_each(text, |piece| {
            self.encoder.encode_piece(piece.as_bytes(), ids);
            until_check -= 1;
            if until_check == 0 {
                until_check = PIECES_PER_CHECK;
                check()?;
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::split::SPLIT_PATTERN;

    #[test]
    fn special_tokens_take_the_last_ids() {
        let splitter = Splitter::new(SPLIT_PATTERN).unwrap();
        let merges = vec![(104, 101), (256, 108), (257, 108)];
        let tokenizer = Tokenizer::new(splitter, merges, vec!["<end>".into()]).unwrap();
        let entries: Vec<(String, u32)> =
            tokenizer.specials().entries().map(|(n, id)| (n.to_owned(), id)).collect();
        assert_eq!(entries, [("<end>".to_owned(), 259)]);
    }
}
