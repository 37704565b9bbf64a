//! The patterns of GPT-4's family, written by hand: they cut as the regex does, in one pass without a regex.

use super::window::begins;
use super::{Ends, GROUP};
use crate::classes::{BREAK, BYTE_CLASSES, CLASSES, Classes, END, LETTER, NUMBER, OTHER, SPACE, WIDE};

/// Finds where pieces end. Linear in the text, whatever the text is.
#[derive(Clone, Copy)]
pub struct Scanner {
    classes: &'static Classes,
    most_digits: usize,
}

impl Scanner {
    /// Numbers are cut into groups of at most `most_digits`.
    pub fn new(most_digits: usize) -> Self {
        Self { classes: &CLASSES, most_digits }
    }

    /// Where the piece ends that begins at byte `start` of `text`, which is UTF-8 and goes on there.
    #[inline]
    fn piece_end(&self, text: &[u8], start: usize) -> usize {
        let (class, width) = self.classes.at(text, start);
        let second = start + width;
        match class {
            LETTER => self.letters(text, second),
            NUMBER => self.numbers(text, second),
            BREAK => self.spaces(text, start),
            _ => {
                if let Some(end) = contraction(&text[start..]) {
                    return start + end;
                }
                match self.classes.at(text, second) {
                    (LETTER, width) => self.letters(text, second + width),
                    (OTHER, width) if text[start] == b' ' => self.symbols(text, second + width),
                    _ if class == SPACE => self.spaces(text, start),
                    _ => self.symbols(text, second),
                }
            }
        }
    }

    /// Puts where the next pieces end into `ends`, the first of which begins at byte `start` of `text`, which goes
    /// on there; returns how many, at least [`GROUP`] unless the text ends with them.
    #[inline]
    pub fn group(&self, text: &[u8], mut start: usize, ends: &mut Ends) -> usize {
        let mut held = 0;
        while held < GROUP && start < text.len() {
            let window = text[start..].first_chunk();
            let mut begins = window.map_or(0, |window| begins(window, self.most_digits, self.classes));
            if begins == 0 {
                ends[held] = self.piece_end(text, start);
                held += 1;
            }
            while begins != 0 {
                ends[held] = start + begins.trailing_zeros() as usize;
                begins &= begins - 1;
                held += 1;
            }
            start = ends[held - 1];
        }
        held
    }

    /// The first place after a letter and before something else, after byte `from` of `text`, where a character
    /// begins.
    ///
    /// Whatever the piece is, it ends there: no piece goes on from a letter with anything but letters. And what
    /// comes after is cut the same without what was before, since a piece depends on what follows alone.
    pub fn seam(&self, text: &[u8], from: usize) -> Option<usize> {
        let (mut at, mut after_letter) = (from, false);
        loop {
            match self.classes.at(text, at) {
                (END, _) => return None,
                (LETTER, width) => {
                    after_letter = true;
                    at += width;
                }
                _ if after_letter => return Some(at),
                (_, width) => at += width,
            }
        }
    }

    /// The end of the letters that go on at `at`.
    #[inline]
    fn letters(&self, text: &[u8], mut at: usize) -> usize {
        while let Some(eight) = text[at..].first_chunk() {
            let ascii = ascii_letters(*eight);
            at += ascii;
            if ascii < 8 {
                return if eight[ascii] < 0x80 { at } else { self.wide_letters(text, at) };
            }
        }
        self.wide_letters(text, at)
    }

    /// The same, a letter at a time.
    fn wide_letters(&self, text: &[u8], mut at: usize) -> usize {
        while let Some(&byte) = text.get(at) {
            match BYTE_CLASSES[usize::from(byte)] {
                LETTER => at += 1,
                WIDE => match self.classes.wide(text, at) {
                    (LETTER, width) => at += width,
                    _ => return at,
                },
                _ => return at,
            }
        }
        at
    }

    /// The end of a group of digits, of which one is before `at`.
    fn numbers(&self, text: &[u8], mut at: usize) -> usize {
        for _ in 1..self.most_digits {
            match self.classes.at(text, at) {
                (NUMBER, width) => at += width,
                _ => break,
            }
        }
        at
    }

    /// The end of the symbols that go on at `at`, and of the line breaks after them.
    fn symbols(&self, text: &[u8], mut at: usize) -> usize {
        while let (OTHER, width) = self.classes.at(text, at) {
            at += width;
        }
        while let Some(b'\r' | b'\n') = text.get(at) {
            at += 1;
        }
        at
    }

    /// The end of white space: after its last line break; without one it leaves its last character to what
    /// comes after it, if it has another.
    fn spaces(&self, text: &[u8], start: usize) -> usize {
        let (mut at, mut last, mut after_break) = (start, start, None);
        loop {
            let blanks = blanks(&text[at..]);
            if blanks > 0 {
                at += blanks;
                last = at - 1;
            }
            match self.classes.at(text, at) {
                (BREAK, _) => {
                    at += 1;
                    after_break = Some(at);
                }
                (SPACE, width) => {
                    last = at;
                    at += width;
                }
                (class, _) => {
                    let leave = class != END && last > start;
                    return after_break.unwrap_or(if leave { last } else { at });
                }
            }
        }
    }
}

/// How many spaces `text` begins with.
#[inline]
fn blanks(text: &[u8]) -> usize {
    let mut count = 0;
    while let Some(&eight) = text[count..].first_chunk() {
        let others = u64::from_le_bytes(eight) ^ u64::from_le_bytes([b' '; 8]);
        if others != 0 {
            return count + (others.trailing_zeros() / 8) as usize;
        }
        count += 8;
    }
    count + text[count..].iter().take_while(|&&byte| byte == b' ').count()
}

/// How many ASCII letters there are before the first byte that is none.
///
/// All bytes are compared at once and without a branch, as words end anywhere. Seven bits of each byte are
/// compared, by sums that have the eighth bit if they are large enough; no sum reaches the next byte.
#[inline]
fn ascii_letters(bytes: [u8; 8]) -> usize {
    const EACH: u64 = u64::MAX / 255;
    let word = u64::from_le_bytes(bytes);
    let lower = (word | (EACH * 0x20)) & (EACH * 0x7f);
    let from_a = lower + EACH * (0x80 - b'a' as u64);
    let after_z = lower + EACH * (0x7f - b'z' as u64);
    let letters = from_a & !after_z & !word;
    ((!letters & (EACH * 0x80)).trailing_zeros() / 8) as usize
}

/// The length of the English contraction that `text` begins with; `ſ` is an s to a regex that ignores case.
#[inline]
pub fn contraction(text: &[u8]) -> Option<usize> {
    if text[0] != b'\'' {
        return None;
    }
    match text[1..] {
        [b's' | b'S' | b't' | b'T' | b'm' | b'M' | b'd' | b'D', ..] => Some(2),
        [b'r' | b'R' | b'v' | b'V', b'e' | b'E', ..] | [b'l' | b'L', b'l' | b'L', ..] => Some(3),
        [0xc5, 0xbf, ..] => Some(3),
        _ => None,
    }
}
