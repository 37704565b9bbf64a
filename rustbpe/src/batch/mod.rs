//! Encodes many texts by several threads, of which the caller's is one.

mod encoded;

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Mutex, OnceLock};
use std::thread::{self, ScopedJoinHandle};

use crate::error::{Check, Error, Result};
use crate::special::Rules;
use crate::threads::{PATIENCE, helpers, lock};
use crate::tokenizer::Tokenizer;
use crate::worker::{Id, Worker};
use encoded::Outbox;

pub use encoded::Encoded;

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

/// How many threads there may be, and about how many bytes they will share: what is not much is not shared out.
#[derive(Clone, Copy)]
pub struct Shares {
    /// The caller's included.
    pub threads: usize,
    /// An estimate, of all texts together.
    pub bytes: usize,
}

/// The ids of the texts that `feed` adds to its batch, which it is to finish; the first error of any thread ends
/// the work of all.
///
/// What is added is encoded by the other threads at once, while the caller may be the only one who can add more.
pub fn encode_with<'t, T: Id, E: From<Error>>(
    tokenizer: &Tokenizer,
    orders: Orders<'_>,
    shares: Shares,
    feed: impl FnOnce(Batch<'_, 't, T>) -> std::result::Result<(), E>,
) -> std::result::Result<Encoded<T>, E> {
    let threads = shares.threads.min(shares.bytes / GROUP_BYTES + 1);
    let (sender, receiver) = mpsc::channel();
    let waiting = Mutex::new(receiver);
    let work = Work { tokenizer, orders, waiting, outbox: Outbox::default(), failure: OnceLock::new() };
    thread::scope(|scope| {
        let (at_work, ended) = mpsc::channel();
        let helpers = helpers(scope, threads, || {
            let (work, at_work) = (&work, at_work.clone());
            move || {
                let _until_the_end = at_work;
                work.work(&mut || Ok(()));
            }
        });
        drop(at_work);
        if !helpers.is_empty() {
            work.outbox.reserve(shares.bytes);
        }
        let filling = Unread::default();
        let fed = feed(Batch { work: &work, sender, filling, bytes: 0, helpers, ended });
        if fed.is_err() {
            work.fail(Error::Stopped("no more texts come".into()));
        }
        fed
    })?;
    match work.failure.into_inner() {
        Some(failure) => Err(failure.into()),
        None => Ok(work.outbox.into_encoded()),
    }
}

/// Texts that are encoded together.
#[derive(Default)]
struct Unread<'t> {
    number: usize,
    bytes: usize,
    texts: Vec<&'t str>,
}

/// The caller's hold on the work: takes texts in.
pub struct Batch<'a, 't, T> {
    work: &'a Work<'a, 't, T>,
    sender: Sender<Unread<'t>>,
    filling: Unread<'t>,
    /// How much was added.
    bytes: usize,
    helpers: Vec<ScopedJoinHandle<'a, ()>>,
    /// Nothing ever comes of it, and it is closed when all helpers are done.
    ended: Receiver<()>,
}

impl<'t, T: Id> Batch<'_, 't, T> {
    /// Takes a text in, which others may begin with before this returns.
    pub fn add(&mut self, text: &'t str) {
        self.bytes += text.len();
        self.filling.bytes += text.len();
        self.filling.texts.push(text);
        if self.filling.bytes >= GROUP_BYTES && !self.helpers.is_empty() {
            self.send();
        }
    }

    /// Encodes with the others until nothing is left; `check` is asked. What failed, here or elsewhere, is told by
    /// `encode_with`.
    pub fn finish(mut self, check: &mut Check<'_>) {
        self.send();
        let Self { work, sender, bytes, helpers, ended, .. } = self;
        drop(sender);
        if !helpers.is_empty() {
            // Now it is known, where it was guessed before.
            work.outbox.reserve(bytes);
        }
        work.work(check);
        while ended.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            if let Err(error) = check() {
                work.fail(error);
            }
        }
        for helper in helpers {
            if helper.join().is_err() {
                work.fail(Error::value("a thread that encoded texts broke"));
            }
        }
    }

    fn send(&mut self) {
        let next = Unread { number: self.filling.number + 1, ..Unread::default() };
        // It cannot fail: the receiver is there as long as the work is.
        let _ = self.sender.send(std::mem::replace(&mut self.filling, next));
    }
}

/// Groups of texts that several threads take from, one at a time.
struct Work<'a, 't, T> {
    tokenizer: &'a Tokenizer,
    orders: Orders<'a>,
    /// Whoever waits for a group holds it, and the others wait for that one.
    waiting: Mutex<Receiver<Unread<'t>>>,
    outbox: Outbox<T>,
    /// The first error of any thread.
    failure: OnceLock<Error>,
}

impl<T: Id> Work<'_, '_, T> {
    /// Encodes groups until none will come or a thread failed.
    fn work(&self, check: &mut Check<'_>) {
        let mut check = || match self.failure.get() {
            Some(_) => Err(Error::Stopped("another thread failed".into())),
            None => check(),
        };
        let next = || lock(&self.waiting).recv();
        let encoded = self.tokenizer.with_worker(|worker| {
            while let Ok(unread) = next() {
                let group = self.encoded(worker, &unread, &mut check)?;
                self.outbox.put(unread.number, group);
            }
            Ok(())
        });
        if let Err(error) = encoded {
            self.fail(error);
        }
    }

    fn encoded(&self, worker: &mut Worker, unread: &Unread<'_>, check: &mut Check<'_>) -> Result<Encoded<T>> {
        let Orders { rules, prepend } = self.orders;
        let mut group = self.outbox.empty(unread.bytes);
        for text in &unread.texts {
            check()?;
            group.ids.extend(prepend.map(T::from_token));
            self.tokenizer.encode_into(worker, text, rules, &mut group.ids, check)?;
            group.ends.push(group.ids.len());
        }
        Ok(group)
    }

    /// Notes `error` unless there was one before.
    fn fail(&self, error: Error) {
        let _ = self.failure.set(error);
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::split::{SPLIT_PATTERN, Splitter};

    fn tokenizer(pattern: &str) -> Tokenizer {
        let merges = vec![(104, 101), (108, 108), (256, 257)];
        Tokenizer::new(Splitter::new(pattern).unwrap(), merges, vec!["<end>".into()]).unwrap()
    }

    fn encode_batch(
        tokenizer: &Tokenizer,
        texts: &[&str],
        orders: Orders<'_>,
        threads: usize,
        check: &mut Check<'_>,
    ) -> Result<Encoded<u32>> {
        let bytes = texts.iter().map(|text| text.len()).sum();
        encode_with(tokenizer, orders, Shares { threads, bytes }, |mut batch| {
            texts.iter().for_each(|text| batch.add(text));
            batch.finish(check);
            Ok(())
        })
    }

    fn encode(tokenizer: &Tokenizer, texts: &[&str], orders: Orders<'_>, threads: usize) -> Vec<Vec<u32>> {
        let encoded = encode_batch(tokenizer, texts, orders, threads, &mut || Ok(())).unwrap();
        encoded.texts().map(<[u32]>::to_vec).collect()
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
    fn others_begin_before_all_texts_are_there() {
        let tokenizer = tokenizer(r"\w+");
        let shares = Shares { threads: 2, bytes: GROUP_BYTES };
        let text = "hello ".repeat(GROUP_BYTES);
        let failed = encode_with::<u32, Error>(&tokenizer, Orders::default(), shares, |mut batch| {
            batch.add(&text);
            // Nobody but the other thread can have met the space that the pattern skips.
            let begun = Instant::now();
            while batch.work.failure.get().is_none() && begun.elapsed() < Duration::from_secs(60) {
                thread::yield_now();
            }
            assert!(batch.work.failure.get().is_some());
            batch.finish(&mut || Ok(()));
            Ok(())
        });
        assert!(failed.err().unwrap().to_string().contains("byte 5"));
    }

    #[test]
    fn a_stop_reaches_the_caller_who_waits_for_others() {
        let tokenizer = tokenizer(SPLIT_PATTERN);
        let shares = Shares { threads: 2, bytes: GROUP_BYTES };
        let text = "hello ".repeat(300 * GROUP_BYTES);
        let stopped = encode_with::<u32, Error>(&tokenizer, Orders::default(), shares, |mut batch| {
            batch.add(&text);
            // Until the other thread has it, whoever looks for it first.
            while !batch.work.waiting.try_lock().is_ok_and(|waiting| match waiting.try_recv() {
                Ok(unread) => batch.sender.send(unread).is_err(),
                Err(_) => true,
            }) {
                thread::yield_now();
            }
            batch.finish(&mut || Err(Error::Stopped("enough".into())));
            Ok(())
        });
        assert!(matches!(stopped.err(), Some(Error::Stopped(reason)) if reason.to_string() == "enough"));
    }

    #[test]
    fn texts_that_end_early_end_the_work() {
        let tokenizer = tokenizer(SPLIT_PATTERN);
        let long = "hello ".repeat(GROUP_BYTES);
        let shares = Shares { threads: 3, bytes: 10 * GROUP_BYTES };
        let failed = encode_with::<u32, Error>(&tokenizer, Orders::default(), shares, |mut batch| {
            (0..10).for_each(|_| batch.add(&long));
            Err(Error::value("no text"))
        });
        assert_eq!(failed.err().unwrap().to_string(), "no text");
    }

    #[test]
    fn a_stop_reaches_the_caller() {
        let tokenizer = tokenizer(SPLIT_PATTERN);
        let stopped = encode_batch(&tokenizer, &["hello"; 100], Orders::default(), 4, &mut || {
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
            let failed = encode_batch(&tokenizer, &texts, Orders::default(), 4, &mut || Ok(()));
            assert!(failed.err().unwrap().to_string().contains("byte 5"));
        }
    }
}
