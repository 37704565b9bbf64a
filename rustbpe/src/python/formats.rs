//! The Python side of other libraries' formats.

use std::fs;
use std::path::PathBuf;

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMapping};

use crate::error::Error;
use crate::formats::tiktoken;
use crate::merge::{BYTE_TOKENS, Pair};

use super::args::{strings, whole_number};
use super::signals;

/// The merges of a file of ranks, or of a mapping of tokens to ranks.
pub fn merges_of(ranks: &Bound<'_, PyAny>) -> PyResult<Vec<Pair>> {
    let py = ranks.py();
    if let Ok(mapping) = ranks.cast::<PyMapping>() {
        let ranks = ranks_of(mapping)?;
        return Ok(py.detach(|| tiktoken::merges(ranks, &mut signals()))?);
    }
    let path: PathBuf = ranks.extract().map_err(|_| {
        PyTypeError::new_err(
            "ranks is neither a mapping nor a path; it must be {bytes: int} or a file's path",
        )
    })?;
    let merges = py.detach(|| {
        let bytes = fs::read(&path).map_err(|source| Error::io(&path, source))?;
        tiktoken::read(&bytes).and_then(|ranks| tiktoken::merges(ranks, &mut signals())).map_err(|error| {
            match error {
                Error::Value(reason) => Error::value(format!("{}: {reason}", path.display())),
                other => other,
            }
        })
    })?;
    Ok(merges)
}

fn ranks_of(mapping: &Bound<'_, PyMapping>) -> PyResult<Vec<(Vec<u8>, u64)>> {
    let mut ranks = Vec::new();
    for item in mapping.items()? {
        let (token, rank) = item.extract::<(Bound<'_, PyAny>, Bound<'_, PyAny>)>()?;
        let token = token.cast_into::<PyBytes>().map_err(|error| {
            let kind = error.into_inner().get_type();
            PyTypeError::new_err(format!("a token of ranks is of {kind}; it must be bytes"))
        })?;
        ranks.push((token.as_bytes().to_vec(), whole_number(&rank, "a rank", 0)? as u64));
    }
    Ok(ranks)
}

/// The names of special tokens. Where ids come with them, those must be the ones that they get here.
pub fn special_names(given: Option<&Bound<'_, PyAny>>, merges: usize) -> PyResult<Vec<String>> {
    let Some(given) = given else { return Ok(Vec::new()) };
    let Ok(mapping) = given.cast::<PyMapping>() else {
        return strings(given, "special_tokens");
    };
    let mut entries = Vec::new();
    for item in mapping.items()? {
        let (name, id) = item.extract::<(Bound<'_, PyAny>, Bound<'_, PyAny>)>()?;
        entries.push((whole_number(&id, "a special token's id", 0)?, name));
    }
    entries.sort_by_key(|(id, _)| *id);
    let first = BYTE_TOKENS as usize + merges;
    if !entries.iter().map(|(id, _)| *id).eq(first..first + entries.len()) {
        return Err(PyValueError::new_err(format!(
            "special_tokens has ids with gaps; they must be {first}, {}, ... without gaps, after the ranks",
            first + 1
        )));
    }
    let names = pyo3::types::PyList::new(given.py(), entries.into_iter().map(|(_, name)| name))?;
    strings(&names, "special_tokens")
}
