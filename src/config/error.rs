//! Why a configuration cannot be used.

use std::path::PathBuf;

use crate::store::tokens::cipher::CipherError;

/// Why the configuration cannot be used, and how to fix it. Never shows a value that may be secret.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A setting is missing.
    #[error("{0} is not set: set it, or {0}_FILE to the name of a file that holds it")]
    Missing(&'static str),
    /// Both the variable and its twin are set.
    #[error("{0} and {0}_FILE are both set: keep one")]
    Both(&'static str),
    /// A file cannot be read.
    #[error("{0}_FILE: {1} cannot be read: {2}")]
    File(&'static str, PathBuf, std::io::Error),
    /// A setting cannot be used.
    #[error("{0}: {1}")]
    Invalid(&'static str, String),
    /// The keys.
    #[error(transparent)]
    Key(#[from] CipherError),
}
