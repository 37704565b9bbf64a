//! The Python module: turns arguments and errors, and lets other Python threads run during long work.

mod args;
mod decode;
mod encode;
mod formats;
mod train;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString, PyType};

use crate::error::{Error, Result};
use crate::file;
use crate::formats::{huggingface, tiktoken};
use crate::merge::Pair;
use crate::split::{SPLIT_PATTERN, Splitter};
use crate::tokenizer;

use args::{strings, thread_count, token_of, utf8};
use decode::{Decoder, bytes_of};
use encode::{Choice, Dtype};

/// How long a signal such as Ctrl-C may go unseen.
const SIGNAL_INTERVAL: Duration = Duration::from_millis(100);

impl From<Error> for PyErr {
    fn from(error: Error) -> Self {
        match error {
            Error::Value(message) => PyValueError::new_err(message),
            Error::Io { path, source } => match source.raw_os_error() {
                // Given a number, OSError becomes the right subclass, such as FileNotFoundError.
                Some(number) => PyOSError::new_err((number, source.kind().to_string(), path)),
                None => PyOSError::new_err(format!("{}: {source}", path.display())),
            },
            Error::Stopped(reason) => match reason.downcast::<PyErr>() {
                Ok(raised) => *raised,
                Err(reason) => PyValueError::new_err(reason.to_string()),
            },
        }
    }
}

/// A check that lets Python run its signal handlers now and then; what they raise ends the work.
fn signals() -> impl FnMut() -> Result<()> {
    let mut last = Instant::now();
    move || {
        if last.elapsed() < SIGNAL_INTERVAL {
            return Ok(());
        }
        last = Instant::now();
        Python::attach(|py| py.check_signals()).map_err(|raised| Error::Stopped(Box::new(raised)))
    }
}

/// A byte-pair tokenizer. It never changes; threads may share it.
#[pyclass(frozen, module = "rustbpe", name = "Tokenizer")]
struct Tokenizer {
    inner: tokenizer::Tokenizer,
}

#[pymethods]
impl Tokenizer {
    /// Learn a tokenizer from texts.
    #[classmethod]
    #[pyo3(signature = (texts, vocab_size, *, special_tokens = None, pattern = None, threads = None, progress = None))]
    fn train(
        _cls: &Bound<'_, PyType>,
        texts: &Bound<'_, PyAny>,
        vocab_size: &Bound<'_, PyAny>,
        special_tokens: Option<&Bound<'_, PyAny>>,
        pattern: Option<&Bound<'_, PyString>>,
        threads: Option<&Bound<'_, PyAny>>,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        let request = train::Request::new(vocab_size, special_tokens, pattern, threads)?;
        Ok(Self { inner: train::train(texts, request, progress)? })
    }

    /// Put a tokenizer together from merges that were learnt elsewhere.
    #[classmethod]
    #[pyo3(signature = (merges, *, special_tokens = None, pattern = None))]
    fn from_merges(
        cls: &Bound<'_, PyType>,
        #[pyo3(from_py_with = args::merges)] merges: Vec<Pair>,
        special_tokens: Option<&Bound<'_, PyAny>>,
        pattern: Option<&Bound<'_, PyString>>,
    ) -> PyResult<Self> {
        let special_tokens =
            special_tokens.map_or(Ok(Vec::new()), |given| strings(given, "special_tokens"))?;
        let pattern = pattern.map_or(Ok(SPLIT_PATTERN), |given| utf8(given, "pattern"))?;
        let splitter = Splitter::new(pattern)?;
        let inner = cls.py().detach(|| tokenizer::Tokenizer::new(splitter, merges, special_tokens))?;
        Ok(Self { inner })
    }

    /// Put a tokenizer together from tiktoken's mergeable ranks.
    #[classmethod]
    #[pyo3(signature = (ranks, *, special_tokens = None, pattern = None))]
    fn from_tiktoken(
        cls: &Bound<'_, PyType>,
        ranks: &Bound<'_, PyAny>,
        special_tokens: Option<&Bound<'_, PyAny>>,
        pattern: Option<&Bound<'_, PyString>>,
    ) -> PyResult<Self> {
        let pattern = pattern.map_or(Ok(SPLIT_PATTERN), |given| utf8(given, "pattern"))?;
        let splitter = Splitter::new(pattern)?;
        let merges = formats::merges_of(ranks)?;
        let special_tokens = formats::special_names(special_tokens, merges.len())?;
        let inner = cls.py().detach(|| tokenizer::Tokenizer::new(splitter, merges, special_tokens))?;
        Ok(Self { inner })
    }

    /// Read a tokenizer from a file.
    #[classmethod]
    fn load(cls: &Bound<'_, PyType>, path: PathBuf) -> PyResult<Self> {
        let inner = cls.py().detach(|| file::load(&path))?;
        Ok(Self { inner })
    }

    /// Write this tokenizer to a file, atomically.
    fn save(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        Ok(py.detach(|| file::save(&self.inner, &path))?)
    }

    /// Write the mergeable ranks as tiktoken does, atomically.
    fn save_tiktoken(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        Ok(py.detach(|| file::write(&path, &tiktoken::write(&self.inner)?))?)
    }

    /// Write a `tokenizer.json` of Hugging Face's, atomically.
    fn save_huggingface(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        Ok(py.detach(|| file::write(&path, &huggingface::write(&self.inner)?))?)
    }

    /// The pieces of a text, inside which tokens are merged.
    fn split(&self, text: &Bound<'_, PyString>) -> PyResult<Vec<String>> {
        let mut pieces = Vec::new();
        self.inner.splitter().for_each(utf8(text, "text")?, |piece| {
            pieces.push(piece.to_owned());
            Ok(())
        })?;
        Ok(pieces)
    }

    /// The ids of a text.
    #[pyo3(signature = (text, *, allowed_special = None, disallowed_special = None))]
    fn encode(
        &self,
        text: &Bound<'_, PyString>,
        allowed_special: Option<&Bound<'_, PyAny>>,
        disallowed_special: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Vec<u32>> {
        let choice = Choice::new(self.inner.specials(), allowed_special, disallowed_special)?;
        let py = text.py();
        let text = utf8(text, "text")?;
        Ok(py.detach(|| self.inner.encode(text, choice.rules(), &mut signals()))?)
    }

    /// The ids of each text.
    #[pyo3(signature = (texts, *, allowed_special = None, disallowed_special = None, threads = None))]
    fn encode_batch<'py>(
        &self,
        texts: &Bound<'py, PyAny>,
        allowed_special: Option<&Bound<'_, PyAny>>,
        disallowed_special: Option<&Bound<'_, PyAny>>,
        threads: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Bound<'py, PyList>> {
        let choice = Choice::new(self.inner.specials(), allowed_special, disallowed_special)?;
        let threads = threads.map_or(Ok(1), thread_count)?;
        let request = encode::Request { choice, prepend: None, threads };
        encode::many_lists(&self.inner, texts, &request)
    }

    /// The ids of a text, as a numpy array.
    #[pyo3(signature = (text, *, allowed_special = None, disallowed_special = None, dtype = None))]
    fn encode_to_numpy<'py>(
        &self,
        text: &Bound<'py, PyString>,
        allowed_special: Option<&Bound<'py, PyAny>>,
        disallowed_special: Option<&Bound<'py, PyAny>>,
        dtype: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let choice = Choice::new(self.inner.specials(), allowed_special, disallowed_special)?;
        encode::one_array(&self.inner, text, &choice, Dtype::new(dtype, &self.inner)?)
    }

    /// The ids of all texts, as one numpy array, and where each text's begin.
    #[pyo3(signature = (texts, *, prepend = None, allowed_special = None, disallowed_special = None,
                        threads = None, dtype = None))]
    fn encode_batch_to_numpy<'py>(
        &self,
        texts: &Bound<'py, PyAny>,
        prepend: Option<&Bound<'py, PyAny>>,
        allowed_special: Option<&Bound<'py, PyAny>>,
        disallowed_special: Option<&Bound<'py, PyAny>>,
        threads: Option<&Bound<'py, PyAny>>,
        dtype: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
        let choice = Choice::new(self.inner.specials(), allowed_special, disallowed_special)?;
        let prepend = encode::prepended(&self.inner, prepend)?;
        let threads = threads.map_or(Ok(1), thread_count)?;
        let request = encode::Request { choice, prepend, threads };
        encode::many_arrays(&self.inner, texts, &request, Dtype::new(dtype, &self.inner)?)
    }

    /// The text of ids.
    #[pyo3(signature = (ids, *, errors = "replace"))]
    fn decode<'py>(&self, ids: &Bound<'py, PyAny>, errors: &str) -> PyResult<Bound<'py, PyAny>> {
        self.decode_bytes(ids)?.call_method1("decode", ("utf-8", errors))
    }

    /// The bytes of ids.
    fn decode_bytes<'py>(&self, ids: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
        Ok(PyBytes::new(ids.py(), &bytes_of(&self.inner, ids)?))
    }

    /// Decodes ids that come bit by bit.
    #[pyo3(signature = (*, errors = "replace"))]
    fn decoder(slf: &Bound<'_, Self>, errors: &str) -> PyResult<Decoder> {
        Decoder::new(slf, errors)
    }

    /// The bytes of one id.
    fn token_bytes<'py>(&self, id: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
        Ok(PyBytes::new(id.py(), token_of(self.inner.vocab(), id)?))
    }

    /// The number of ids.
    #[getter]
    fn vocab_size(&self) -> usize {
        self.inner.vocab().len()
    }

    /// Special tokens and their ids.
    #[getter]
    fn special_tokens<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(py);
        for (name, id) in self.inner.specials().entries() {
            dict.set_item(name, id)?;
        }
        Ok(dict)
    }

    /// The merges, in order.
    #[getter]
    fn merges(&self) -> Vec<Pair> {
        self.inner.merges().to_vec()
    }

    /// The pattern that cuts texts into pieces.
    #[getter]
    fn pattern(&self) -> &str {
        self.inner.pattern()
    }

    /// The identity of this tokenizer.
    #[getter]
    fn sha256(&self) -> &str {
        self.inner.sha256()
    }

    /// The same as `sha256`.
    #[getter]
    fn hash(&self) -> &str {
        self.inner.sha256()
    }

    /// How copy and pickle, and so other processes, get the same again: from what a file of it holds.
    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, (Bound<'py, PyBytes>,))> {
        let inner = &slf.get().inner;
        let contents = slf.py().detach(|| file::contents(inner))?;
        Ok((slf.get_type().getattr("_of_contents")?, (PyBytes::new(slf.py(), &contents),)))
    }

    /// The inverse of `__reduce__`.
    #[classmethod]
    fn _of_contents(cls: &Bound<'_, PyType>, contents: &[u8]) -> PyResult<Self> {
        let inner = cls.py().detach(|| file::parse(contents))?;
        Ok(Self { inner })
    }

    fn __repr__(&self) -> String {
        format!("<rustbpe.Tokenizer of {} tokens, sha256 {}>", self.vocab_size(), &self.inner.sha256()[..8])
    }
}

#[pymodule]
mod _rustbpe {
    #[pymodule_export]
    use super::{Decoder, Tokenizer};

    #[pymodule_export]
    const SPLIT_PATTERN: &str = super::SPLIT_PATTERN;
}
