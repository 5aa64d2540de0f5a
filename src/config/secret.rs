//! Secrets: from a variable, or from the file that its twin names.

use std::path::Path;

use secrecy::{ExposeSecret as _, SecretString};

use super::error::ConfigError;

/// A secret from the variable or from the file that its twin names. An empty one counts as not set.
pub(super) fn secret(
    name: &'static str,
    value: Option<&SecretString>,
    file: Option<&Path>,
) -> Result<Option<SecretString>, ConfigError> {
    let value = value.filter(|value| !value.expose_secret().is_empty());
    match (value, file) {
        (Some(_), Some(_)) => Err(ConfigError::Both(name)),
        (Some(value), None) => Ok(Some(value.clone())),
        (None, Some(file)) => match read_file(name, file)? {
            text if text.is_empty() => Err(ConfigError::Invalid(name, format!("{} is empty", file.display()))),
            text => Ok(Some(text.into())),
        },
        (None, None) => Ok(None),
    }
}

/// The text of a file, without the line end that editors add.
pub(super) fn read_file(name: &'static str, file: &Path) -> Result<String, ConfigError> {
    let text = std::fs::read_to_string(file).map_err(|error| ConfigError::File(name, file.to_owned(), error))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}
