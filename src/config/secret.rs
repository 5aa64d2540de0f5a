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

/// The lengths that a refresh token may have. Those of Teamleader have some hundred characters.
const REFRESH_TOKENS: std::ops::RangeInclusive<usize> = 16..=4096;

/// A refresh token as it can be sent. `name`: what holds it. The error shows nothing of it.
pub fn refresh_token(name: &'static str, token: &SecretString) -> Result<SecretString, ConfigError> {
    let text = token.expose_secret().trim();
    let why = if text.is_empty() {
        "no token is given"
    } else if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        "it holds other than visible ASCII characters: is it one token, and all of it?"
    } else if !REFRESH_TOKENS.contains(&text.len()) {
        "it is shorter than 16 or longer than 4096 characters: is it the whole refresh token, and nothing else?"
    } else {
        return Ok(text.to_owned().into());
    };
    Err(ConfigError::Invalid(name, why.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refresh_token_is_one_word_of_some_length_and_is_never_shown() {
        let token = |text: &str| refresh_token("--refresh-token", &text.to_owned().into());
        let sound = token(" def50200a1b2c3d4e5f6\n").expect("sound");
        assert_eq!(sound.expose_secret(), "def50200a1b2c3d4e5f6");
        for bad in ["", " \n", "abc", "def50200a1b2 c3d4e5f6", "dëf50200a1b2c3d4e5f6", &"x".repeat(4097)] {
            let refused = token(bad).expect_err(bad).to_string();
            let shows = !bad.trim().is_empty() && refused.contains(bad.trim());
            assert!(refused.starts_with("--refresh-token: ") && !shows, "{refused}");
        }
    }
}
