//! Special tokens: strings that stand for one id each, found in a text only where the caller allows them.

use aho_corasick::{AhoCorasick, MatchKind};
use rustc_hash::FxHashSet;

use crate::error::{Error, Result};

/// The special tokens of a tokenizer, in the order of their ids.
pub struct Specials {
    names: Vec<String>,
    first_id: u32,
    all: Option<Finder>,
}

/// Finds a set of special tokens in a text; the leftmost first, among those that begin together the longest.
pub struct Finder {
    automaton: AhoCorasick,
    ids: Vec<u32>,
}

/// A special token in a text, as bytes `start..end`.
pub struct Found {
    /// Where it begins.
    pub start: usize,
    /// Where it ends.
    pub end: usize,
    /// Its id.
    pub id: u32,
}

impl Specials {
    /// Gives `names` the ids from `first_id` on; each must be non-empty and stand there once.
    pub fn new(names: Vec<String>, first_id: u32) -> Result<Self> {
        let mut seen = FxHashSet::default();
        for name in &names {
            if name.is_empty() {
                return Err(Error::value("a special token is empty; it must have at least one character"));
            }
            if !seen.insert(name) {
                return Err(Error::value(format!(
                    "special token {name:?} is given twice; it must be given once"
                )));
            }
        }
        let mut specials = Self { names, first_id, all: None };
        if !specials.names.is_empty() {
            specials.all = Some(specials.finder(specials.entries())?);
        }
        Ok(specials)
    }

    /// The strings, in the order of their ids.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Each string with its id.
    pub fn entries(&self) -> impl Iterator<Item = (&str, u32)> {
        self.names.iter().map(String::as_str).zip(self.first_id..)
    }

    /// Finds every special token; `None` where there is none to find.
    pub fn find_all(&self) -> Option<&Finder> {
        self.all.as_ref()
    }

    /// Finds the given ones alone, each of which must be a special token.
    pub fn find_some(&self, allowed: &[String]) -> Result<Option<Finder>> {
        for name in allowed {
            if !self.names.contains(name) {
                return Err(Error::value(format!(
                    "{name:?} is no special token of this tokenizer; allowed_special must name some of {:?}",
                    self.names
                )));
            }
        }
        if allowed.is_empty() {
            return Ok(None);
        }
        let chosen = self.entries().filter(|(name, _)| allowed.iter().any(|other| other == name));
        self.finder(chosen).map(Some)
    }

    fn finder<'a>(&self, entries: impl Iterator<Item = (&'a str, u32)>) -> Result<Finder> {
        let (names, ids): (Vec<&str>, Vec<u32>) = entries.unzip();
        let automaton = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(names)
            .map_err(|error| Error::value(format!("the special tokens are too many or too long: {error}")))?;
        Ok(Finder { automaton, ids })
    }
}

impl Finder {
    /// Each special token of `text`, from left to right, without overlap.
    pub fn in_text<'f>(&'f self, text: &'f str) -> impl Iterator<Item = Found> + 'f {
        self.automaton.find_iter(text).map(|found| Found {
            start: found.start(),
            end: found.end(),
            id: self.ids[found.pattern().as_usize()],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn specials(names: &[&str]) -> Result<Specials> {
        Specials::new(names.iter().map(|name| name.to_string()).collect(), 300)
    }

    fn ids(finder: &Finder, text: &str) -> Vec<u32> {
        finder.in_text(text).map(|found| found.id).collect()
    }

    #[test]
    fn the_longest_of_those_that_begin_together_wins() {
        let specials = specials(&["<a>", "<a><b>"]).unwrap();
        assert_eq!(ids(specials.find_all().unwrap(), "x<a><b><a>"), [301, 300]);
    }

    #[test]
    fn what_is_not_allowed_hides_nothing() {
        let specials = specials(&["<a><b>", "<b>"]).unwrap();
        let finder = specials.find_some(&["<b>".into()]).unwrap().unwrap();
        assert_eq!(ids(&finder, "<a><b>"), [301]);
    }

    #[test]
    fn empty_repeated_and_unknown_ones_are_refused() {
        assert!(specials(&[""]).is_err());
        assert!(specials(&["x", "x"]).is_err());
        assert!(specials(&["x"]).unwrap().find_some(&["y".into()]).is_err());
    }
}
