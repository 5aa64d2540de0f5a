//! Identifiers, parsed at the edge, so that two of them cannot be swapped.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The account that a worker serves, as `TEAMLEADER_ACCOUNT` names it: `[A-Za-z0-9_-]{1,64}`.
///
/// It is part of queue names and routing keys, hence the narrow alphabet.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(extend("pattern" = "^[A-Za-z0-9_-]{1,64}$")))]
#[serde(try_from = "String", into = "String")]
pub struct Account(String);

impl Account {
    /// The name of the only account, where nobody has given another.
    pub const DEFAULT: &str = "default";

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is the one that commands mean where none is named.
    pub fn is_default(&self) -> bool {
        self.0 == Self::DEFAULT
    }
}

impl std::str::FromStr for Account {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits =
            (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        if fits {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("an account's name is 1 to 64 of A-Z a-z 0-9 _ -, not {text:?}"))
        }
    }
}

impl TryFrom<String> for Account {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Account> for String {
    fn from(account: Account) -> Self {
        account.0
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The id of a sync run: the id of the request that asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(pub Uuid);

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number that fences writes: each slice of work takes the next one, and older ones may not write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Epoch(pub i64);

/// The number of a token pair: rises with each pair that is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub i64);

/// A place in a trace: the header `traceparent` of W3C Trace Context, such as `00-<32 digits of hex>-<16>-01`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TraceParent(String);

impl TraceParent {
    /// The header's value.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for TraceParent {
    type Err = String;

    /// Of a later version, which may have more fields, what version 00 has is checked.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fields: Vec<&str> = text.splitn(5, '-').collect();
        let is_hex = |field: &&str| field.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let fits = match fields[..] {
            [version, trace, parent, flags, ref more @ ..] => {
                [version, trace, parent, flags].iter().all(is_hex)
                    && [version, trace, parent, flags].map(str::len) == [2, 32, 16, 2]
                    && version != "ff"
                    && (version != "00" || more.is_empty())
                    && [trace, parent].iter().all(|id| id.bytes().any(|b| b != b'0'))
                    && (55..=256).contains(&text.len())
                    && text.bytes().all(|b| b.is_ascii_graphic())
            }
            _ => false,
        };
        if fits {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("not a traceparent of W3C Trace Context, like 00-<32 digits of hex>-<16>-01: {text:?}"))
        }
    }
}

impl TryFrom<String> for TraceParent {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<TraceParent> for String {
    fn from(trace: TraceParent) -> Self {
        trace.0
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_is_one_of_the_specification() {
        let (trace, parent) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
        for good in [format!("00-{trace}-{parent}-01"), format!("cc-{trace}-{parent}-00-what-the-future-will-be")] {
            assert_eq!(good.parse::<TraceParent>().expect(&good).to_string(), good);
        }
        let zeros = "0".repeat(32);
        for bad in [
            String::new(),
            format!("00-{trace}-{parent}"),
            format!("00-{trace}-{parent}-01-more"),
            format!("ff-{trace}-{parent}-01"),
            format!("00-{zeros}-{parent}-01"),
            format!("00-{trace}-{}-01", &zeros[..16]),
            format!("00-{}-{parent}-01", trace.to_uppercase()),
            format!("cc-{trace}-{parent}-01-\n"),
        ] {
            assert!(bad.parse::<TraceParent>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_account_that_would_break_a_queue_name_is_refused() {
        assert!("acme-1_B".parse::<Account>().is_ok());
        for bad in ["", "a.b", "a b", "é", "a/b", &"x".repeat(65)] {
            assert!(bad.parse::<Account>().is_err(), "{bad}");
        }
    }
}
