//! What a thread needs of its own to encode: a splitter, a cache and room for the pieces at hand.

use std::sync::Mutex;
use std::thread::available_parallelism;

use crate::cache::{Cache, Key, SHORT_BYTES, SHORT_TOKENS, long_hash};
use crate::encode::Encoder;
use crate::error::{Check, Result};
use crate::memory::spacious;
use crate::split::{GROUP_ROOM, Splitter};
use crate::threads::lock;

/// How many groups may pass between two questions whether to stop.
const GROUPS_PER_CHECK: usize = 64;

/// What ids are written as.
pub trait Id: Copy + Default + Send + Sync + 'static {
    /// `token`, which the caller knows to fit.
    fn from_token(token: u32) -> Self;
}

impl Id for u16 {
    fn from_token(token: u32) -> Self {
        token as Self
    }
}

impl Id for u32 {
    fn from_token(token: u32) -> Self {
        token
    }
}

impl Id for i64 {
    fn from_token(token: u32) -> Self {
        Self::from(token)
    }
}

/// Of ordinary text a token has more bytes than this.
const TOKEN_BYTES: usize = 3;

/// How many ids so many bytes of text are expected to have; room for them grows if they are more.
pub fn expected_ids(bytes: usize) -> usize {
    bytes / TOKEN_BYTES
}

/// Where the ids of so many bytes of text are to be put.
pub fn room_for_ids<T: Id>(bytes: usize) -> Vec<T> {
    spacious(expected_ids(bytes))
}

/// What a piece is looked up by.
#[derive(Clone, Copy, Default)]
struct Piece {
    /// That of no piece for one that is not short.
    key: Key,
    hash: usize,
}

/// Encodes texts, one after the other.
pub struct Worker {
    splitter: Splitter,
    cache: Cache,
    /// The pieces at hand.
    group: Box<[Piece; GROUP_ROOM]>,
    /// The tokens of the piece that is merged.
    merged: Vec<u32>,
}

impl Worker {
    fn new(splitter: &Splitter) -> Self {
        let group = Box::new([Piece::default(); _]);
        Self { splitter: splitter.clone(), cache: Cache::default(), group, merged: Vec::new() }
    }

    /// Appends the tokens of `text` to `out`; after an error `out` is of no use.
    pub fn encode<T: Id>(
        &mut self,
        encoder: &Encoder,
        text: &str,
        out: &mut Vec<T>,
        check: &mut Check<'_>,
    ) -> Result<()> {
        let Self { splitter, cache, group, merged } = self;
        let tokens = [T::default(); _];
        let mut lookup = Lookup { cache, encoder, text: text.as_bytes(), merged, tokens, out };
        let mut ends = [0; GROUP_ROOM];
        let mut until_check = GROUPS_PER_CHECK;
        let mut start = 0;
        while start < text.len() {
            let ends = splitter.group(text, start, &mut ends)?;
            lookup.prepare(start, ends, group);
            until_check -= 1;
            if until_check == 0 {
                until_check = GROUPS_PER_CHECK;
                check()?;
            }
            lookup.append(start, ends, group, check)?;
            start = ends[ends.len() - 1];
        }
        Ok(())
    }
}

/// Pieces of one text on their way to tokens.
struct Lookup<'a, T> {
    cache: &'a mut Cache,
    encoder: &'a Encoder,
    text: &'a [u8],
    merged: &'a mut Vec<u32>,
    /// Room for those of a group, so that the tokens of a piece are written at once, whatever their number.
    tokens: [T; GROUP_ROOM * SHORT_TOKENS],
    out: &'a mut Vec<T>,
}

impl<T: Id> Lookup<'_, T> {
    /// Finds out what the pieces that end at `ends`, of which the first begins at `start`, are looked up by. What is
    /// needed of all of them is on its way from memory before that of the first is.
    #[inline]
    fn prepare(&self, mut start: usize, ends: &[usize], group: &mut [Piece; GROUP_ROOM]) {
        for (&end, piece) in ends.iter().zip(group) {
            *piece = if end - start > SHORT_BYTES {
                let hash = long_hash(&self.text[start..end]);
                self.cache.prepare_long(hash);
                Piece { key: Key::LONG, hash }
            } else {
                let key = Key::new(self.text, start, end - start);
                let hash = key.hash();
                self.cache.prepare(hash);
                Piece { key, hash }
            };
            start = end;
        }
    }

    /// Appends the tokens of the pieces that were prepared.
    #[inline]
    fn append(
        &mut self,
        start: usize,
        ends: &[usize],
        group: &[Piece; GROUP_ROOM],
        check: &mut Check<'_>,
    ) -> Result<()> {
        let mut held = 0;
        for (at, piece) in group[..ends.len()].iter().enumerate() {
            let found = self.cache.short(piece.key, piece.hash);
            if let Some(found) = found
                && found.count() > 0
            {
                self.tokens[held..held + SHORT_TOKENS].copy_from_slice(&found.padded().map(T::from_token));
                held += found.count();
                continue;
            }
            self.out.extend_from_slice(&self.tokens[..held]);
            held = 0;
            let start = if at > 0 { ends[at - 1] } else { start };
            self.append_rare(&self.text[start..ends[at]], *piece, found.is_some(), check)?;
        }
        self.out.extend_from_slice(&self.tokens[..held]);
        Ok(())
    }

    /// Appends the tokens of a piece of which the table of short ones has none; `is_known` if it has the piece.
    #[cold]
    fn append_rare(
        &mut self,
        bytes: &[u8],
        piece: Piece,
        is_known: bool,
        check: &mut Check<'_>,
    ) -> Result<()> {
        self.merged.clear();
        if piece.key != Key::LONG && !is_known {
            self.encoder.encode_piece(bytes, self.merged, check)?;
            self.cache.keep_short(piece.key, bytes, self.merged);
        } else {
            let hash = if piece.key == Key::LONG { piece.hash } else { long_hash(bytes) };
            match self.cache.long(bytes, hash) {
                Some(tokens) => self.merged.extend_from_slice(tokens),
                None => {
                    self.encoder.encode_piece(bytes, self.merged, check)?;
                    self.cache.keep_long(bytes, self.merged);
                }
            }
        }
        self.out.extend(self.merged.iter().map(|&token| T::from_token(token)));
        Ok(())
    }
}

/// The workers that nobody uses at the moment; no more than there are processors are kept.
pub struct Workers {
    idle: Mutex<Vec<Worker>>,
    kept: usize,
}

impl Default for Workers {
    fn default() -> Self {
        Self { idle: Mutex::default(), kept: available_parallelism().map_or(1, usize::from) }
    }
}

impl Workers {
    /// Does `work` with a worker that remembers what it has seen before, or else with a new one.
    pub fn with<R>(&self, splitter: &Splitter, work: impl FnOnce(&mut Worker) -> R) -> R {
        let idle = lock(&self.idle).pop();
        let mut worker = idle.unwrap_or_else(|| Worker::new(splitter));
        let result = work(&mut worker);
        let mut idle = lock(&self.idle);
        if idle.len() < self.kept {
            idle.push(worker);
        }
        result
    }
}
