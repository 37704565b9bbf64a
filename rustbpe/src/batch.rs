//! Encodes many texts by several threads, of which the caller's is one.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::error::{Check, Error, Result};
use crate::special::Finder;
use crate::tokenizer::Tokenizer;

/// The ids of each text, in order, by up to `threads` threads; `check` is asked on the caller's alone.
///
/// The first error of any thread ends the work of all.
pub fn encode_batch(
    tokenizer: &Tokenizer,
    texts: &[&str],
    special: Option<&Finder>,
    threads: usize,
    check: &mut Check<'_>,
) -> Result<Vec<Vec<u32>>> {
    let batch = Batch { tokenizer, texts, special, next: AtomicUsize::new(0), failure: OnceLock::new() };
    let mut encoded = thread::scope(|scope| {
        let mut helpers = Vec::new();
        for number in 1..threads.min(texts.len()) {
            let builder = thread::Builder::new().name(format!("rustbpe-{number}"));
            match builder.spawn_scoped(scope, || batch.work(&mut || Ok(()))) {
                Ok(helper) => helpers.push(helper),
                // The system gives no more threads: those that there are do the work.
                Err(_) => break,
            }
        }
        let mut encoded = batch.work(check);
        for helper in helpers {
            match helper.join() {
                Ok(part) => encoded.extend(part),
                Err(_) => batch.fail(Error::value("a thread that encoded texts broke")),
            }
        }
        encoded
    });
    if let Some(failure) = batch.failure.into_inner() {
        return Err(failure);
    }
    encoded.sort_unstable_by_key(|(index, _)| *index);
    Ok(encoded.into_iter().map(|(_, ids)| ids).collect())
}

/// Texts that several threads take from, one at a time.
struct Batch<'a> {
    tokenizer: &'a Tokenizer,
    texts: &'a [&'a str],
    special: Option<&'a Finder>,
    next: AtomicUsize,
    /// The first error of any thread.
    failure: OnceLock<Error>,
}

impl Batch<'_> {
    /// Encodes texts until none is left or a thread failed; gives their ids with their numbers.
    fn work(&self, check: &mut Check<'_>) -> Vec<(usize, Vec<u32>)> {
        let mut encoded = Vec::new();
        if let Err(error) = self.work_into(&mut encoded, check) {
            self.fail(error);
        }
        encoded
    }

    fn work_into(&self, encoded: &mut Vec<(usize, Vec<u32>)>, check: &mut Check<'_>) -> Result<()> {
        let splitter = self.tokenizer.splitter().clone();
        let mut check = || match self.failure.get() {
            Some(_) => Err(Error::Stopped("another thread failed".into())),
            None => check(),
        };
        loop {
            check()?;
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(text) = self.texts.get(index) else { return Ok(()) };
            encoded.push((index, self.tokenizer.encode_with(&splitter, text, self.special, &mut check)?));
        }
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

    #[test]
    fn threads_give_what_one_gives() {
        let tokenizer = tokenizer(SPLIT_PATTERN);
        let texts: Vec<String> = (0..100).map(|n| format!("hello {n}<end>")).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let special = tokenizer.specials().find_all();
        let one = encode_batch(&tokenizer, &texts, special, 1, &mut || Ok(())).unwrap();
        let many = encode_batch(&tokenizer, &texts, special, 8, &mut || Ok(())).unwrap();
        assert_eq!(one, many);
        assert_eq!(one[7], tokenizer.encode("hello 7<end>", special, &mut || Ok(())).unwrap());
    }

    #[test]
    fn a_stop_reaches_the_caller() {
        let tokenizer = tokenizer(SPLIT_PATTERN);
        let stopped =
            encode_batch(&tokenizer, &["hello"; 100], None, 4, &mut || Err(Error::Stopped("enough".into())));
        assert!(matches!(stopped, Err(Error::Stopped(reason)) if reason.to_string() == "enough"));
    }

    #[test]
    fn the_error_of_any_thread_is_the_one_that_is_told() {
        let tokenizer = tokenizer(r"\w+");
        let mut texts = ["hello"; 1000];
        texts[500] = "hello you";
        for _ in 0..50 {
            let failed = encode_batch(&tokenizer, &texts, None, 4, &mut || Ok(()));
            assert!(failed.unwrap_err().to_string().contains("byte 5"));
        }
    }
}
