//! What a thread needs of its own to encode: a splitter, a cache and room for the pieces at hand.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::available_parallelism;

use crate::cache::{Cache, Key, SHORT_BYTES, SHORT_TOKENS};
use crate::encode::Encoder;
use crate::error::{Check, Result};
use crate::split::Splitter;

/// Pieces are cut and looked up in groups, so that the memory of all is on its way before the first is needed.
const GROUP: usize = 64;

/// How many groups may pass between two questions whether to stop.
const GROUPS_PER_CHECK: usize = 64;

/// What ids are written as.
pub trait Id: Copy + Default + Send {
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

/// A place in a text that is to become tokens. The key of a piece that is not short is that of none.
#[derive(Clone, Copy, Default)]
struct Piece {
    start: usize,
    end: usize,
    key: Key,
    bucket: usize,
}

/// Encodes texts, one after the other.
pub struct Worker {
    splitter: Splitter,
    cache: Cache,
    group: Vec<Piece>,
    /// The tokens of the piece that is merged.
    merged: Vec<u32>,
}

impl Worker {
    fn new(splitter: &Splitter) -> Self {
        let (group, merged) = (Vec::with_capacity(GROUP), Vec::new());
        Self { splitter: splitter.clone(), cache: Cache::default(), group, merged }
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
        let bytes = text.as_bytes();
        group.clear();
        let mut until_check = GROUPS_PER_CHECK;
        let mut start = 0;
        splitter.for_each(text, |piece| {
            let end = start + piece.len();
            let mut next = Piece { start, end, ..Piece::default() };
            if piece.len() <= SHORT_BYTES {
                next.key = Key::new(bytes, start, piece.len());
                next.bucket = next.key.bucket();
                cache.prepare(next.bucket);
            }
            group.push(next);
            start = end;
            if group.len() < GROUP {
                return Ok(());
            }
            until_check -= 1;
            if until_check == 0 {
                until_check = GROUPS_PER_CHECK;
                check()?;
            }
            look_up(cache, encoder, bytes, group, merged, out, check)
        })?;
        look_up(cache, encoder, bytes, group, merged, out, check)
    }
}

/// Appends the tokens of `group` to `out` and empties it.
fn look_up<T: Id>(
    cache: &mut Cache,
    encoder: &Encoder,
    text: &[u8],
    group: &mut Vec<Piece>,
    merged: &mut Vec<u32>,
    out: &mut Vec<T>,
    check: &mut Check<'_>,
) -> Result<()> {
    let mut end = out.len();
    // Room for all, so that the tokens of a piece are written at once, whatever their number.
    out.resize(end + group.len() * SHORT_TOKENS, T::default());
    for (done, piece) in group.iter().enumerate() {
        let is_short = piece.key != Key::default();
        if is_short && let Some(tokens) = cache.short(piece.key, piece.bucket) {
            out[end..end + SHORT_TOKENS].copy_from_slice(&tokens.padded().map(T::from_token));
            end += tokens.count();
            continue;
        }
        let bytes = &text[piece.start..piece.end];
        let tokens = match cache.long(bytes) {
            Some(tokens) => tokens,
            None => {
                merged.clear();
                encoder.encode_piece(bytes, merged, check)?;
                if is_short {
                    cache.keep_short(piece.key, bytes, merged);
                } else {
                    cache.keep_long(bytes, merged);
                }
                merged.as_slice()
            }
        };
        out.truncate(end);
        out.extend(tokens.iter().map(|&token| T::from_token(token)));
        end = out.len();
        out.resize(end + (group.len() - done - 1) * SHORT_TOKENS, T::default());
    }
    out.truncate(end);
    group.clear();
    Ok(())
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
        let idle = self.lock().pop();
        let mut worker = idle.unwrap_or_else(|| Worker::new(splitter));
        let result = work(&mut worker);
        let mut idle = self.lock();
        if idle.len() < self.kept {
            idle.push(worker);
        }
        result
    }

    /// Nothing is done under the lock that could leave a worker half changed.
    fn lock(&self) -> MutexGuard<'_, Vec<Worker>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
