//! Cuts a text into the pieces inside which tokens are merged; no token ever spans two pieces.

mod scan;
mod window;

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::{Check, Error, Result};
use scan::Scanner;
use window::WINDOW;

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

/// Patterns that a [`Scanner`] stands for, with the digits that go together: ours with its sister for three, and
/// the same two as they are written elsewhere.
const SCANNED: [(&str, usize); 4] = [
    (SPLIT_PATTERN, 2),
    (
        concat!(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}",
            r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ),
        3,
    ),
    (
        concat!(
            r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,2}",
            r"| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+",
        ),
        2,
    ),
    (
        concat!(
            r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}",
            r"| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+",
        ),
        3,
    ),
];

/// Pieces are cut in groups of about so many.
pub const GROUP: usize = 64;

/// Room for the ends of the pieces of a group.
pub type Ends = [usize; GROUP_ROOM];

/// How many pieces a group may have: those that are cut together with its last are part of it.
pub const GROUP_ROOM: usize = GROUP + WINDOW;

/// How much of a text is searched between two questions whether to stop.
const SEARCHED_PER_CHECK: usize = 1 << 20;

/// A compiled pattern. Cloning is cheap and gives each thread its own scratch memory.
#[derive(Clone)]
pub struct Splitter {
    pattern: String,
    engine: Engine,
}

#[derive(Clone)]
enum Engine {
    /// Linear in the text, whatever the text is.
    Scanner(Scanner),
    /// Any pattern, by backtracking with a bound on it.
    Regex(Box<fancy_regex::Regex>),
}

impl Splitter {
    /// Compiles `pattern` (the syntax of the crate fancy-regex), or says why it cannot be used.
    pub fn new(pattern: &str) -> Result<Self> {
        let engine = match SCANNED.iter().find(|(scanned, _)| *scanned == pattern) {
            Some(&(_, most_digits)) => Engine::Scanner(Scanner::new(most_digits)),
            None => Engine::Regex(Box::new(compile(pattern)?)),
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
        self.for_each_range(text, |start, end| visit(&text[start..end]))
    }

    /// Calls `visit` with the first byte of each piece of `text` and the one after its last; else the same as
    /// `for_each`.
    #[inline]
    pub fn for_each_range(
        &self,
        text: &str,
        mut visit: impl FnMut(usize, usize) -> Result<()>,
    ) -> Result<()> {
        let mut ends = [0; GROUP_ROOM];
        let mut start = 0;
        while start < text.len() {
            for &end in self.group(text, start, &mut ends)? {
                visit(start, end)?;
                start = end;
            }
        }
        Ok(())
    }

    /// Where the next pieces end, the first of which begins at byte `start` of `text`, which goes on there: fewer
    /// than [`GROUP`] only if the text ends with them. Fails as `for_each` does.
    #[inline]
    pub fn group<'e>(&self, text: &str, mut start: usize, ends: &'e mut Ends) -> Result<&'e [usize]> {
        let held = match &self.engine {
            Engine::Scanner(scanner) => scanner.group(text.as_bytes(), start, ends),
            Engine::Regex(regex) => {
                let mut held = 0;
                while held < GROUP && start < text.len() {
                    start = match_end(regex, text, start)?;
                    ends[held] = start;
                    held += 1;
                }
                held
            }
        };
        Ok(&ends[..held])
    }

    /// A place at or after byte `from` where `text` may be cut in two without any piece changing; none is known
    /// for patterns in general. `check` is asked during a long search.
    pub fn seam(&self, text: &str, from: usize, check: &mut Check<'_>) -> Result<Option<usize>> {
        let Engine::Scanner(scanner) = &self.engine else { return Ok(None) };
        let mut begin = boundary(text, from);
        while begin < text.len() {
            check()?;
            let end = boundary(text, begin + SEARCHED_PER_CHECK);
            if let Some(seam) = scanner.seam(&text.as_bytes()[..end], begin) {
                return Ok(Some(seam));
            }
            begin = end;
        }
        Ok(None)
    }
}

/// Where the first character begins at or after byte `from`; the end of the text if there is none.
fn boundary(text: &str, from: usize) -> usize {
    (from..text.len()).find(|&at| text.is_char_boundary(at)).unwrap_or(text.len())
}

fn compile(pattern: &str) -> Result<fancy_regex::Regex> {
    contained(|| {
        fancy_regex::Regex::new(pattern)
            .map_err(|error| Error::value(format!("the split pattern does not compile: {error}")))
    })
}

/// Where the match ends that begins at byte `start`.
fn match_end(regex: &fancy_regex::Regex, text: &str, start: usize) -> Result<usize> {
    let found = contained(|| {
        let found = regex.find_from_pos(text, start);
        found.map_err(|error| Error::value(format!("the pattern gave up at byte {start}: {error}")))
    })?;
    match found {
        Some(found) if found.start() == start && found.end() > start => Ok(found.end()),
        _ => Err(gap(text, start)),
    }
}

/// Turns a panic of the pattern engine, fed with a stranger's pattern, into an error.
fn contained<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(Error::value("the pattern broke the pattern engine; use a simpler one")))
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

    /// Every alternative of the patterns, and what is next to its border.
    const ATOMS: [&str; 36] = [
        "a",
        "É",
        "ll",
        "re",
        "7",
        "²",
        "٣",
        "12345",
        " ",
        "  ",
        "\t",
        "\u{a0}",
        "\u{3000}",
        "\u{85}",
        "\u{b}",
        "\n",
        "\r\n",
        "\r",
        "\u{2028}",
        "!",
        "_",
        "'",
        "''",
        "'s",
        "'LL",
        "'vE",
        "'ſ",
        "ſ",
        "K",
        "字",
        "\u{301}",
        "ก็",
        "🙂",
        "👩\u{200d}👩",
        "\0",
        "𝟙",
    ];

    #[test]
    fn the_scanner_cuts_as_the_regex_does() {
        for (pattern, _) in SCANNED {
            let scanned = Splitter::new(pattern).unwrap();
            let regex = Splitter::new(&format!("(?:{pattern})")).unwrap();
            let ascii: Vec<&str> = ATOMS.into_iter().filter(|atom| atom.is_ascii()).collect();
            let mut seed = 7u64;
            for length in 0..12_000 {
                // Of some texts windows can be cut from end to end, of others not.
                let atoms = if length % 3 == 0 { &ATOMS[..] } else { &ascii };
                let mut text = String::new();
                for _ in 0..length % 103 {
                    seed =
                        seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    text.push_str(atoms[(seed >> 33) as usize % atoms.len()]);
                }
                assert_eq!(pieces(&scanned, &text), pieces(&regex, &text), "{text:?}");
            }
        }
    }

    #[test]
    fn a_text_cut_at_a_seam_has_the_same_pieces() {
        let splitter = Splitter::new(SPLIT_PATTERN).unwrap();
        let text = "it's a  b \n c'd  '  x y 12z3日本。é\u{301}e'ſ'LL!\r\n字 字7字";
        let whole = pieces(&splitter, text);
        let mut seams = 0;
        for from in 0..text.len() {
            let Some(seam) = splitter.seam(text, from, &mut || Ok(())).unwrap() else { continue };
            assert!(seam >= from && seam > 0 && seam < text.len());
            let (head, tail) = text.split_at(seam);
            assert_eq!([pieces(&splitter, head), pieces(&splitter, tail)].concat(), whole);
            seams += 1;
        }
        assert!(seams > 10);
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
