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

/// The ids of many texts.
pub struct Encoded<T> {
    /// What each thread that had work wrote, group after group.
    ids: Vec<Vec<T>>,
    /// In the order of the texts, each with the place in `ids` of its thread's.
    groups: Vec<(usize, Group)>,
}

/// Where the ids of a group of texts are in those of its thread.
struct Group {
    number: usize,
    begin: usize,
    /// Those of each text.
    ends: Vec<usize>,
}

impl<T: Id> Encoded<T> {
    fn new(shares: Vec<Share<T>>) -> Self {
        let (mut ids, mut groups) = (Vec::new(), Vec::new());
        for share in shares.into_iter().filter(|share| !share.groups.is_empty()) {
            groups.extend(share.groups.into_iter().map(|group| (ids.len(), group)));
            ids.push(share.ids);
        }
        groups.sort_unstable_by_key(|(_, group)| group.number);
        Self { ids, groups }
    }

    /// The ids of each text.
    pub fn texts(&self) -> impl Iterator<Item = &[T]> {
        self.groups.iter().flat_map(move |&(thread, ref group)| {
            let begins = std::iter::once(group.begin).chain(group.ends.iter().copied());
            begins.zip(&group.ends).map(move |(begin, &end)| &self.ids[thread][begin..end])
        })
    }

    /// The ids of all texts in a row, put there by up to `threads` threads.
    pub fn joined(mut self, threads: usize) -> Vec<T> {
        if self.ids.len() < 2 {
            // One thread alone takes the groups in their order.
            return self.ids.pop().unwrap_or_default();
        }
        let mut all = spacious_zeros(self.ids.iter().map(Vec::len).sum());
        let mut rest = all.as_mut_slice();
        let mut copies = Vec::with_capacity(self.groups.len());
        for &(thread, ref group) in &self.groups {
            let end = group.ends.last().copied().unwrap_or(group.begin);
            let ids = &self.ids[thread][group.begin..end];
            let (room, others) = rest.split_at_mut(ids.len());
            copies.push((ids, room));
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
            for _ in 1..threads.min(self.groups.len()) {
                // Where the system gives no thread, those that there are do the work.
                let _ = thread::Builder::new().spawn_scoped(scope, copy);
            }
            copy();
        });
        all
    }
}

/// The ids of each text, by up to `threads` threads; `check` is asked on the caller's alone.
///
/// The first error of any thread ends the work of all.
pub fn encode_batch<T: Id>(
    tokenizer: &Tokenizer,
    texts: &[&str],
    orders: Orders<'_>,
    threads: usize,
    check: &mut Check<'_>,
) -> Result<Encoded<T>> {
    let group_bytes = if threads == 1 { usize::MAX } else { GROUP_BYTES };
    let groups = grouped(texts, group_bytes);
    let threads = threads.min(groups.len()).max(1);
    let share_bytes = texts.iter().map(|text| text.len()).sum::<usize>() / threads;
    let (next, failure) = (AtomicUsize::new(0), OnceLock::new());
    let batch = Batch { tokenizer, texts, groups, orders, share_bytes, next, failure };
    let shares = thread::scope(|scope| {
        let mut handles = Vec::new();
        for number in 1..threads {
            let builder = thread::Builder::new().name(format!("rustbpe-{number}"));
            match builder.spawn_scoped(scope, || batch.work(&mut || Ok(()))) {
                Ok(handle) => handles.push(handle),
                // The system gives no more threads: those that there are do the work.
                Err(_) => break,
            }
        }
        let mut shares = vec![batch.work(check)];
        for handle in handles {
            match handle.join() {
                Ok(share) => shares.push(share),
                Err(_) => batch.fail(Error::value("a thread that encoded texts broke")),
            }
        }
        shares
    });
    match batch.failure.into_inner() {
        Some(failure) => Err(failure),
        None => Ok(Encoded::new(shares)),
    }
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

/// What one thread did.
struct Share<T> {
    ids: Vec<T>,
    groups: Vec<Group>,
}

/// Groups of texts that several threads take from, one at a time.
struct Batch<'a> {
    tokenizer: &'a Tokenizer,
    texts: &'a [&'a str],
    groups: Vec<Range<usize>>,
    orders: Orders<'a>,
    /// How much text there is for each thread.
    share_bytes: usize,
    next: AtomicUsize,
    /// The first error of any thread.
    failure: OnceLock<Error>,
}

impl Batch<'_> {
    /// Encodes groups until none is left or a thread failed.
    fn work<T: Id>(&self, check: &mut Check<'_>) -> Share<T> {
        let mut share = Share { ids: room_for_ids(self.share_bytes), groups: Vec::new() };
        if let Err(error) = self.work_into(&mut share, check) {
            self.fail(error);
        }
        share
    }

    fn work_into<T: Id>(&self, share: &mut Share<T>, check: &mut Check<'_>) -> Result<()> {
        let mut check = || match self.failure.get() {
            Some(_) => Err(Error::Stopped("another thread failed".into())),
            None => check(),
        };
        let Orders { rules, prepend } = self.orders;
        let Share { ids, groups } = share;
        self.tokenizer.with_worker(|worker| {
            loop {
                let number = self.next.fetch_add(1, Ordering::Relaxed);
                let Some(range) = self.groups.get(number) else { return Ok(()) };
                let (begin, mut ends) = (ids.len(), Vec::with_capacity(range.len()));
                for text in &self.texts[range.clone()] {
                    check()?;
                    ids.extend(prepend.map(T::from_token));
                    self.tokenizer.encode_into(worker, text, rules, ids, &mut check)?;
                    ends.push(ids.len());
                }
                groups.push(Group { number, begin, ends });
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
        let encoded = encode_batch::<u32>(tokenizer, texts, orders, threads, &mut || Ok(())).unwrap();
        let found: Vec<Vec<u32>> = encoded.texts().map(<[u32]>::to_vec).collect();
        assert_eq!(encoded.joined(threads), found.concat());
        found
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
