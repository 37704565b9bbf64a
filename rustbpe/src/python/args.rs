//! Reads what Python hands over; what does not fit is a TypeError or a ValueError that names it.

use pyo3::exceptions::{PyOverflowError, PyTypeError, PyUnicodeEncodeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyIterator, PyString};

use crate::merge::{BYTE_TOKENS, Pair};
use crate::vocab::Vocab;

/// The strings of an iterable that is not itself a string, taken one by one.
pub struct Items<'py> {
    iterator: Bound<'py, PyIterator>,
    name: &'static str,
    taken: usize,
}

impl<'py> Items<'py> {
    /// Asks `iterable` for its iterator; errors call it `name`.
    pub fn new(iterable: &Bound<'py, PyAny>, name: &'static str) -> PyResult<Self> {
        if iterable.is_instance_of::<PyString>() {
            return Err(PyTypeError::new_err(format!(
                "{name} is one str; it must be an iterable of str: put it in a list"
            )));
        }
        Ok(Self { iterator: iterable.try_iter()?, name, taken: 0 })
    }

    /// The next string; none at the end.
    pub fn next(&mut self) -> PyResult<Option<Item<'py>>> {
        let Some(item) = self.iterator.next() else {
            return Ok(None);
        };
        let (name, number) = (self.name, self.taken);
        let string = item?.cast_into::<PyString>().map_err(|error| {
            let kind = error.into_inner().get_type();
            PyTypeError::new_err(format!("item {number} of {name} is of {kind}; it must be a str"))
        })?;
        self.taken += 1;
        Ok(Some(Item { string, name, number }))
    }

    /// The strings that are left.
    pub fn rest(mut self) -> PyResult<Vec<Item<'py>>> {
        let mut rest = Vec::new();
        while let Some(item) = self.next()? {
            rest.push(item);
        }
        Ok(rest)
    }
}

/// A string of an iterable.
pub struct Item<'py> {
    string: Bound<'py, PyString>,
    name: &'static str,
    number: usize,
}

impl Item<'_> {
    /// Its text, as `utf8` has it.
    pub fn text(&self) -> PyResult<&str> {
        // The name is put together for errors alone.
        self.string
            .to_str()
            .or_else(|_| utf8(&self.string, &format!("item {} of {}", self.number, self.name)))
    }

    /// How many characters it has: of bytes there are as many or more.
    pub fn characters(&self) -> PyResult<usize> {
        self.string.len()
    }
}

/// All strings of an iterable.
pub fn strings(iterable: &Bound<'_, PyAny>, name: &'static str) -> PyResult<Vec<String>> {
    let items = Items::new(iterable, name)?.rest()?;
    items.iter().map(|item| item.text().map(str::to_owned)).collect()
}

/// The text of a `str`; one with a lone surrogate has none.
pub fn utf8<'a>(text: &'a Bound<'_, PyString>, name: &str) -> PyResult<&'a str> {
    text.to_str().map_err(|error| {
        let py = text.py();
        if !error.is_instance_of::<PyUnicodeEncodeError>(py) {
            return error;
        }
        let place =
            error.value(py).getattr("start").map_or_else(|_| "?".to_owned(), |start| start.to_string());
        PyValueError::new_err(format!(
            "{name} has a lone surrogate at character {place}; it must be valid Unicode: \
             clean it with text.encode('utf-8', 'replace').decode()"
        ))
    })
}

/// An integer that is at least `least`.
pub fn whole_number(value: &Bound<'_, PyAny>, name: &str, least: usize) -> PyResult<usize> {
    let number = match value.extract::<i64>() {
        Err(error) if !error.is_instance_of::<PyOverflowError>(value.py()) => return Err(error),
        Err(_) => None,
        Ok(number) => usize::try_from(number).ok().filter(|number| *number >= least),
    };
    number.ok_or_else(|| PyValueError::new_err(format!("{name} is {value}; it must be in [{least}, 2^63)")))
}

/// The most threads that can be asked for: so many are on no host, and a host that gives them has none left for
/// others.
const MOST_THREADS: usize = 1024;

/// How many threads shall share some work.
pub fn thread_count(value: &Bound<'_, PyAny>) -> PyResult<usize> {
    let number = whole_number(value, "threads", 1)?;
    if number > MOST_THREADS {
        return Err(PyValueError::new_err(format!("threads is {number}; it must be in [1, {MOST_THREADS}]")));
    }
    Ok(number)
}

/// The bytes of a token id; one that no integer type of ours holds is as unknown as any.
pub fn token_of<'v>(vocab: &'v Vocab, id: &Bound<'_, PyAny>) -> PyResult<&'v [u8]> {
    match id.extract::<i64>() {
        Ok(number) => Ok(vocab.token(number)?),
        Err(error) if error.is_instance_of::<PyOverflowError>(id.py()) => Err(vocab.unknown(id).into()),
        Err(error) => Err(error),
    }
}

/// Merges as pairs of ids; an id that no token can have is a ValueError that names its merge.
pub fn merges(given: &Bound<'_, PyAny>) -> PyResult<Vec<Pair>> {
    let py = given.py();
    let error = match given.extract::<Vec<Pair>>() {
        Err(error) if error.is_instance_of::<PyOverflowError>(py) => error,
        other => return other,
    };
    let pairs = given.extract::<Vec<(Bound<'_, PyAny>, Bound<'_, PyAny>)>>()?;
    let is_id = |id: &Bound<'_, PyAny>| id.extract::<u32>().is_ok();
    match pairs.iter().enumerate().find(|(_, (left, right))| !is_id(left) || !is_id(right)) {
        Some((index, (left, right))) => Err(PyValueError::new_err(format!(
            "merge {index} joins {left} and {right}; both must be in [0, {})",
            BYTE_TOKENS as usize + index
        ))),
        None => Err(error),
    }
}
