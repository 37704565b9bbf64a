//! What is learnt from any texts is what the definition says, and a size that cannot be had is an error.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rustbpe_fuzz::count::PieceCounts;
use rustbpe_fuzz::reference::{self, text};
use rustbpe_fuzz::split::SPLIT_PATTERN;
use rustbpe_fuzz::train::Plan;

const PATTERNS: [&str; 3] = [SPLIT_PATTERN, r"(?s:.+)", r"\S+|\s+"];

fuzz_target!(|data: &[u8]| {
    let [pattern, want, rest @ ..] = data else { return };
    let pattern = PATTERNS[usize::from(*pattern) % PATTERNS.len()];
    let want = usize::from(*want) % 60;
    let texts: Vec<String> = rest.chunks(40).map(text).collect();
    let plan = Plan::new(pattern, vec![], 256 + want).unwrap();
    let mut counts = PieceCounts::default();
    let mut pieces = Vec::new();
    for text in &texts {
        counts.add(plan.splitter(), text, &mut || Ok(())).unwrap();
        plan.splitter()
            .for_each(text, |piece| {
                pieces.push(piece);
                Ok(())
            })
            .unwrap();
    }
    let expected = reference::learn(&pieces, want);
    match plan.learn(counts, &mut |_| Ok(())) {
        Ok(made) => assert_eq!(made.merges(), expected),
        Err(refused) => assert!(expected.len() < want, "{refused}"),
    }
});
