//! Cuts 64 bytes at once: what each byte is becomes a bit, and where pieces begin follows from those bits.
//!
//! A scanner that goes from piece to piece guesses wrongly, more than once a piece, what comes next, and each
//! wrong guess costs a processor as much as twenty of its steps. Here next to nothing is guessed.

use super::scan::contraction;
use crate::classes::{Classes, LETTER, OTHER};

/// How many bytes are cut at once.
pub const WINDOW: usize = 64;

/// What bytes are, a bit for each: that of the first byte is the lowest.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
struct Bits {
    letters: u64,
    numbers: u64,
    /// White space but for line breaks.
    blanks: u64,
    /// The blanks that are U+0020, which may begin a piece of symbols.
    spaces: u64,
    breaks: u64,
    quotes: u64,
    /// Parts of characters of several bytes.
    wide: u64,
    /// Those that are not the first of their character.
    rests: u64,
}

/// Where pieces begin in `window`, of which the first byte begins one: a bit for each, but for that one.
///
/// All are there up to the last of them. What depends on bytes after the window, or on white space or a number of
/// several bytes in it, is left open.
#[inline]
pub fn begins(window: &[u8; WINDOW], most_digits: usize, classes: &Classes) -> u64 {
    let mut bits = Bits::of(window);
    let known = if bits.wide == 0 { u64::MAX } else { bits.widen(window, classes) };
    let [letters, numbers, blanks, breaks] =
        [bits.letters, bits.numbers, bits.blanks, bits.breaks].map(|each| each & known);
    let (spaces, white) = (bits.spaces, blanks | breaks);
    let symbols = known & !(letters | numbers | white);
    // A space right before symbols is one piece with them, as are the line breaks right after them.
    let symbols_begin = symbols & !((symbols | spaces) << 1);
    let white_begins = white & !(white << 1) & !(breaks & symbols << 1);
    let after_breaks = known & !breaks & breaks << 1;
    // The last blank goes with what follows it, or is left alone.
    let last_blank = blanks & !(white >> 1) & known >> 1;
    // Letters take what is before them: any blank, or a symbol that begins a piece.
    let letters_begin = letters & (numbers << 1 | symbols << 1 & !(bits.whole(symbols_begin) << 1));
    let begins = symbols_begin
        | white_begins
        | after_breaks
        | last_blank
        | letters_begin
        | digit_groups(numbers, most_digits)
        | contractions(window, bits.quotes & symbols_begin & letters >> 1);
    begins & certain(blanks, breaks, known) & !1
}

/// The bits of the first `count` bytes, of which there are up to 64.
#[inline]
fn first_bits(count: u32) -> u64 {
    u64::MAX.checked_shr(u64::BITS - count).unwrap_or(0)
}

/// Where groups of digits begin.
#[inline]
fn digit_groups(numbers: u64, most_digits: usize) -> u64 {
    // Bytes that end as many digits as go together.
    let mut full = numbers;
    for _ in 1..most_digits {
        full &= full << 1;
    }
    let mut newest = numbers & !(numbers << 1);
    let mut all = newest;
    while newest != 0 {
        newest = newest << most_digits & full;
        all |= newest;
    }
    all
}

/// Where pieces begin after contractions; each of `quotes` begins a piece and is before a letter.
#[inline]
fn contractions(window: &[u8; WINDOW], mut quotes: u64) -> u64 {
    let mut found = 0;
    while quotes != 0 {
        let at = quotes.trailing_zeros();
        quotes &= quotes - 1;
        if let Some(length) = contraction(&window[at as usize..]) {
            found |= 1u64.checked_shl(at + length as u32).unwrap_or(0);
        }
    }
    found
}

/// The bytes before the first of which it is open whether it begins a piece.
///
/// Those are blanks after a line break: if another one follows them they belong to it, and if what follows is
/// not known they may.
#[inline]
fn certain(blanks: u64, breaks: u64, known: u64) -> u64 {
    let indents = blanks & breaks << 1;
    // The sum carries each indent's bit over its blanks to the byte after them.
    let (sum, is_cut) = blanks.overflowing_add(indents);
    let open = sum & !blanks & (breaks | !known);
    let before_open = open.wrapping_sub(1) & !open;
    let last = indents & before_open;
    if open == 0 && !is_cut { known } else { known & first_bits(last.ilog2()) }
}

/// The bits of a window, by so many bytes at once; the functions of a vector are in scope where this is used.
#[cfg(target_arch = "x86_64")]
macro_rules! vectors {
    ($window:expr, $width:literal) => {{
        let is = |bytes, byte: u8| equal(bytes, all(byte as i8));
        // Only signed numbers can be compared, so the range is moved to where the least of these are.
        let is_from = |bytes, first: u8, count: u8| {
            greater(all((0x80 + count) as i8), add(bytes, all(0x80_u8.wrapping_sub(first) as i8)))
        };
        let mut bits = Self::default();
        let (chunks, _) = $window.as_chunks::<$width>();
        for (chunk, shift) in chunks.iter().zip((0..).step_by($width)) {
            #[allow(unsafe_code)]
            // SAFETY: a chunk has as many bytes as a vector.
            let bytes = unsafe { load(chunk.as_ptr().cast()) };
            let breaks = or(is(bytes, b'\n'), is(bytes, b'\r'));
            let spaces = is(bytes, b' ');
            let white = or(spaces, is_from(bytes, b'\t', 5));
            let lower = or(bytes, all(0x20));
            let put = |bits: &mut u64, found| *bits |= u64::from(bits_of(found) as u32) << shift;
            put(&mut bits.letters, is_from(lower, b'a', 26));
            put(&mut bits.numbers, is_from(bytes, b'0', 10));
            put(&mut bits.blanks, and_not(breaks, white));
            put(&mut bits.spaces, spaces);
            put(&mut bits.breaks, breaks);
            put(&mut bits.quotes, is(bytes, b'\''));
            put(&mut bits.wide, bytes);
            put(&mut bits.rests, greater(all(0xc0_u8 as i8), bytes));
        }
        bits
    }};
}

impl Bits {
    /// Finds the letters of several bytes; what is none is a symbol. Returns the bytes before the first character
    /// that is neither, or may go on after the window.
    #[inline]
    fn widen(&mut self, window: &[u8; WINDOW], classes: &Classes) -> u64 {
        let mut firsts = self.wide & !self.rests;
        while firsts != 0 {
            let at = firsts.trailing_zeros();
            let Some(&bytes) = window[at as usize..].first_chunk() else { return first_bits(at) };
            let (class, width) = classes.of_wide(bytes);
            if class != LETTER && class != OTHER {
                return first_bits(at);
            }
            self.letters |= if class == LETTER { first_bits(width as u32) << at } else { 0 };
            firsts &= firsts - 1;
        }
        u64::MAX
    }

    /// All bytes of the characters whose first bytes these are.
    #[inline]
    fn whole(&self, firsts: u64) -> u64 {
        let two = firsts | firsts << 1 & self.rests;
        let three = two | two << 1 & self.rests;
        three | three << 1 & self.rests
    }

    #[cfg(target_arch = "x86_64")]
    #[allow(unsafe_code)]
    #[inline]
    fn of(window: &[u8; WINDOW]) -> Self {
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has it.
            return unsafe { Self::by_thirtytwos(window) };
        }
        // SAFETY: SSE2 is part of x86-64.
        unsafe { Self::by_sixteens(window) }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn of(window: &[u8; WINDOW]) -> Self {
        Self::by_bytes(window)
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "sse2")]
    #[inline]
    fn by_sixteens(window: &[u8; WINDOW]) -> Self {
        use std::arch::x86_64::{
            _mm_add_epi8 as add, _mm_andnot_si128 as and_not, _mm_cmpeq_epi8 as equal,
            _mm_cmpgt_epi8 as greater, _mm_loadu_si128 as load, _mm_movemask_epi8 as bits_of,
            _mm_or_si128 as or, _mm_set1_epi8 as all,
        };
        vectors!(window, 16)
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn by_thirtytwos(window: &[u8; WINDOW]) -> Self {
        use std::arch::x86_64::{
            _mm256_add_epi8 as add, _mm256_andnot_si256 as and_not, _mm256_cmpeq_epi8 as equal,
            _mm256_cmpgt_epi8 as greater, _mm256_loadu_si256 as load, _mm256_movemask_epi8 as bits_of,
            _mm256_or_si256 as or, _mm256_set1_epi8 as all,
        };
        vectors!(window, 32)
    }

    #[cfg(any(test, not(target_arch = "x86_64")))]
    fn by_bytes(window: &[u8; WINDOW]) -> Self {
        use crate::classes::{BREAK, BYTE_CLASSES, NUMBER, SPACE, WIDE};

        let mut bits = Self::default();
        for (at, &byte) in window.iter().enumerate() {
            let put = |bits: &mut u64, found| *bits |= u64::from(found) << at;
            let class = BYTE_CLASSES[usize::from(byte)];
            put(&mut bits.letters, class == LETTER);
            put(&mut bits.numbers, class == NUMBER);
            put(&mut bits.blanks, class == SPACE);
            put(&mut bits.spaces, byte == b' ');
            put(&mut bits.breaks, class == BREAK);
            put(&mut bits.quotes, byte == b'\'');
            put(&mut bits.wide, class == WIDE);
            put(&mut bits.rests, byte & 0xc0 == 0x80);
        }
        bits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classes::CLASSES;

    #[test]
    fn many_bytes_at_once_are_what_each_is() {
        for first in 0..=u8::MAX {
            let window = std::array::from_fn(|at| first.wrapping_add(at as u8));
            let expected = Bits::by_bytes(&window);
            assert_eq!(Bits::of(&window), expected);
            #[cfg(target_arch = "x86_64")]
            #[allow(unsafe_code)]
            // SAFETY: SSE2 is part of x86-64.
            let by_sixteens = unsafe { Bits::by_sixteens(&window) };
            #[cfg(target_arch = "x86_64")]
            assert_eq!(by_sixteens, expected);
        }
    }

    #[test]
    fn what_later_bytes_may_change_is_left_open() {
        let begins = |text: &str| {
            let mut window = [b'x'; WINDOW];
            let held = text.len().min(WINDOW);
            window[..held].copy_from_slice(&text.as_bytes()[..held]);
            super::begins(&window, 2, &CLASSES)
        };
        assert_eq!(begins("a  \u{a0} c"), 0b10, "a space before white space of several bytes");
        assert_eq!(begins("a  ² c"), 0b10, "a space before a number of several bytes");
        assert_eq!(begins(&format!("a, {}字", "x".repeat(59))), 0b110, "a character that may go on");
        assert_eq!(begins(&format!("a\n{}", " ".repeat(62))), 0b10, "blanks after a line break");
        assert_eq!(begins(&format!("a\n{}\n", " ".repeat(61))), 0b10, "blanks between two line breaks");
        assert_eq!(begins(&format!("a\n{}b", " ".repeat(61))), 1 << 62 | 0b110);
        assert_eq!(begins(&format!("a{}", " ".repeat(63))), 0b10, "blanks up to the end");
        assert_eq!(begins(&"x".repeat(64)), 0, "one piece");
    }
}
