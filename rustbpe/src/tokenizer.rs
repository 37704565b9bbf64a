//! The whole: pattern, merges and special tokens together turn text into ids and ids into bytes.

use rustc_hash::FxHashSet;

use crate::encode::Encoder;
use crate::error::{Check, Error, Result};
use crate::file;
use crate::merge::{BYTE_TOKENS, Pair};
use crate::special::{Rules, Specials};
use crate::split::Splitter;
use crate::vocab::Vocab;
use crate::worker::{Id, Worker, Workers, room_for_ids};

/// An immutable tokenizer, to be shared between threads.
pub struct Tokenizer {
    splitter: Splitter,
    merges: Vec<Pair>,
    encoder: Encoder,
    vocab: Vocab,
    specials: Specials,
    sha256: String,
    workers: Workers,
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
        let encoder = Encoder::new(&merges);
        Ok(Self { splitter, merges, encoder, vocab, specials, sha256, workers: Workers::default() })
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

    /// The ids of `text`: what `rules` allow becomes one id; the text between is split on its own.
    pub fn encode(&self, text: &str, rules: Rules<'_>, check: &mut Check<'_>) -> Result<Vec<u32>> {
        let mut ids = room_for_ids(text.len());
        self.with_worker(|worker| self.encode_into(worker, text, rules, &mut ids, check))?;
        Ok(ids)
    }

    /// Does `work` with a worker for `encode_into` of this tokenizer.
    pub fn with_worker<R>(&self, work: impl FnOnce(&mut Worker) -> R) -> R {
        self.workers.with(&self.splitter, work)
    }

    /// Appends the ids of `text`, all of which `T` must hold, to `ids`; after an error those are of no use.
    pub fn encode_into<T: Id>(
        &self,
        worker: &mut Worker,
        text: &str,
        rules: Rules<'_>,
        ids: &mut Vec<T>,
        check: &mut Check<'_>,
    ) -> Result<()> {
        rules.check(text)?;
        let mut done = 0;
        for found in rules.allowed.into_iter().flat_map(|finder| finder.in_text(text)) {
            worker.encode(&self.encoder, &text[done..found.start], ids, check)?;
            ids.push(T::from_token(found.id));
            done = found.end;
        }
        worker.encode(&self.encoder, &text[done..], ids, check)
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
