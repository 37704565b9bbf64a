//! A file of any bytes is refused in one line or is a tokenizer that works.

#![no_main]

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use rustbpe_fuzz::error::Result;
use rustbpe_fuzz::file;
use rustbpe_fuzz::formats::tiktoken;
use rustbpe_fuzz::special::Rules;
use rustbpe_fuzz::split::{SPLIT_PATTERN, Splitter};
use rustbpe_fuzz::tokenizer::Tokenizer;

static PATH: LazyLock<PathBuf> =
    LazyLock::new(|| std::env::temp_dir().join(format!("rustbpe-fuzz-{}", std::process::id())));
static SPLITTER: LazyLock<Splitter> = LazyLock::new(|| Splitter::new(SPLIT_PATTERN).unwrap());

/// The ranks of the bytes, then those that the data has: few data would get past the bytes.
fn from_ranks(data: &[u8]) -> Result<Tokenizer> {
    let mut ranks: Vec<(Vec<u8>, u64)> = (0..=255).map(|byte| (vec![byte], u64::from(byte))).collect();
    let tokens = data.split(|&byte| byte == 0).filter(|token| token.len() > 1);
    ranks.extend(tokens.map(<[u8]>::to_vec).zip(256..));
    let merges = tiktoken::merges(ranks, &mut || Ok(()))?;
    let made = Tokenizer::new(SPLITTER.clone(), merges, vec![])?;
    let again = tiktoken::merges(tiktoken::read(&tiktoken::write(&made)?)?, &mut || Ok(()))?;
    assert_eq!(again, made.merges());
    Ok(made)
}

fuzz_target!(|data: &[u8]| {
    let [format, data @ ..] = data else { return };
    let made = match format % 3 {
        0 => {
            fs::write(&*PATH, data).unwrap();
            file::load(&PATH)
        }
        1 => tiktoken::read(data)
            .and_then(|ranks| tiktoken::merges(ranks, &mut || Ok(())))
            .and_then(|merges| Tokenizer::new(SPLITTER.clone(), merges, vec![])),
        _ => from_ranks(data),
    };
    match made {
        Ok(made) => {
            let ids = made.encode("it's 12 na\u{ef}ve\n  \u{1f642}", Rules::default(), &mut || Ok(()));
            assert!(ids.is_ok_and(|ids| !ids.is_empty()) || made.pattern() != SPLIT_PATTERN);
        }
        Err(refused) => assert!(!refused.to_string().contains('\n')),
    }
});
