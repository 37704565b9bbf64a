//! Exact byte-pair encoding: learn merges from text, encode text into ids, decode ids into text.
//!
//! A text is cut into pieces by a pattern ([`split`]), pieces are counted ([`count`]), the most frequent
//! adjacent pair is merged again and again ([`merge`]), and the learnt merges encode new text ([`encode`]).
//! Everything but `python` is free of Python, so that `cargo test` needs no interpreter.

pub mod batch;
pub mod cache;
pub mod classes;
pub mod count;
pub mod encode;
pub mod error;
pub mod file;
pub mod formats;
pub mod memory;
pub mod merge;
#[cfg(not(test))]
mod python;
pub mod special;
pub mod split;
pub mod threads;
pub mod tokenizer;
pub mod train;
pub mod vocab;
pub mod worker;
