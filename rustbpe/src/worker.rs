//! What a thread needs of its own to encode: a splitter, a cache and room for the pieces at hand.

use std::sync::Mutex;
use std::thread::available_parallelism;

use crate::cache::{Cache, Key, SHORT_BYTES, SHORT_TOKENS};
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

/// A place in a text that is to become tokens; it begins where the one before it ends. The key of a piece that
/// is not short is that of none.
#[derive(Default)]
struct Piece {
    end: usize,
    key: Key,
    hash: usize,
}

/// Encodes texts, one after the other.
pub struct Worker {
    splitter: Splitter,
    cache: Cache,
    /// The pieces at hand.
    group: Vec<Piece>,
    /// The tokens of the piece that is merged.
    merged: Vec<u32>,
}

impl Worker {
    fn new(splitter: &Splitter) -> Self {
        Self { splitter: splitter.clone(), cache: Cache::default(), group: Vec::new(), merged: Vec::new() }
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
        let mut lookup = Lookup { cache, encoder, text: text.as_bytes(), done: 0, merged, tokens, out };
        let mut ends = [0; GROUP_ROOM];
        let mut until_check = GROUPS_PER_CHECK;
        let mut start = 0;
        while start < text.len() {
            // All of a group are looked up before the first is needed, so that their memory is on its way.
            group.clear();
            for &end in splitter.group(text, start, &mut ends)? {
                group.push(lookup.prepared(start, end));
                start = end;
            }
            until_check -= 1;
            if until_check == 0 {
                until_check = GROUPS_PER_CHECK;
                check()?;
            }
            lookup.append(group, check)?;
        }
        Ok(())
    }
}

/// Pieces of one text on their way to tokens.
struct Lookup<'a, T> {
    cache: &'a mut Cache,
    encoder: &'a Encoder,
    text: &'a [u8],
    /// Where the pieces end whose tokens are in `out`.
    done: usize,
    merged: &'a mut Vec<u32>,
    /// Room for those of a group, so that the tokens of a piece are written at once, whatever their number.
    tokens: [T; GROUP_ROOM * SHORT_TOKENS],
    out: &'a mut Vec<T>,
}

impl<T: Id> Lookup<'_, T> {
    /// What will be needed of the piece of these bytes, which is on its way from memory.
    #[inline]
    fn prepared(&self, start: usize, end: usize) -> Piece {
        if end - start > SHORT_BYTES {
            return Piece { end, ..Piece::default() };
        }
        let key = Key::new(self.text, start, end - start);
        let hash = key.hash();
        self.cache.prepare(hash);
        Piece { end, key, hash }
    }

    /// Appends the tokens of the pieces of `group`.
    fn append(&mut self, group: &[Piece], check: &mut Check<'_>) -> Result<()> {
        let mut held = 0;
        for piece in group {
            let start = std::mem::replace(&mut self.done, piece.end);
            let is_short = piece.key != Key::default();
            let found = if is_short { self.cache.short(piece.key, piece.hash) } else { None };
            if let Some(found) = found
                && found.count() > 0
            {
                self.tokens[held..held + SHORT_TOKENS].copy_from_slice(&found.padded().map(T::from_token));
                held += found.count();
                continue;
            }
            self.out.extend_from_slice(&self.tokens[..held]);
            held = 0;
            self.append_rare(&self.text[start..piece.end], piece.key, is_short && found.is_none(), check)?;
        }
        self.out.extend_from_slice(&self.tokens[..held]);
        Ok(())
    }

    /// Appends the tokens of a piece that the table does not hold; `is_new` if it would, had it been seen.
    #[cold]
    fn append_rare(&mut self, piece: &[u8], key: Key, is_new: bool, check: &mut Check<'_>) -> Result<()> {
        let known = if is_new { None } else { self.cache.long(piece) };
        let tokens = match known {
            Some(tokens) => tokens,
            None => {
                self.merged.clear();
                self.encoder.encode_piece(piece, self.merged, check)?;
                if is_new {
                    self.cache.keep_short(key, piece, self.merged);
                } else {
                    self.cache.keep_long(piece, self.merged);
                }
                self.merged.as_slice()
            }
        };
        self.out.extend(tokens.iter().map(|&token| T::from_token(token)));
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
