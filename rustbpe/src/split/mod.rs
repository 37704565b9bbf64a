//! Cuts a text into the pieces inside which tokens are merged; no token ever spans two pieces.

use std::panic::{AssertUnwindSafe, catch_unwind};

use regex_automata::{Anchored, Input, meta};

use crate::error::{Error, Result};

/// GPT-4's pattern with numbers in groups of at most two digits.
///
/// Its alternatives, in order: English contractions; a word with at most one leading character that is
/// neither letter, digit nor line break; one or two digits; punctuation with the line breaks after it; white
/// space up to its last line break; white space but for the last character before a word; white space.
pub const SPLIT_PATTERN: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)",
    r"|[^\r\n\p{L}\p{N}]?\p{L}+",
    r"|\p{N}{1,2}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*",
    r"|\s*[\r\n]+",
    r"|\s+(?!\S)|\s+",
);

/// The end of [`SPLIT_PATTERN`] that a regular language cannot say; [`trim_run`] stands for it.
const SPACE_TAIL: &str = r"|\s+(?!\S)|\s+";
const SPACES: &str = r"\s+";

/// A compiled pattern. Cloning is cheap and gives each thread its own scratch memory.
#[derive(Clone)]
pub struct Splitter {
    pattern: String,
    engine: Engine,
}

#[derive(Clone)]
enum Engine {
    /// Linear in the text, whatever the text is.
    Linear(meta::Regex),
    /// Any pattern, by backtracking with a bound on it.
    Backtracking(Box<fancy_regex::Regex>),
}

impl Splitter {
    /// Compiles `pattern` (the syntax of the crate fancy-regex), or says why it cannot be used.
    pub fn new(pattern: &str) -> Result<Self> {
        let engine = match pattern.strip_suffix(SPACE_TAIL) {
            // Only our own pattern: in others `?+` may stand for something that this engine reads
            // differently.
            Some(head) if pattern == SPLIT_PATTERN => Engine::linear(head)?,
            _ => Engine::backtracking(pattern)?,
        };
        Ok(Self { pattern: pattern.to_owned(), engine })
    }

    /// The pattern as it was given.
    pub fn pattern(&self) -> &str {
        &self.pattern
    }

    /// Calls `visit` with the pieces of `text` in order; together they are exactly `text`.
    ///
    /// Fails where the pattern leaves a gap or matches nothing, rather than losing text; `visit` may have
    /// seen earlier pieces by then.
    pub fn for_each<'t>(&self, text: &'t str, mut visit: impl FnMut(&'t str) -> Result<()>) -> Result<()> {
        let mut start = 0;
        while start < text.len() {
            let end = self.engine.piece_end(text, start)?;
            visit(&text[start..end])?;
            start = end;
        }
        Ok(())
    }
}

impl Engine {
    fn linear(head: &str) -> Result<Self> {
        let regex =
            meta::Regex::new_many(&[head, SPACES]).map_err(|error| bad_pattern(&error.to_string()))?;
        Ok(Self::Linear(regex))
    }

    fn backtracking(pattern: &str) -> Result<Self> {
        let regex =
            contained(|| fancy_regex::Regex::new(pattern).map_err(|error| bad_pattern(&error.to_string())))?;
        Ok(Self::Backtracking(Box::new(regex)))
    }

    /// Where the piece that begins at byte `start` ends.
    fn piece_end(&self, text: &str, start: usize) -> Result<usize> {
        match self {
            Self::Linear(regex) => {
                let input = Input::new(text).range(start..).anchored(Anchored::Yes);
                let found = regex.search(&input).ok_or_else(|| gap(text, start))?;
                let is_run = found.pattern().as_usize() == 1;
                Ok(if is_run { trim_run(text, start, found.end()) } else { found.end() })
            }
            Self::Backtracking(regex) => {
                let found = contained(|| {
                    let found = regex.find_from_pos(text, start);
                    found.map_err(|error| {
                        Error::value(format!("the pattern gave up at byte {start}: {error}"))
                    })
                })?;
                match found {
                    Some(found) if found.start() == start && found.end() > start => Ok(found.end()),
                    _ => Err(gap(text, start)),
                }
            }
        }
    }
}

/// The end of a run of spaces that leaves its last character to the word after it, if there is one.
fn trim_run(text: &str, start: usize, end: usize) -> usize {
    if end == text.len() {
        return end;
    }
    let last = text[start..end].char_indices().next_back().map_or(0, |(offset, _)| offset);
    if last == 0 { end } else { start + last }
}

/// Turns a panic of the pattern engine, fed with a stranger's pattern, into an error.
fn contained<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(Error::value("the pattern broke the pattern engine; use a simpler one")))
}

fn bad_pattern(reason: &str) -> Error {
    Error::value(format!("the split pattern does not compile: {reason}"))
}

fn gap(text: &str, start: usize) -> Error {
    let rest: String = text[start..].chars().take(10).collect();
    Error::value(format!(
        "the split pattern matches nothing at byte {start} ({rest:?}); it must match every part of a text: \
         add an alternative such as |(?s:.)"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(splitter: &Splitter, text: &str) -> Vec<String> {
        let mut found = Vec::new();
        splitter
            .for_each(text, |piece| {
                found.push(piece.to_owned());
                Ok(())
            })
            .unwrap();
        found
    }

    #[test]
    fn digits_go_in_twos_and_a_word_takes_one_space() {
        let splitter = Splitter::new(SPLIT_PATTERN).unwrap();
        assert_eq!(pieces(&splitter, "it's  12345 x"), ["it", "'s", " ", " ", "12", "34", "5", " x"]);
    }

    #[test]
    fn the_linear_engine_cuts_as_the_backtracking_one_does() {
        let linear = Splitter::new(SPLIT_PATTERN).unwrap();
        let backtracking = Splitter::new(&format!("(?:{SPLIT_PATTERN})")).unwrap();
        let atoms = [
            "a", "É", "7", " ", "  ", "\n", "\r\n", "\t", "!", "'s", "'LL", "\u{a0}", "字", "ſ", "\u{301}",
            "\u{2028}",
        ];
        let mut seed = 7u32;
        for length in 0..400 {
            let mut text = String::new();
            for _ in 0..length % 23 {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                text.push_str(atoms[(seed >> 16) as usize % atoms.len()]);
            }
            assert_eq!(pieces(&linear, &text), pieces(&backtracking, &text), "{text:?}");
        }
    }

    #[test]
    fn a_pattern_that_skips_text_is_an_error() {
        let splitter = Splitter::new(r"\w+").unwrap();
        let message = splitter.for_each("ab cd", |_| Ok(())).unwrap_err().to_string();
        assert!(message.contains("byte 2"), "{message}");
    }

    #[test]
    fn a_pattern_that_matches_nothing_is_an_error() {
        let splitter = Splitter::new("b*").unwrap();
        assert!(splitter.for_each("a", |_| Ok(())).is_err());
    }

    #[test]
    fn a_pattern_that_does_not_compile_is_an_error_of_one_line() {
        let message = Splitter::new("(a").err().unwrap().to_string();
        assert!(message.contains("does not compile") && !message.contains('\n'), "{message}");
    }

    #[test]
    fn millions_of_spaces_are_one_piece() {
        let text = " ".repeat(3_000_000);
        let splitter = Splitter::new(SPLIT_PATTERN).unwrap();
        assert_eq!(pieces(&splitter, &text), [text]);
    }
}
