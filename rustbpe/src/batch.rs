//! Encodes many texts by several threads, of which the caller's is one.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;

use crate::error::{Check, Error, Result};
use crate::memory::spacious_zeros;
use crate::special::Rules;
use crate::tokenizer::Tokenizer;
use crate::worker::{Id, room_for_ids};

/// Threads take texts in groups of about this many bytes.
const GROUP_BYTES: usize = 1 << 16;

/// What is to be done to every text.
#[derive(Clone, Copy, Default)]
pub struct Orders<'a> {
    /// What special tokens mean.
    pub rules: Rules<'a>,
    /// The id before the ids of the text.
    pub prepend: Option<u32>,
}

/// The ids of several texts in a row, one after the other.
pub struct Part<T> {
    /// The ids of all.
    pub ids: Vec<T>,
    /// Where in `ids` those of each text end.
    pub ends: Vec<usize>,
}

impl<T> Part<T> {
    /// The ids of each text.
    pub fn texts(&self) -> impl Iterator<Item = &[T]> {
        let begins = std::iter::once(0).chain(self.ends.iter().copied());
        begins.zip(&self.ends).map(|(begin, &end)| &self.ids[begin..end])
    }
}

/// The ids of all texts, in parts that follow each other, by up to `threads` threads; `check` is asked on the
/// caller's alone.
///
/// The first error of any thread ends the work of all.
pub fn encode_batch<T: Id>(
    tokenizer: &Tokenizer,
    texts: &[&str],
    orders: Orders<'_>,
    threads: usize,
    check: &mut Check<'_>,
) -> Result<Vec<Part<T>>> {
    let group_bytes = if threads == 1 { usize::MAX } else { GROUP_BYTES };
    let groups = grouped(texts, group_bytes);
    let helpers = 1..threads.min(groups.len());
    let batch =
        Batch { tokenizer, texts, groups, orders, next: AtomicUsize::new(0), failure: OnceLock::new() };
    let mut done = thread::scope(|scope| {
        let mut handles = Vec::new();
        for number in helpers {
            let builder = thread::Builder::new().name(format!("rustbpe-{number}"));
            match builder.spawn_scoped(scope, || batch.work(&mut || Ok(()))) {
                Ok(handle) => handles.push(handle),
                // The system gives no more threads: those that there are do the work.
                Err(_) => break,
            }
        }
        let mut done = batch.work(check);
        for handle in handles {
            match handle.join() {
                Ok(others) => done.extend(others),
                Err(_) => batch.fail(Error::value("a thread that encoded texts broke")),
            }
        }
        done
    });
    if let Some(failure) = batch.failure.into_inner() {
        return Err(failure);
    }
    done.sort_unstable_by_key(|(group, _)| *group);
    Ok(done.into_iter().map(|(_, part)| part).collect())
}

/// The ids of all parts in a row, put there by up to `threads` threads.
pub fn joined<T: Id>(mut parts: Vec<Part<T>>, threads: usize) -> Vec<T> {
    if parts.len() < 2 {
        return parts.pop().map_or_else(Vec::new, |part| part.ids);
    }
    let mut all = spacious_zeros(parts.iter().map(|part| part.ids.len()).sum());
    let mut rest = all.as_mut_slice();
    let mut copies = Vec::with_capacity(parts.len());
    for part in &parts {
        let (room, others) = rest.split_at_mut(part.ids.len());
        copies.push((&part.ids, room));
        rest = others;
    }
    let copies = Mutex::new(copies);
    let next = || copies.lock().unwrap_or_else(PoisonError::into_inner).pop();
    let copy = || {
        while let Some((ids, room)) = next() {
            room.copy_from_slice(ids);
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads {
            // Where the system gives no thread, those that there are do the work.
            let _ = thread::Builder::new().spawn_scoped(scope, copy);
        }
        copy();
    });
    all
}

/// Cuts the texts into groups of at least `bytes` bytes, but for the last.
fn grouped(texts: &[&str], bytes: usize) -> Vec<Range<usize>> {
    let mut groups = Vec::new();
    let (mut begin, mut held) = (0, 0);
    for (index, text) in texts.iter().enumerate() {
        held += text.len();
        if held >= bytes {
            groups.push(begin..index + 1);
            (begin, held) = (index + 1, 0);
        }
    }
    if begin < texts.len() {
        groups.push(begin..texts.len());
    }
    groups
}

/// Groups of texts that several threads take from, one at a time.
struct Batch<'a> {
    tokenizer: &'a Tokenizer,
    texts: &'a [&'a str],
    groups: Vec<Range<usize>>,
    orders: Orders<'a>,
    next: AtomicUsize,
    /// The first error of any thread.
    failure: OnceLock<Error>,
}

impl Batch<'_> {
    /// Encodes groups until none is left or a thread failed; gives their parts with their numbers.
    fn work<T: Id>(&self, check: &mut Check<'_>) -> Vec<(usize, Part<T>)> {
        let mut done = Vec::new();
        if let Err(error) = self.work_into(&mut done, check) {
            self.fail(error);
        }
        done
    }

    fn work_into<T: Id>(&self, done: &mut Vec<(usize, Part<T>)>, check: &mut Check<'_>) -> Result<()> {
        let mut check = || match self.failure.get() {
            Some(_) => Err(Error::Stopped("another thread failed".into())),
            None => check(),
        };
        let Orders { rules, prepend } = self.orders;
        self.tokenizer.with_worker(|worker| {
            loop {
                let group = self.next.fetch_add(1, Ordering::Relaxed);
                let Some(range) = self.groups.get(group) else { return Ok(()) };
                let texts = &self.texts[range.clone()];
                let ids = room_for_ids(texts.iter().map(|text| text.len()).sum());
                let mut part = Part { ids, ends: Vec::with_capacity(texts.len()) };
                for text in texts {
                    check()?;
                    part.ids.extend(prepend.map(T::from_token));
                    self.tokenizer.encode_into(worker, text, rules, &mut part.ids, &mut check)?;
                    part.ends.push(part.ids.len());
                }
                done.push((group, part));
            }
        })
    }

    /// Notes `error` unless there was one before.
    fn fail(&self, error: Error) {
        let _ = self.failure.set(error);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::split::{SPLIT_PATTERN, Splitter};

    fn tokenizer(pattern: &str) -> Tokenizer {
        let merges = vec![(104, 101), (108, 108), (256, 257)];
        Tokenizer::new(Splitter::new(pattern).unwrap(), merges, vec!["<end>".into()]).unwrap()
    }

    fn encode(tokenizer: &Tokenizer, texts: &[&str], orders: Orders<'_>, threads: usize) -> Vec<Vec<u32>> {
        let parts: Vec<Part<u32>> = encode_batch(tokenizer, texts, orders, threads, &mut || Ok(())).unwrap();
        parts.iter().flat_map(Part::texts).map(<[u32]>::to_vec).collect()
    }

    #[test]
    fn threads_give_what_one_gives() {
        let tokenizer = tokenizer(SPLIT_PATTERN);
        let texts: Vec<String> = (0..300).map(|n| format!("hello {n}<end>").repeat(n)).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let rules = Rules { allowed: tokenizer.specials().find_all(), disallowed: None };
        let orders = Orders { rules, prepend: Some(259) };
        let one = encode(&tokenizer, &texts, orders, 1);
        assert_eq!(one, encode(&tokenizer, &texts, orders, 8));
        let parts: Vec<Part<u16>> = encode_batch(&tokenizer, &texts, orders, 3, &mut || Ok(())).unwrap();
        assert!(parts.len() > 3);
        assert!(joined(parts, 3).into_iter().map(u32::from).eq(one.iter().flatten().copied()));
        assert_eq!(one.len(), 300);
        assert_eq!(one[0], [259]);
        let seventh = tokenizer.encode(texts[7], rules, &mut || Ok(())).unwrap();
        assert_eq!(one[7], [&[259], &seventh[..]].concat());
    }

    #[test]
    fn groups_hold_all_texts_in_order() {
        let texts = ["aaa", "", "b", "cccc", "d", ""];
        assert_eq!(grouped(&texts, 4), [0..3, 3..4, 4..6]);
        assert_eq!(grouped(&texts, usize::MAX).len(), 1);
        assert!(grouped(&[], 4).is_empty());
    }

    #[test]
    fn a_stop_reaches_the_caller() {
        let tokenizer = tokenizer(SPLIT_PATTERN);
        let stopped = encode_batch::<u32>(&tokenizer, &["hello"; 100], Orders::default(), 4, &mut || {
            Err(Error::Stopped("enough".into()))
        });
        assert!(matches!(stopped.err(), Some(Error::Stopped(reason)) if reason.to_string() == "enough"));
    }

    #[test]
    fn the_error_of_any_thread_is_the_one_that_is_told() {
        let tokenizer = tokenizer(r"\w+");
        let long = "hello".repeat(10_000);
        let mut texts = [long.as_str(); 50];
        texts[25] = "hello you";
        for _ in 0..20 {
            let failed = encode_batch::<u32>(&tokenizer, &texts, Orders::default(), 4, &mut || Ok(()));
            assert!(failed.err().unwrap().to_string().contains("byte 5"));
        }
    }
}
