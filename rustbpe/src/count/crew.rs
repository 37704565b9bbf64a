//! Threads that count: the caller's own, which brings the texts, and others that it shares them out to.
//!
//! Texts travel in groups of limited size through a short queue. When that is full the caller counts a group
//! itself, so it never waits before all texts are there, and memory is bounded however fast they come. Every
//! thread has a table for the whole run; they are put together once, at the end.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::PieceCounts;
use crate::error::{Check, Error, Result};
use crate::split::Splitter;
use crate::threads::{PATIENCE, helpers, lock};

/// A group is full when it has so many bytes; longer texts are cut where no piece changes, if that is possible.
const GROUP_BYTES: usize = 1 << 20;

/// What cannot be cut and has more bytes is counted by the caller where it is.
const MOST_COPIED_BYTES: usize = 1 << 26;

/// How many groups wait in the queue for each thread.
const GROUPS_PER_THREAD: usize = 2;

/// Texts that are counted together.
#[derive(Default)]
struct Group {
    text: String,
    ends: Vec<usize>,
}

impl Group {
    /// What a text takes besides its bytes; without it, empty texts would be without end.
    const TEXT_BYTES: usize = size_of::<usize>();

    fn size(&self) -> usize {
        self.text.len() + Self::TEXT_BYTES * self.ends.len()
    }
}

#[derive(Default)]
struct State {
    groups: VecDeque<Group>,
    /// How many threads are at work on a group, the caller's not counted.
    busy: usize,
    /// No groups come any more.
    closed: bool,
    /// What ended the work early; without groups there is nothing left to do.
    failure: Option<Error>,
    failed: bool,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn close(&self, failure: Option<Error>) {
        let mut state = self.lock();
        state.closed = true;
        if let Some(failure) = failure {
            state.failed = true;
            state.failure.get_or_insert(failure);
            state.groups.clear();
        }
        self.changed.notify_all();
    }
}

/// The caller's hold on the threads.
pub struct Crew<'a> {
    shared: &'a Shared,
    splitter: &'a Splitter,
    /// How many groups may wait; none if the caller is alone.
    room: usize,
    filling: Group,
    own: PieceCounts,
}

/// Counts the texts that `feed` adds to the crew, by up to `threads` threads; an error of any ends the work.
pub fn count_with<E: From<Error>>(
    splitter: &Splitter,
    threads: usize,
    feed: impl FnOnce(&mut Crew<'_>) -> std::result::Result<(), E>,
) -> std::result::Result<PieceCounts, E> {
    let shared = Shared { state: Mutex::default(), changed: Condvar::new() };
    thread::scope(|scope| {
        let helpers = helpers(scope, threads, || {
            let (shared, splitter) = (&shared, splitter.clone());
            move || help(shared, &splitter)
        });
        let mut crew = Crew {
            shared: &shared,
            splitter,
            room: GROUPS_PER_THREAD * helpers.len(),
            filling: Group::default(),
            own: PieceCounts::default(),
        };
        let fed = feed(&mut crew);
        shared.close(fed.is_err().then(|| Error::value("the texts ended early")));
        let mut all = crew.own;
        for helper in helpers {
            match helper.join() {
                Ok(counts) if fed.is_ok() => all.absorb(counts),
                Ok(_) => {}
                Err(_) => shared.close(Some(Error::value("a thread that counted texts broke"))),
            }
        }
        fed?;
        match shared.lock().failure.take() {
            Some(failure) => Err(failure.into()),
            None => Ok(all),
        }
    })
}

impl Crew<'_> {
    /// Whether `add` of this text would do no more than keep it.
    pub fn has_room(&self, text: &str) -> bool {
        self.filling.size() + text.len() + Group::TEXT_BYTES < GROUP_BYTES
    }

    /// Takes a text in; returns after handing out or counting what makes a group full.
    ///
    /// `check` is asked often, on this thread. The first error of any thread comes out of here or of `finish`.
    pub fn add(&mut self, mut text: &str, check: &mut Check<'_>) -> Result<()> {
        while text.len() > GROUP_BYTES {
            let Some(seam) = self.splitter.seam(text, GROUP_BYTES, check)? else { break };
            let (head, tail) = text.split_at(seam);
            self.take_in(head, check)?;
            text = tail;
        }
        if text.len() > MOST_COPIED_BYTES {
            return self.own.add(self.splitter, text, check);
        }
        self.take_in(text, check)
    }

    /// Waits until all texts are counted.
    pub fn finish(&mut self, check: &mut Check<'_>) -> Result<()> {
        let last = std::mem::take(&mut self.filling);
        self.count(&last, check)?;
        loop {
            check()?;
            let mut state = self.shared.lock();
            if let Some(failure) = state.failure.take() {
                return Err(failure);
            }
            if let Some(group) = state.groups.pop_front() {
                drop(state);
                self.count(&group, check)?;
            } else if state.busy == 0 {
                return Ok(());
            } else {
                // Whether it was woken or waited long enough, it looks again.
                drop(self.shared.changed.wait_timeout(state, PATIENCE));
            }
        }
    }

    fn take_in(&mut self, text: &str, check: &mut Check<'_>) -> Result<()> {
        self.filling.text.push_str(text);
        self.filling.ends.push(self.filling.text.len());
        if self.filling.size() < GROUP_BYTES {
            return Ok(());
        }
        let group = std::mem::take(&mut self.filling);
        let mut state = self.shared.lock();
        if let Some(failure) = state.failure.take() {
            return Err(failure);
        }
        if state.groups.len() < self.room {
            state.groups.push_back(group);
            self.shared.changed.notify_one();
            drop(state);
            return check();
        }
        drop(state);
        self.count(&group, check)
    }

    fn count(&mut self, group: &Group, check: &mut Check<'_>) -> Result<()> {
        count(&mut self.own, self.splitter, group, check)
    }
}

fn count(counts: &mut PieceCounts, splitter: &Splitter, group: &Group, check: &mut Check<'_>) -> Result<()> {
    let mut start = 0;
    for &end in &group.ends {
        counts.add(splitter, &group.text[start..end], check)?;
        start = end;
    }
    check()
}

/// The work of another thread: counts groups until none come any more.
fn help(shared: &Shared, splitter: &Splitter) -> PieceCounts {
    let mut counts = PieceCounts::default();
    let mut stop = || match shared.lock().failed {
        true => Err(Error::value("another thread failed")),
        false => Ok(()),
    };
    while let Some(group) = next_group(shared) {
        let counted = count(&mut counts, splitter, &group, &mut stop);
        shared.lock().busy -= 1;
        shared.changed.notify_all();
        if let Err(error) = counted {
            shared.close(Some(error));
            break;
        }
    }
    counts
}

/// Waits for a group. The wait ends with the caller's, who closes the queue in any case.
fn next_group(shared: &Shared) -> Option<Group> {
    let mut state = shared.lock();
    loop {
        if let Some(group) = state.groups.pop_front() {
            state.busy += 1;
            return Some(group);
        }
        if state.closed {
            return None;
        }
        state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::split::SPLIT_PATTERN;

    fn counted(pattern: &str, threads: usize, texts: &[String]) -> Result<Vec<(Vec<u8>, u64)>> {
        let splitter = Splitter::new(pattern)?;
        let counts: Result<PieceCounts> = count_with(&splitter, threads, |crew| {
            texts.iter().try_for_each(|text| crew.add(text, &mut || Ok(())))?;
            crew.finish(&mut || Ok(()))
        });
        let counts = counts?;
        let mut pieces: Vec<_> =
            counts.pieces().map(|(piece, count)| (piece.with_bytes(<[u8]>::to_vec), count)).collect();
        pieces.sort();
        Ok(pieces)
    }

    fn texts() -> Vec<String> {
        let long = (0..400_000).map(|number| format!("{number} is a number, ")).collect();
        let mut texts = vec![String::new(); 200_000];
        texts.extend((0..100_000).map(|number| format!("text {number}\n\n")));
        texts.push(long);
        texts
    }

    #[test]
    fn any_number_of_threads_counts_the_same() {
        let texts = texts();
        let alone = counted(SPLIT_PATTERN, 1, &texts).unwrap();
        for threads in [2, 5] {
            assert_eq!(counted(SPLIT_PATTERN, threads, &texts).unwrap(), alone);
        }
        assert_eq!(counted(&format!("(?:{SPLIT_PATTERN})"), 3, &texts).unwrap(), alone);
    }

    #[test]
    fn an_error_of_any_thread_comes_out_once() {
        let mut texts = texts();
        texts.insert(100_000, "one two".into());
        for threads in [1, 2, 5] {
            let message = counted(r"\w+", threads, &texts).unwrap_err().to_string();
            assert!(message.contains("matches nothing at byte"), "{message}");
        }
    }

    #[test]
    fn a_stop_of_the_caller_ends_all() {
        let splitter = Splitter::new(SPLIT_PATTERN).unwrap();
        let texts = texts();
        let stopped: Result<PieceCounts> = count_with(&splitter, 3, |crew| {
            texts.iter().try_for_each(|text| crew.add(text, &mut || Ok(())))?;
            crew.finish(&mut || Err(Error::Stopped("enough".into())))
        });
        assert!(matches!(stopped.err(), Some(Error::Stopped(reason)) if reason.to_string() == "enough"));
    }
}
