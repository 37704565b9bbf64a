//! What can go wrong: one line that says what is and what must be.

use std::fmt;
use std::path::{Path, PathBuf};

/// Shorthand for this crate's results.
pub type Result<T> = std::result::Result<T, Error>;

/// Asked often during long work, on the thread that called; an error ends the work and is handed to the
/// caller.
pub type Check<'a> = dyn FnMut() -> Result<()> + 'a;

/// Why a call did not do what it was asked.
#[derive(Debug)]
pub enum Error {
    /// The caller's input is wrong; the message is one line.
    Value(String),
    /// The file system refused.
    Io {
        /// The file that was to be read or written.
        path: PathBuf,
        /// What the system answered.
        source: std::io::Error,
    },
    /// A [`Check`] said to stop; the reason is the caller's own.
    Stopped(Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    /// An error about the caller's input; line breaks in `message` are folded away.
    pub fn value(message: impl AsRef<str>) -> Self {
        let words: Vec<&str> = message.as_ref().split(['\n', '\r']).map(str::trim).collect();
        Self::Value(words.join(" "))
    }

    /// An error of the file system about `path`.
    pub fn io(path: &Path, source: std::io::Error) -> Self {
        Self::Io { path: path.to_path_buf(), source }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(message) => f.write_str(message),
            Self::Io { path, source } => write!(f, "{}: {source}", path.display()),
            Self::Stopped(reason) => write!(f, "stopped: {reason}"),
        }
    }
}

impl std::error::Error for Error {}
