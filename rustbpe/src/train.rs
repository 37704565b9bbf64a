//! Training from start to end: a plan is checked before any text is read, and says what its text was not enough for.

use crate::count::PieceCounts;
use crate::error::{Error, Result};
use crate::merge::{self, BYTE_TOKENS, Watch};
use crate::special::Specials;
use crate::split::Splitter;
use crate::tokenizer::Tokenizer;

/// What a training is to make.
pub struct Plan {
    splitter: Splitter,
    special_tokens: Vec<String>,
    vocab_size: usize,
    merges: usize,
}

impl Plan {
    /// Checks a training's arguments before any text is read.
    pub fn new(pattern: &str, special_tokens: Vec<String>, vocab_size: usize) -> Result<Self> {
        Specials::new(special_tokens.clone(), BYTE_TOKENS)?;
        let least = BYTE_TOKENS as usize + special_tokens.len();
        let most = u32::MAX as usize - 1;
        if !(least..=most).contains(&vocab_size) {
            return Err(Error::value(format!(
                "vocab_size is {vocab_size}; it must be in [{least}, {most}]: \
                 256 bytes, merges, and {} special tokens",
                special_tokens.len()
            )));
        }
        let splitter = Splitter::new(pattern)?;
        Ok(Self { splitter, special_tokens, vocab_size, merges: vocab_size - least })
    }

    /// What cuts the texts into pieces.
    pub fn splitter(&self) -> &Splitter {
        &self.splitter
    }

    /// How many merges are wanted.
    pub fn merges(&self) -> usize {
        self.merges
    }

    /// Learns exactly as many merges from `counts` as are wanted, or says how many tokens could be made.
    pub fn learn(self, counts: PieceCounts, watch: &mut Watch<'_>) -> Result<Tokenizer> {
        let merges = merge::learn(counts, self.merges, watch)?;
        if merges.len() < self.merges {
            let wanted = self.vocab_size;
            let possible = wanted - self.merges + merges.len();
            return Err(Error::value(format!(
                "vocab_size is {wanted}, but this text is enough for {possible} tokens only: \
                 give more text or a vocab_size of at most {possible}"
            )));
        }
        Tokenizer::new(self.splitter, merges, self.special_tokens)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::split::SPLIT_PATTERN;

    fn train(text: &str, vocab_size: usize) -> Result<Tokenizer> {
        let plan = Plan::new(SPLIT_PATTERN, vec!["<end>".into()], vocab_size)?;
        let mut counts = PieceCounts::default();
        counts.add(plan.splitter(), text, &mut || Ok(()))?;
        plan.learn(counts, &mut |_| Ok(()))
    }

    #[test]
    fn a_tokenizer_has_exactly_the_size_that_was_asked_for() {
        let tokenizer = train("hello hello hello", 260).unwrap();
        assert_eq!(tokenizer.vocab().len(), 260);
        assert_eq!(tokenizer.merges().len(), 3);
    }

    #[test]
    fn too_little_text_says_how_many_tokens_it_makes() {
        let message = train("abc", 1000).err().unwrap().to_string();
        assert!(message.contains("259"), "{message}");
    }
}
