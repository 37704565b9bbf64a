//! What a code point is to a split pattern: letter, number, white space or something else.
//!
//! These tables are part of a tokenizer: another version of Unicode cuts some texts elsewhere. They are those of
//! the crate regex-syntax, which tiktoken splits with too, and are kept here so that an update does not change
//! them unseen.

mod ranges;

use std::array::from_fn;
use std::sync::LazyLock;

use rustc_hash::FxHashMap;

pub use ranges::UNICODE_VERSION;
use ranges::{LETTERS, NUMBERS, SPACES};

/// In none of the classes below.
pub const OTHER: u8 = 0;
/// `\p{L}`.
pub const LETTER: u8 = 1;
/// `\p{N}`.
pub const NUMBER: u8 = 2;
/// `\s` but for line breaks.
pub const SPACE: u8 = 3;
/// `\r` or `\n`.
pub const BREAK: u8 = 4;
/// There is no character: the text is at its end.
pub const END: u8 = 5;
/// Of a byte: it is part of a character of several bytes.
pub const WIDE: u8 = 6;

/// The class of each ASCII character; all other bytes are [`WIDE`].
pub static BYTE_CLASSES: [u8; 256] = byte_classes();

const fn byte_classes() -> [u8; 256] {
    let mut table = [WIDE; 256];
    let mut byte = 0;
    while byte < 128 {
        table[byte] = match byte as u8 {
            b'a'..=b'z' | b'A'..=b'Z' => LETTER,
            b'0'..=b'9' => NUMBER,
            b'\n' | b'\r' => BREAK,
            b'\t' | 0x0b | 0x0c | b' ' => SPACE,
            _ => OTHER,
        };
        byte += 1;
    }
    table
}

const PAGE: usize = 256;
const PAGES: usize = 0x11_0000 / PAGE;

/// The class of each code point, by pages of 256, of which most are alike.
pub struct Classes {
    page_of: [u8; PAGES],
    pages: Vec<[u8; PAGE]>,
}

/// The one table, made on first use.
pub static CLASSES: LazyLock<Classes> = LazyLock::new(Classes::new);

impl Classes {
    fn new() -> Self {
        let mut flat = vec![OTHER; PAGE * PAGES];
        for (bounds, class) in [(&LETTERS[..], LETTER), (&NUMBERS[..], NUMBER), (&SPACES[..], SPACE)] {
            for range in bounds.chunks_exact(2) {
                flat[range[0] as usize..=range[1] as usize].fill(class);
            }
        }
        flat[usize::from(b'\n')] = BREAK;
        flat[usize::from(b'\r')] = BREAK;
        let mut classes = Self { page_of: [0; PAGES], pages: Vec::new() };
        let mut known = FxHashMap::default();
        let (pages, _) = flat.as_chunks::<PAGE>();
        for (number, &page) in pages.iter().enumerate() {
            classes.page_of[number] = *known.entry(page).or_insert_with(|| {
                classes.pages.push(page);
                (classes.pages.len() - 1) as u8
            });
        }
        classes
    }

    /// The class of a code point.
    #[inline]
    pub fn of(&self, point: u32) -> u8 {
        let page = self.page_of[point as usize / PAGE];
        self.pages[usize::from(page)][point as usize % PAGE]
    }

    /// The class of the character that begins at byte `at` of a text, and its length in bytes.
    #[inline]
    pub fn at(&self, text: &[u8], at: usize) -> (u8, usize) {
        let Some(&byte) = text.get(at) else { return (END, 0) };
        match BYTE_CLASSES[usize::from(byte)] {
            WIDE => self.wide(text, at),
            class => (class, 1),
        }
    }

    /// `at` for a character of several bytes.
    #[inline]
    pub fn wide(&self, text: &[u8], at: usize) -> (u8, usize) {
        let bytes = text[at..].first_chunk().copied();
        self.of_wide(bytes.unwrap_or_else(|| from_fn(|offset| text.get(at + offset).copied().unwrap_or(0))))
    }

    /// The class of the character of several bytes that these begin with, and its length in bytes.
    #[inline]
    pub fn of_wide(&self, bytes: [u8; 4]) -> (u8, usize) {
        let first = u32::from(bytes[0]);
        let [_, second, third, fourth] = bytes.map(|byte| u32::from(byte & 0x3f));
        match first {
            0x80..0xe0 => (self.of((first & 0x1f) << 6 | second), 2),
            0xe0..0xf0 => (self.of((first & 0x0f) << 12 | second << 6 | third), 3),
            _ => (self.of((first & 0x07) << 18 | second << 12 | third << 6 | fourth), 4),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_point_has_the_class_that_the_regex_engine_gives_it() {
        let regexes = [(LETTER, r"^\p{L}$"), (NUMBER, r"^\p{N}$"), (BREAK, r"^[\r\n]$"), (SPACE, r"^\s$")]
            .map(|(class, pattern)| (class, fancy_regex::Regex::new(pattern).unwrap()));
        for character in (0..=0x10_ffff).filter_map(char::from_u32) {
            let text = character.to_string();
            let expected = regexes.iter().find(|(_, regex)| regex.is_match(&text).unwrap());
            let expected = expected.map_or(OTHER, |(class, _)| *class);
            assert_eq!(CLASSES.at(text.as_bytes(), 0), (expected, text.len()), "{:x}", u32::from(character));
        }
    }

    #[test]
    fn the_pages_fit_into_a_byte() {
        assert!(CLASSES.pages.len() <= 256);
    }
}
