//! Prints `src/classes/ranges.rs` from the tables of the crate regex-syntax: what `\p{L}`, `\p{N}` and `\s` hold.
//!
//! `cargo run --example classes > src/classes/ranges.rs`, then `cargo fmt`. A tokenizer's ids depend on these
//! tables, so a new version of Unicode is a change to be made on purpose.

use regex_syntax::hir::{Class, HirKind};

/// The version that the tables of regex-syntax 0.8.12 say they are of.
const UNICODE: &str = "16.0.0";

fn main() {
    println!("//! Code points by class, printed by `examples/classes.rs`; not to be edited.\n");
    println!("/// The version of Unicode that these are of.");
    println!("pub const UNICODE_VERSION: &str = \"{UNICODE}\";");
    for (name, class) in [("LETTERS", r"\p{L}"), ("NUMBERS", r"\p{N}"), ("SPACES", r"\s")] {
        let bounds: Vec<String> = ranges(class)
            .iter()
            .flat_map(|&(first, last)| [format!("0x{first:x}"), format!("0x{last:x}")])
            .collect();
        println!("\n/// `{class}`: the first and the last code point of each range, in order.");
        println!("pub const {name}: [u32; {}] = [{}];", bounds.len(), bounds.join(", "));
    }
}

fn ranges(class: &str) -> Vec<(u32, u32)> {
    match regex_syntax::parse(class).map(|parsed| parsed.into_kind()) {
        Ok(HirKind::Class(Class::Unicode(class))) => {
            class.iter().map(|range| (u32::from(range.start()), u32::from(range.end()))).collect()
        }
        _ => Vec::new(),
    }
}
