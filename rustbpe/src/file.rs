//! Keeps a tokenizer in a JSON file and says what its identity is.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::merge::Pair;
use crate::split::Splitter;
use crate::tokenizer::Tokenizer;

const FORMAT: &str = "curtail-rustbpe";
const SCHEMA: u64 = 1;

/// What a tokenizer is. The identity is the hash of this as JSON: keys in this order, no spaces, non-ASCII as
/// it is.
#[derive(Serialize)]
struct Content<'a> {
    schema: u64,
    pattern: &'a str,
    merges: &'a [Pair],
    special_tokens: &'a [String],
}

/// The file as written.
#[derive(Serialize)]
struct Outgoing<'a> {
    format: &'a str,
    sha256: &'a str,
    #[serde(flatten)]
    content: Content<'a>,
}

/// What tells a file of ours from another, read before the rest.
#[derive(Deserialize)]
struct Heading {
    format: String,
    schema: u64,
}

/// The file as read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Incoming {
    #[serde(rename = "format")]
    _format: String,
    #[serde(rename = "schema")]
    _schema: u64,
    sha256: String,
    pattern: String,
    merges: Vec<Pair>,
    special_tokens: Vec<String>,
}

/// The identity of a tokenizer with this content, in hex.
pub fn sha256(pattern: &str, merges: &[Pair], special_tokens: &[String]) -> Result<String> {
    let content = Content { schema: SCHEMA, pattern, merges, special_tokens };
    let digest = Sha256::digest(to_json(&content)?);
    Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Writes `tokenizer` to `path`, which is either the whole new file afterwards or what it was before.
pub fn save(tokenizer: &Tokenizer, path: &Path) -> Result<()> {
    write(path, &contents(tokenizer)?)
}

/// What a file of `tokenizer` holds.
pub fn contents(tokenizer: &Tokenizer) -> Result<Vec<u8>> {
    let outgoing = Outgoing {
        format: FORMAT,
        sha256: tokenizer.sha256(),
        content: Content {
            schema: SCHEMA,
            pattern: tokenizer.pattern(),
            merges: tokenizer.merges(),
            special_tokens: tokenizer.specials().names(),
        },
    };
    let mut bytes = to_json(&outgoing)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Reads the tokenizer at `path`; any other content is an error, and nothing in it is executed.
pub fn load(path: &Path) -> Result<Tokenizer> {
    let bytes = fs::read(path).map_err(|source| Error::io(path, source))?;
    parse(&bytes).map_err(|error| match error {
        Error::Value(reason) => Error::value(format!("{} is no usable tokenizer: {reason}", path.display())),
        other => other,
    })
}

/// The tokenizer of such contents; any other are an error.
pub fn parse(bytes: &[u8]) -> Result<Tokenizer> {
    let heading: Heading = from_json(bytes)?;
    if heading.format != FORMAT {
        return Err(Error::value(format!("format is {:?}; it must be {FORMAT:?}", heading.format)));
    }
    if heading.schema != SCHEMA {
        return Err(Error::value(format!(
            "schema is {}; this version reads schema {SCHEMA}",
            heading.schema
        )));
    }
    let incoming: Incoming = from_json(bytes)?;
    let tokenizer =
        Tokenizer::new(Splitter::new(&incoming.pattern)?, incoming.merges, incoming.special_tokens)?;
    if tokenizer.sha256() != incoming.sha256 {
        return Err(Error::value("its content does not have its sha256: restore the file"));
    }
    Ok(tokenizer)
}

fn to_json(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value)
        .map_err(|error| Error::value(format!("the tokenizer cannot be written: {error}")))
}

fn from_json<'b, T: Deserialize<'b>>(bytes: &'b [u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| Error::value(error.to_string()))
}

/// Writes `bytes` to `path`, which is either the whole new file afterwards or what it was before.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    replace(path, bytes).map_err(|source| Error::io(path, source))
}

/// Writes beside `path`, makes that durable, and renames it into place.
fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let beside = beside(path);
    let mut file = OpenOptions::new().write(true).create_new(true).open(&beside)?;
    let renamed =
        file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&beside, path));
    if let Err(error) = renamed {
        // The error worth telling is the first one.
        let _ = fs::remove_file(&beside);
        return Err(error);
    }
    File::open(folder(path))?.sync_all()
}

/// A name in the folder of `path` that no other thread or process uses.
fn beside(path: &Path) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    folder(path).join(format!(".{name}.{}-{number}.tmp", std::process::id()))
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::split::SPLIT_PATTERN;

    fn json(tokenizer: &Tokenizer) -> String {
        let path = std::env::temp_dir().join(format!(
            "rustbpe-{}-{:?}.json",
            std::process::id(),
            std::thread::current().id()
        ));
        save(tokenizer, &path).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        fs::remove_file(&path).unwrap();
        text
    }

    fn tokenizer() -> Tokenizer {
        Tokenizer::new(Splitter::new(SPLIT_PATTERN).unwrap(), vec![(97, 98)], vec!["<é>".into()]).unwrap()
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let loaded = parse(json(&tokenizer()).as_bytes()).unwrap();
        assert_eq!(loaded.sha256(), tokenizer().sha256());
        assert_eq!(loaded.merges(), [(97, 98)]);
    }

    #[test]
    fn a_change_of_the_content_is_noticed() {
        let changed = json(&tokenizer()).replace("[97,98]", "[97,99]");
        let message = parse(changed.as_bytes()).err().unwrap().to_string();
        assert!(message.contains("sha256"), "{message}");
    }

    #[test]
    fn each_part_of_the_content_changes_the_identity() {
        let base = sha256("p", &[(97, 98)], &["s".into()]).unwrap();
        assert_ne!(base, sha256("q", &[(97, 98)], &["s".into()]).unwrap());
        assert_ne!(base, sha256("p", &[(98, 97)], &["s".into()]).unwrap());
        assert_ne!(base, sha256("p", &[(97, 98)], &["t".into()]).unwrap());
    }
}
