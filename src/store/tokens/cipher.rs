//! Sealing of tokens: XChaCha20-Poly1305 with a random nonce, bound to what the sealed text is for.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chacha20poly1305::aead::{Aead, Generate, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use ring::{hkdf, hmac};
use secrecy::{ExposeSecret, SecretString};

const NONCE_BYTES: usize = 24;

const KEY_BYTES: usize = 32;

const HOW_TO_MAKE_A_KEY: &str = "it is a key of 32 bytes in base64, or several, separated by commas: make one with \
    `head -c 32 /dev/urandom | base64`";

/// Which key of the list.
fn nth(place: &usize) -> String {
    if *place == 1 { "the key".to_owned() } else { format!("key {place} of the list") }
}

/// Why sealing or opening failed. Shows neither key nor text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CipherError {
    /// A key is not in base64. With its place in the list, from 1.
    #[error("TOKEN_ENCRYPTION_KEY: {} is not base64: {HOW_TO_MAKE_A_KEY}", nth(.0))]
    NotBase64(usize),
    /// A key has another length than 32 bytes.
    #[error("TOKEN_ENCRYPTION_KEY: {} has {bytes} bytes and not {KEY_BYTES}: {HOW_TO_MAKE_A_KEY}", nth(.place))]
    KeyLength {
        /// Its place.
        place: usize,
        /// Its length.
        bytes: usize,
    },
    /// The system has no randomness, or the text is too long.
    #[error("the token could not be sealed")]
    Seal,
    /// No key opens it.
    #[error(
        "a stored token cannot be opened with any key of TOKEN_ENCRYPTION_KEY: add the key that sealed it to the list, \
         or authorize again"
    )]
    Open,
}

/// The keys: the first seals, all open.
#[derive(Clone)]
pub struct Cipher {
    keys: Vec<XChaCha20Poly1305>,
    /// Made from each: other keys are derived from them.
    roots: Vec<hkdf::Prk>,
}

impl std::fmt::Debug for Cipher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cipher").field("keys", &self.keys.len()).finish_non_exhaustive()
    }
}

impl Cipher {
    /// Reads `TOKEN_ENCRYPTION_KEY`.
    pub fn new(keys: &SecretString) -> Result<Self, CipherError> {
        let mut roots = Vec::new();
        let keys: Result<Vec<_>, _> = (1..)
            .zip(keys.expose_secret().split(','))
            .map(|(place, key)| {
                let key = STANDARD.decode(key.trim()).map_err(|_| CipherError::NotBase64(place))?;
                let cipher = XChaCha20Poly1305::new_from_slice(&key);
                let cipher = cipher.map_err(|_| CipherError::KeyLength { place, bytes: key.len() })?;
                roots.push(hkdf::Salt::new(hkdf::HKDF_SHA256, b"teamleader2db").extract(&key));
                Ok(cipher)
            })
            .collect();
        Ok(Self { keys: keys?, roots })
    }

    /// A key for signatures, derived from the first key and from all that it is for.
    pub fn signing_key(&self, purpose: &[&[u8]]) -> Result<hmac::Key, CipherError> {
        let root = self.roots.first().ok_or(CipherError::Seal)?;
        Ok(root.expand(purpose, hmac::HMAC_SHA256).map_err(|_| CipherError::Seal)?.into())
    }

    /// Texts that nobody can guess, one for each key, derived from it and from all that they are for.
    pub fn derived_secrets(&self, purpose: &[&[u8]]) -> Result<Vec<SecretString>, CipherError> {
        let derived = self.roots.iter().map(|root| {
            let mut bytes = [0; KEY_BYTES];
            let okm = root.expand(purpose, hkdf::HKDF_SHA256).map_err(|_| CipherError::Seal)?;
            okm.fill(&mut bytes).map_err(|_| CipherError::Seal)?;
            Ok(URL_SAFE_NO_PAD.encode(bytes).into())
        });
        derived.collect()
    }

    /// Seals `text`; only the same `purpose` opens it.
    pub fn seal(&self, text: &str, purpose: &str) -> Result<Vec<u8>, CipherError> {
        let nonce = XNonce::try_generate().map_err(|_| CipherError::Seal)?;
        let payload = Payload { msg: text.as_bytes(), aad: purpose.as_bytes() };
        let key = self.keys.first().ok_or(CipherError::Seal)?;
        let sealed = key.encrypt(&nonce, payload).map_err(|_| CipherError::Seal)?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    /// Opens what was sealed for this `purpose`.
    pub fn open(&self, sealed: &[u8], purpose: &str) -> Result<SecretString, CipherError> {
        let (nonce, body) = sealed.split_at_checked(NONCE_BYTES).ok_or(CipherError::Open)?;
        let nonce = XNonce::try_from(nonce).map_err(|_| CipherError::Open)?;
        let payload = || Payload { msg: body, aad: purpose.as_bytes() };
        let opened = self.keys.iter().find_map(|key| key.decrypt(&nonce, payload()).ok()).ok_or(CipherError::Open)?;
        String::from_utf8(opened).map(SecretString::from).map_err(|_| CipherError::Open)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cipher(keys: &[u8]) -> Cipher {
        let list: Vec<String> = keys.iter().map(|byte| STANDARD.encode([*byte; 32])).collect();
        Cipher::new(&list.join(",").into()).expect("valid keys")
    }

    #[test]
    fn only_the_same_purpose_and_an_untouched_text_open() {
        let cipher = cipher(&[1]);
        let mut sealed = cipher.seal("token", "acme/1").expect("sealed");
        assert_eq!(cipher.open(&sealed, "acme/1").expect("opened").expose_secret(), "token");
        assert_eq!(cipher.open(&sealed, "acme/2").err(), Some(CipherError::Open));
        sealed[30] ^= 1;
        assert_eq!(cipher.open(&sealed, "acme/1").err(), Some(CipherError::Open));
        assert_eq!(cipher.open(b"short", "acme/1").err(), Some(CipherError::Open));
    }

    #[test]
    fn after_a_rotation_the_old_key_still_opens() {
        let sealed = cipher(&[1]).seal("token", "p").expect("sealed");
        assert!(cipher(&[2, 1]).open(&sealed, "p").is_ok());
        assert!(cipher(&[2]).open(&sealed, "p").is_err());
    }

    #[test]
    fn a_key_of_the_wrong_length_is_refused() {
        let sound = STANDARD.encode([7; 32]);
        for (bad, why) in [
            ("", "the key has 0 bytes and not 32"),
            ("c2hvcnQ=", "the key has 5 bytes and not 32"),
            ("abc", "the key is not base64"),
            ("not base64!", "the key is not base64"),
            (&format!("{sound},c2hvcnQ="), "key 2 of the list has 5 bytes and not 32"),
            (&format!("{sound},"), "key 2 of the list has 0 bytes and not 32"),
        ] {
            let refused = Cipher::new(&bad.to_owned().into()).expect_err(bad).to_string();
            assert!(refused.starts_with(&format!("TOKEN_ENCRYPTION_KEY: {why}: ")), "{refused}");
        }
    }
}
