//! The types of JSON values.

/// The type of a JSON value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `"…"`
    Text,
    /// `1.5`
    Number,
    /// `true`
    Boolean,
    /// `{…}`
    Object,
    /// `[…]`
    Array,
}

impl Kind {
    /// The type of the value that this JSON text is; `None` for null.
    pub fn of(json: &str) -> Option<Self> {
        match json.as_bytes().first()? {
            b'"' => Some(Self::Text),
            b'{' => Some(Self::Object),
            b'[' => Some(Self::Array),
            b't' | b'f' => Some(Self::Boolean),
            b'n' => None,
            _ => Some(Self::Number),
        }
    }

    /// As text, for messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Number => "a number",
            Self::Boolean => "a boolean",
            Self::Object => "an object",
            Self::Array => "a list",
        }
    }
}
