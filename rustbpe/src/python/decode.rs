//! The Python side of decoding: ids from anything that holds some, and text as soon as its characters are whole.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyInt};

use crate::tokenizer;

use super::Tokenizer;
use super::args::token_of;

/// The bytes of the ids of an iterable.
pub fn bytes_of(tokenizer: &tokenizer::Tokenizer, ids: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    let mut bytes = Vec::new();
    for id in ids.try_iter()? {
        bytes.extend_from_slice(token_of(tokenizer.vocab(), &id?)?);
    }
    Ok(bytes)
}

/// Decodes ids that come bit by bit.
#[pyclass(frozen, module = "rustbpe", name = "Decoder")]
pub struct Decoder {
    tokenizer: Py<Tokenizer>,
    /// Python's own incremental decoder, so that `errors` means here what it means everywhere.
    codec: Py<PyAny>,
}

impl Decoder {
    /// One that has been fed nothing.
    pub(super) fn new(tokenizer: &Bound<'_, Tokenizer>, errors: &str) -> PyResult<Self> {
        let py = tokenizer.py();
        let codecs = py.import("codecs")?;
        codecs.call_method1("lookup_error", (errors,))?;
        let codec = codecs.call_method1("getincrementaldecoder", ("utf-8",))?.call1((errors,))?;
        Ok(Self { tokenizer: tokenizer.clone().unbind(), codec: codec.unbind() })
    }

    fn decode<'py>(&self, py: Python<'py>, bytes: &[u8], last: bool) -> PyResult<Bound<'py, PyAny>> {
        let codec = self.codec.bind(py);
        let decoded = codec.call_method1("decode", (PyBytes::new(py, bytes), last));
        if decoded.is_err() || last {
            codec.call_method0("reset")?;
        }
        decoded
    }
}

#[pymethods]
impl Decoder {
    /// The text that one or several ids complete.
    fn feed<'py>(&self, ids: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = ids.py();
        let tokenizer = &self.tokenizer.get().inner;
        if ids.is_instance_of::<PyInt>() {
            return self.decode(py, token_of(tokenizer.vocab(), ids)?, false);
        }
        self.decode(py, &bytes_of(tokenizer, ids)?, false)
    }

    /// What is left at the end.
    fn finish<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.decode(py, &[], true)
    }
}
