//! The hand-written splitter cuts every text as the pattern engine does; a seam changes no piece.

#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use rustbpe_fuzz::reference::text;
use rustbpe_fuzz::split::{SPLIT_PATTERN, Splitter};

const NANOCHAT: &str = concat!(
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,2}",
    r"| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+",
);

static SPLITTERS: OnceLock<Vec<(Splitter, Splitter)>> = OnceLock::new();

/// Each pattern as it is, and in brackets, so that the engine for any pattern takes it.
fn splitters() -> &'static [(Splitter, Splitter)] {
    SPLITTERS.get_or_init(|| {
        let digits = |pattern: &str| [pattern.to_owned(), pattern.replace("{1,2}", "{1,3}")];
        let patterns = [digits(SPLIT_PATTERN), digits(NANOCHAT)].concat();
        let both = |pattern: &String| {
            (Splitter::new(pattern).unwrap(), Splitter::new(&format!("(?:{pattern})")).unwrap())
        };
        patterns.iter().map(both).collect()
    })
}

fn pieces<'t>(splitter: &Splitter, text: &'t str) -> Vec<&'t str> {
    let mut found = Vec::new();
    splitter
        .for_each(text, |piece| {
            found.push(piece);
            Ok(())
        })
        .unwrap();
    found
}

fuzz_target!(|data: &[u8]| {
    let text = text(data);
    for (fast, general) in splitters() {
        let found = pieces(fast, &text);
        assert_eq!(found.concat(), text);
        assert_eq!(found, pieces(general, &text), "{:?}", fast.pattern());
        for from in [0, 1, text.len() / 3, text.len() / 2, text.len()] {
            if let Some(seam) = fast.seam(&text, from, &mut || Ok(())).unwrap() {
                let (head, tail) = text.split_at(seam);
                assert_eq!([pieces(fast, head), pieces(fast, tail)].concat(), found, "cut at {seam}");
            }
        }
    }
});
