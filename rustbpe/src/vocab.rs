//! The bytes of every token: bytes first, then merges, then special tokens.

use std::fmt::Display;
use std::ops::Range;

use crate::error::{Error, Result};
use crate::merge::{BYTE_TOKENS, Pair};

/// All tokens together may have this many bytes. Merges that double each other would fill any memory.
const MAX_TOTAL_BYTES: usize = 1 << 30;

/// The bytes of each id, in one block.
pub struct Vocab {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Vocab {
    /// Expands `merges`, each of which may only use ids that were made before it, and adds `special` at the
    /// end.
    pub fn new(merges: &[Pair], special: &[String]) -> Result<Self> {
        let size = BYTE_TOKENS as usize + merges.len() + special.len();
        if size >= u32::MAX as usize {
            return Err(Error::value(format!(
                "the vocabulary has {size} tokens; it must have less than 2^32 - 1"
            )));
        }
        let mut vocab = Self { bytes: Vec::new(), ends: Vec::new() };
        for byte in 0..=u8::MAX {
            vocab.push(&[byte])?;
        }
        for (index, &(left, right)) in merges.iter().enumerate() {
            let (Some(head), Some(tail)) = (vocab.range(left), vocab.range(right)) else {
                return Err(Error::value(format!(
                    "merge {index} joins {left} and {right}; both must be below {}",
                    vocab.len()
                )));
            };
            vocab.push_joined(head, tail)?;
        }
        for name in special {
            vocab.push(name.as_bytes())?;
        }
        Ok(vocab)
    }

    /// The number of ids.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Never: the 256 bytes are always there.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The bytes of `id`, or an error that says which ids there are.
    pub fn token(&self, id: i64) -> Result<&[u8]> {
        let range = u32::try_from(id).ok().and_then(|id| self.range(id));
        range.map(|range| &self.bytes[range]).ok_or_else(|| self.unknown(id))
    }

    /// The error about an id that is none, of whatever type.
    pub fn unknown(&self, id: impl Display) -> Error {
        Error::value(format!("token id {id} is unknown; ids must be in [0, {})", self.len()))
    }

    fn range(&self, id: u32) -> Option<Range<usize>> {
        let id = id as usize;
        let end = *self.ends.get(id)?;
        let start = if id == 0 { 0 } else { self.ends[id - 1] };
        Some(start..end)
    }

    fn push(&mut self, bytes: &[u8]) -> Result<()> {
        self.check_room(bytes.len())?;
        self.bytes.extend_from_slice(bytes);
        self.ends.push(self.bytes.len());
        Ok(())
    }

    fn push_joined(&mut self, head: Range<usize>, tail: Range<usize>) -> Result<()> {
        self.check_room(head.len() + tail.len())?;
        self.bytes.extend_from_within(head);
        self.bytes.extend_from_within(tail);
        self.ends.push(self.bytes.len());
        Ok(())
    }

    fn check_room(&self, length: usize) -> Result<()> {
        if self.bytes.len() + length > MAX_TOTAL_BYTES {
            return Err(Error::value("the tokens have more than 1 GiB together; they must have less"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_merge_has_the_bytes_of_its_parts() {
        let vocab = Vocab::new(&[(97, 98), (256, 99)], &["<end>".into()]).unwrap();
        assert_eq!(vocab.token(257).unwrap(), b"abc");
        assert_eq!(vocab.token(258).unwrap(), b"<end>");
    }

    #[test]
    fn an_unknown_id_is_told_the_range() {
        let vocab = Vocab::new(&[], &[]).unwrap();
        for id in [-1, 256, i64::MAX] {
            assert!(vocab.token(id).unwrap_err().to_string().contains("[0, 256)"));
        }
    }

    #[test]
    fn a_merge_of_what_is_not_made_yet_is_refused() {
        assert!(Vocab::new(&[(256, 97)], &[]).is_err());
    }

    #[test]
    fn merges_that_double_without_end_are_refused() {
        let doubling: Vec<Pair> = std::iter::once((97, 97)).chain((256..400).map(|id| (id, id))).collect();
        assert!(Vocab::new(&doubling, &[]).is_err());
    }
}
