//! The Python side of training: takes texts from an iterator, tells progress, and lets signals end the work.

use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::count::crew::count_with;
use crate::error::{Error, Result};
use crate::split::SPLIT_PATTERN;
use crate::tokenizer::Tokenizer;
use crate::train::Plan;

use super::args::{Items, strings, thread_count, utf8, whole_number};

/// How long a signal such as Ctrl-C may go unseen, and how often progress is told.
const INTERVAL: Duration = Duration::from_millis(100);

/// What a call of `train` asks for, checked.
pub struct Request {
    plan: Plan,
    threads: usize,
}

impl Request {
    /// Reads the arguments; what does not fit is an error that names it.
    pub fn new(
        vocab_size: &Bound<'_, PyAny>,
        special_tokens: Option<&Bound<'_, PyAny>>,
        pattern: Option<&Bound<'_, PyString>>,
        threads: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let vocab_size = whole_number(vocab_size, "vocab_size", 0)?;
        let special_tokens =
            special_tokens.map_or(Ok(Vec::new()), |given| strings(given, "special_tokens"))?;
        let pattern = pattern.map_or(Ok(SPLIT_PATTERN), |given| utf8(given, "pattern"))?;
        let all_cores = || Ok(available_parallelism().map_or(1, usize::from));
        let threads = threads.map_or_else(all_cores, thread_count)?;
        Ok(Self { plan: Plan::new(pattern, special_tokens, vocab_size)?, threads })
    }
}

/// Trains on `texts`, read to their end; `progress` is called with the phase, what is done and what there is to
/// do.
pub fn train(texts: &Bound<'_, PyAny>, request: Request, progress: Option<Py<PyAny>>) -> PyResult<Tokenizer> {
    let py = texts.py();
    let Request { plan, threads } = request;
    let mut watch = Watch { progress, last: Instant::now() };
    let mut items = Items::new(texts, "texts")?;
    let mut done = 0;
    let counts = count_with(plan.splitter(), threads, |crew| {
        while let Some(item) = items.next()? {
            let text = item.text()?;
            done += text.len();
            let mut check = || watch.look("count", done, None);
            if crew.has_room(text) {
                // Only a copy: letting go of the interpreter would take longer.
                crew.add(text, &mut check)?;
            } else {
                py.detach(|| crew.add(text, &mut check))?;
            }
            check()?;
        }
        Ok::<(), PyErr>(py.detach(|| crew.finish(&mut || watch.look("count", done, None)))?)
    })?;
    watch.tell(py, "count", done, None)?;
    let total = plan.merges();
    let trained = py.detach(|| plan.learn(counts, &mut |done| watch.look("merge", done, Some(total))))?;
    watch.tell(py, "merge", total, Some(total))?;
    Ok(trained)
}

/// Looks up from the work now and then: at signals, and to tell progress. What they raise ends the work.
struct Watch {
    progress: Option<Py<PyAny>>,
    last: Instant,
}

impl Watch {
    fn look(&mut self, phase: &str, done: usize, total: Option<usize>) -> Result<()> {
        if self.last.elapsed() < INTERVAL {
            return Ok(());
        }
        self.last = Instant::now();
        Python::attach(|py| py.check_signals().and_then(|()| self.tell(py, phase, done, total)))
            .map_err(|raised| Error::Stopped(Box::new(raised)))
    }

    fn tell(&self, py: Python<'_>, phase: &str, done: usize, total: Option<usize>) -> PyResult<()> {
        match &self.progress {
            Some(progress) => progress.call1(py, (phase, done, total)).map(|_| ()),
            None => Ok(()),
        }
    }
}
