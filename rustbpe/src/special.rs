//! Special tokens: strings that stand for one id each, found in a text only where the caller allows them.

use aho_corasick::{AhoCorasick, MatchKind};
use rustc_hash::FxHashSet;

use crate::error::{Error, Result};

/// The most bytes of a special token: those of tokenizers in use have a few dozen, and to make a finder of one
/// that repeats itself takes the square of its length.
const MAX_BYTES: usize = 1_000;

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

/// What special tokens mean in a text; those that are in neither set are ordinary text.
#[derive(Clone, Copy, Default)]
pub struct Rules<'a> {
    /// Each of these becomes its id.
    pub allowed: Option<&'a Finder>,
    /// A text that has one of these is refused, even where it is allowed.
    pub disallowed: Option<&'a Finder>,
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
    /// Gives `names` the ids from `first_id` on; each must be non-empty, short, and stand there once.
    pub fn new(names: Vec<String>, first_id: u32) -> Result<Self> {
        let mut seen = FxHashSet::default();
        for name in &names {
            if name.is_empty() {
                return Err(Error::value("a special token is empty; it must have at least one character"));
            }
            if name.len() > MAX_BYTES {
                let beginning: String = name.chars().take(20).collect();
                return Err(Error::value(format!(
                    "the special token that begins with {beginning:?} has {} bytes; it must have at most \
                     {MAX_BYTES}: shorten it",
                    name.len()
                )));
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

    /// Finds the given ones alone, each of which must be a special token; errors call them `argument`.
    pub fn find_some(&self, names: &[String], argument: &str) -> Result<Option<Finder>> {
        for name in names {
            if !self.names.contains(name) {
                return Err(Error::value(format!(
                    "{name:?} is no special token of this tokenizer; {argument} must name some of {:?}",
                    self.names
                )));
            }
        }
        if names.is_empty() {
            return Ok(None);
        }
        let chosen = self.entries().filter(|(name, _)| names.iter().any(|other| other == name));
        self.finder(chosen).map(Some)
    }

    /// The id of one special token; errors call it `argument`.
    pub fn id(&self, name: &str, argument: &str) -> Result<u32> {
        self.entries().find(|(other, _)| *other == name).map(|(_, id)| id).ok_or_else(|| {
            Error::value(format!(
                "{argument} is {name:?}; it must be a special token of this tokenizer, one of {:?}",
                self.names
            ))
        })
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

impl Rules<'_> {
    /// Refuses a text that has a disallowed special token.
    pub fn check(&self, text: &str) -> Result<()> {
        let Some(found) = self.disallowed.and_then(|finder| finder.in_text(text).next()) else {
            return Ok(());
        };
        Err(Error::value(format!(
            "the text has the special token {:?} at character {}, which must not be there: \
             name it in allowed_special to have its id, or leave it out of disallowed_special to have it as text",
            &text[found.start..found.end],
            text[..found.start].chars().count()
        )))
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
        let finder = specials.find_some(&["<b>".into()], "these").unwrap().unwrap();
        assert_eq!(ids(&finder, "<a><b>"), [301]);
    }

    #[test]
    fn what_is_disallowed_is_named_with_its_place() {
        let specials = specials(&["<a>", "<b>"]).unwrap();
        let disallowed = specials.find_some(&["<b>".into()], "these").unwrap();
        let rules = Rules { allowed: specials.find_all(), disallowed: disallowed.as_ref() };
        assert!(rules.check("é<a>").is_ok());
        let message = rules.check("é<a><b>").unwrap_err().to_string();
        assert!(message.contains(r#""<b>" at character 4"#), "{message}");
    }

    #[test]
    fn the_longest_that_there_may_be_is_found_and_a_longer_one_refused() {
        let most = "x".repeat(MAX_BYTES);
        assert_eq!(ids(specials(&[&most]).unwrap().find_all().unwrap(), &format!("x{most}x")), [300]);
        let message = specials(&[&format!("{most}x")]).err().unwrap().to_string();
        assert!(message.contains("has 1001 bytes; it must have at most 1000"), "{message}");
    }

    #[test]
    fn empty_repeated_and_unknown_ones_are_refused() {
        assert!(specials(&[""]).is_err());
        assert!(specials(&["x", "x"]).is_err());
        assert!(specials(&["x"]).unwrap().find_some(&["y".into()], "these").is_err());
    }
}
