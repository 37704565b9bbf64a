//! The Python side of encoding: what a call asks for, and ids as arrays.

use numpy::{Element, IntoPyArray};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyString};

use crate::batch::{Encoded, Orders, Shares, encode_with};
use crate::special::{Finder, Rules, Specials};
use crate::tokenizer::Tokenizer;
use crate::worker::{Id, room_for_ids};

use super::args::{Item, Items, strings, token_of, utf8};
use super::signals;

/// A set of special tokens that a call names.
enum Chosen<'a> {
    All(Option<&'a Finder>),
    Some(Option<Finder>),
}

impl Chosen<'_> {
    fn finder(&self) -> Option<&Finder> {
        match self {
            Self::All(finder) => *finder,
            Self::Some(finder) => finder.as_ref(),
        }
    }
}

/// What the call says about special tokens.
pub struct Choice<'a> {
    allowed: Chosen<'a>,
    disallowed: Chosen<'a>,
}

impl<'a> Choice<'a> {
    /// Reads `allowed_special` and `disallowed_special`; all that are disallowed are all that are not allowed.
    pub fn new(
        specials: &'a Specials,
        allowed: Option<&Bound<'_, PyAny>>,
        disallowed: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let allowed_names = names(allowed, "allowed_special")?;
        let disallowed_names = match names(disallowed, "disallowed_special")? {
            Some(names) => names,
            None => match &allowed_names {
                None => Vec::new(),
                Some(allowed) => {
                    let others = specials.names().iter().filter(|name| !allowed.contains(name));
                    others.cloned().collect()
                }
            },
        };
        let allowed = match allowed_names {
            None => Chosen::All(specials.find_all()),
            Some(names) => Chosen::Some(specials.find_some(&names, "allowed_special")?),
        };
        let disallowed = Chosen::Some(specials.find_some(&disallowed_names, "disallowed_special")?);
        Ok(Self { allowed, disallowed })
    }

    /// The same, as the tokenizer wants it.
    pub fn rules(&self) -> Rules<'_> {
        Rules { allowed: self.allowed.finder(), disallowed: self.disallowed.finder() }
    }
}

/// The names of an argument that is left out, a collection, or "all", which is `None`.
fn names(given: Option<&Bound<'_, PyAny>>, argument: &'static str) -> PyResult<Option<Vec<String>>> {
    let Some(given) = given else { return Ok(Some(Vec::new())) };
    match given.cast::<PyString>() {
        Ok(word) if word.to_cow().is_ok_and(|word| word == "all") => Ok(None),
        _ => strings(given, argument).map(Some),
    }
}

/// The id that is to stand before each text: a special token's name, or any id.
pub fn prepended(tokenizer: &Tokenizer, given: Option<&Bound<'_, PyAny>>) -> PyResult<Option<u32>> {
    let Some(given) = given else { return Ok(None) };
    if let Ok(name) = given.cast::<PyString>() {
        return Ok(Some(tokenizer.specials().id(utf8(name, "prepend")?, "prepend")?));
    }
    token_of(tokenizer.vocab(), given)?;
    given.extract().map(Some)
}

/// The types of arrays of ids.
#[derive(Clone, Copy)]
pub enum Dtype {
    /// Holds the ids of a vocabulary of up to 65,536.
    Uint16,
    /// Holds any id.
    Uint32,
    /// What torch indexes with.
    Int64,
}

impl Dtype {
    /// Reads whatever numpy takes for a type.
    pub fn new(given: Option<&Bound<'_, PyAny>>, tokenizer: &Tokenizer) -> PyResult<Self> {
        let Some(given) = given else { return Ok(Self::Uint32) };
        let dtype = given.py().import("numpy")?.call_method1("dtype", (given,))?;
        let size = tokenizer.vocab().len();
        match dtype.getattr("name")?.extract::<String>()?.as_str() {
            "uint16" if size > 1 << 16 => Err(PyValueError::new_err(format!(
                "dtype is uint16, which holds ids below 65536, but the vocabulary has {size}: use uint32"
            ))),
            "uint16" => Ok(Self::Uint16),
            "uint32" => Ok(Self::Uint32),
            "int64" => Ok(Self::Int64),
            other => {
                Err(PyValueError::new_err(format!("dtype is {other}; it must be uint16, uint32 or int64")))
            }
        }
    }
}

/// A new array that owns `numbers`, which are not copied.
fn array<'py, T: Element>(py: Python<'py>, mut numbers: Vec<T>) -> PyResult<Bound<'py, PyAny>> {
    // Without numpy the crate would panic; here it is an error.
    py.import("numpy")?;
    numbers.shrink_to_fit();
    Ok(numbers.into_pyarray(py).into_any())
}

/// The ids of one text.
pub fn one_array<'py>(
    tokenizer: &Tokenizer,
    text: &Bound<'py, PyString>,
    choice: &Choice<'_>,
    dtype: Dtype,
) -> PyResult<Bound<'py, PyAny>> {
    let utf8 = utf8(text, "text")?;
    match dtype {
        Dtype::Uint16 => one_array_of::<u16>(tokenizer, text.py(), utf8, choice),
        Dtype::Uint32 => one_array_of::<u32>(tokenizer, text.py(), utf8, choice),
        Dtype::Int64 => one_array_of::<i64>(tokenizer, text.py(), utf8, choice),
    }
}

fn one_array_of<'py, T: Id + Element>(
    tokenizer: &Tokenizer,
    py: Python<'py>,
    text: &str,
    choice: &Choice<'_>,
) -> PyResult<Bound<'py, PyAny>> {
    let rules = choice.rules();
    let ids = py.detach(|| {
        let mut ids: Vec<T> = room_for_ids(text.len());
        let work = |worker: &mut _| tokenizer.encode_into(worker, text, rules, &mut ids, &mut signals());
        tokenizer.with_worker(work).map(|()| ids)
    })?;
    array(py, ids)
}

/// What a call wants of many texts.
pub struct Request<'a> {
    /// Special tokens.
    pub choice: Choice<'a>,
    /// The id before those of each text.
    pub prepend: Option<u32>,
    /// How many threads may work.
    pub threads: usize,
}

/// The ids of each text.
fn encoded<T: Id>(
    tokenizer: &Tokenizer,
    texts: &Bound<'_, PyAny>,
    request: &Request<'_>,
) -> PyResult<Encoded<T>> {
    let items = Items::new(texts, "texts")?.rest()?;
    let bytes = items.iter().map(Item::characters).sum::<PyResult<usize>>()?;
    let orders = Orders { rules: request.choice.rules(), prepend: request.prepend };
    encode_with(tokenizer, orders, Shares { threads: request.threads, bytes }, |mut batch| {
        // Python makes UTF-8 on this thread, of texts that are not ASCII; the others need not wait for all of it.
        items.iter().try_for_each(|item| item.text().map(|text| batch.add(text)))?;
        texts.py().detach(|| batch.finish(&mut signals()));
        Ok(())
    })
}

/// The ids of each text in a list.
pub fn many_lists<'py>(
    tokenizer: &Tokenizer,
    texts: &Bound<'py, PyAny>,
    request: &Request<'_>,
) -> PyResult<Bound<'py, PyList>> {
    let py = texts.py();
    let lists = PyList::empty(py);
    let encoded = encoded::<u32>(tokenizer, texts, request)?;
    encoded.texts().try_for_each(|ids| lists.append(PyList::new(py, ids)?))?;
    Ok(lists)
}

/// The ids of all texts in one array, and where those of each begin and end in another.
pub fn many_arrays<'py>(
    tokenizer: &Tokenizer,
    texts: &Bound<'py, PyAny>,
    request: &Request<'_>,
    dtype: Dtype,
) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
    let py = texts.py();
    match dtype {
        Dtype::Uint16 => flat(py, encoded::<u16>(tokenizer, texts, request)?),
        Dtype::Uint32 => flat(py, encoded::<u32>(tokenizer, texts, request)?),
        Dtype::Int64 => flat(py, encoded::<i64>(tokenizer, texts, request)?),
    }
}

fn flat<'py, T: Id + Element>(
    py: Python<'py>,
    encoded: Encoded<T>,
) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
    let Encoded { ids, ends } = encoded;
    let offsets: Vec<i64> = std::iter::once(0).chain(ends).map(|end| end as i64).collect();
    Ok((array(py, ids)?, array(py, offsets)?))
}
