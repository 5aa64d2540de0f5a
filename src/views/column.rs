//! Columns of views: their types, and how each is read from JSON without ever failing.

use uuid::Uuid;

use super::names::literal;
use crate::catalog::{Kind, Member};

/// The type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    /// A text; of a number or a boolean how JSON writes it.
    Text,
    /// The plain values of a list, as texts.
    Texts,
    /// A number.
    Number,
    /// A boolean.
    Boolean,
    /// An id.
    Uuid,
    /// A date without a time, in the calendar of the user who entered it.
    Date,
    /// A moment: it has its offset.
    Instant,
    /// A time without an offset.
    Time,
    /// A whole number that this program counts.
    Count,
    /// What the blueprint says nothing of, as text.
    Anything,
    /// A list or an object of which the blueprint says nothing.
    Json,
}

impl Type {
    /// The type as PostgreSQL writes it (`format_type`).
    pub(super) fn as_sql(self) -> &'static str {
        match self {
            Self::Text | Self::Anything => "text",
            Self::Texts => "text[]",
            Self::Number => "numeric",
            Self::Boolean => "boolean",
            Self::Uuid => "uuid",
            Self::Date => "date",
            Self::Instant => "timestamp with time zone",
            Self::Time => "timestamp without time zone",
            Self::Count => "bigint",
            Self::Json => "jsonb",
        }
    }

    /// What there is to know of its values, as a sentence; empty where the type says it all.
    pub(super) fn as_text(self) -> &'static str {
        match self {
            Self::Date => "A local date.",
            Self::Instant => "An instant.",
            Self::Time => "A time without an offset, as Teamleader gives it.",
            Self::Anything => "The API documentation does not say what it is: a list or an object is its JSON.",
            Self::Json => "The API documentation does not say what it holds.",
            Self::Text | Self::Texts | Self::Number | Self::Boolean | Self::Uuid | Self::Count => "",
        }
    }

    /// The type of a field that is neither an object with documented fields nor a list of objects.
    pub(super) fn of(member: &Member) -> Self {
        let example = member.example.as_deref().unwrap_or_default();
        match member.kind {
            Some(Kind::Number) => Self::Number,
            Some(Kind::Boolean) => Self::Boolean,
            Some(Kind::Array) if member.holds_values => Self::Texts,
            Some(Kind::Array | Kind::Object) => Self::Json,
            _ if !member.values.is_empty() => Self::Text,
            _ if example.len() == 36 && example.parse::<Uuid>().is_ok() => Self::Uuid,
            _ if example.is_empty() && member.name.ends_with("_at") => Self::Instant,
            Some(Kind::Text) => of_text(example),
            None => Self::Anything,
        }
    }
}

/// What a text is that looks like this one.
fn of_text(example: &str) -> Type {
    let (date, time) = example.split_at_checked(10).unwrap_or((example, ""));
    let is_date = date.split('-').map(|part| part.parse::<u16>().map_or(0, |_| part.len())).eq([4, 2, 2]);
    match time {
        _ if !is_date => Type::Text,
        "" => Type::Date,
        _ if time.ends_with('Z') || time[1..].contains(['+', '-']) => Type::Instant,
        _ => Type::Time,
    }
}

/// Where in a JSON value something lies.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// A value of type jsonb.
    pub(super) base: String,
    /// The keys on the way down.
    pub(super) path: Vec<String>,
    /// Where it lies in older answers; empty where it was always there.
    pub(super) formerly: Vec<String>,
}

impl Place {
    /// A place in a JSON value.
    pub(super) fn new(base: &str, path: &[&str]) -> Self {
        let path = path.iter().map(|key| (*key).to_owned()).collect();
        Self { base: base.to_owned(), path, formerly: Vec::new() }
    }

    /// The place of a field within this one.
    pub(super) fn of(&self, member: &Member) -> Self {
        let path = [&self.path[..], std::slice::from_ref(&member.name)].concat();
        Self { base: self.base.clone(), path, formerly: member.formerly.clone() }
    }

    /// The place in older answers.
    fn former(&self) -> Option<Self> {
        let (base, path) = (self.base.clone(), self.formerly.clone());
        (!path.is_empty()).then(|| Self { base, path, formerly: Vec::new() })
    }

    /// What lies there, as jsonb.
    pub(super) fn json(&self) -> String {
        let json = if self.path.is_empty() { self.base.clone() } else { format!("({} #> {})", self.base, self.keys()) };
        match self.former() {
            Some(former) => format!("coalesce(nullif({json}, 'null'), {})", former.json()),
            None => json,
        }
    }

    /// The value as this type: null where it is of another. Read once, since a large value is unpacked at each read.
    pub(super) fn read_as(&self, kind: Type) -> String {
        if let Some(former) = self.former() {
            let now = Self { formerly: Vec::new(), ..self.clone() };
            let before = match kind {
                // A date of today was a time before.
                Type::Date => format!("teamleader_views.as_date(left({}, 10))", former.read_as(Type::Anything)),
                kind => former.read_as(kind),
            };
            return format!("coalesce({}, {before})", now.read_as(kind));
        }
        let text = format!("({} #>> {})", self.base, self.keys());
        match kind {
            Type::Text => {
                format!("({} #>> '{{}}')", self.only_if("@.type() != \"object\" && @.type() != \"array\""))
            }
            Type::Number => format!("{}::numeric", self.only_if("@.type() == \"number\"")),
            Type::Boolean => format!("{}::boolean", self.only_if("@.type() == \"boolean\"")),
            Type::Uuid => format!("teamleader_views.as_uuid({text})"),
            Type::Date => format!("teamleader_views.as_date({text})"),
            Type::Instant => format!("teamleader_views.as_instant({text})"),
            Type::Time => format!("teamleader_views.as_time({text})"),
            Type::Texts => format!("teamleader_views.as_texts({})", self.json()),
            Type::Anything => text,
            Type::Json | Type::Count => self.json(),
        }
    }

    /// Whether something lies there that this type cannot show.
    pub(super) fn is_unreadable_as(&self, kind: Type) -> Option<String> {
        match kind {
            Type::Anything | Type::Json | Type::Count => None,
            _ => Some(format!("{} <> 'null' and {} is null", self.json(), self.read_as(kind))),
        }
    }

    /// Whether something lies there that is neither null nor of this kind, `array` or `object`.
    pub(super) fn is_no(&self, kind: &str) -> String {
        format!("jsonb_typeof({}) not in ('{kind}', 'null')", self.json())
    }

    fn keys(&self) -> String {
        literal(&format!("{{{}}}", self.path.join(",")))
    }

    fn only_if(&self, condition: &str) -> String {
        let steps: String = self.path.iter().map(|key| format!(".\"{key}\"")).collect();
        format!(
            "jsonb_path_query_first({}, {}, '{{}}', true)",
            self.base,
            literal(&format!("strict ${steps} ? ({condition})"))
        )
    }
}

/// A column of a view.
#[derive(Clone, Debug)]
pub(super) struct Column {
    /// Its name.
    pub(super) name: String,
    /// Its type.
    pub(super) kind: Type,
    /// What it is, in SQL.
    pub(super) expression: String,
    /// When something stands there that it cannot show, in SQL; `None` where it shows all.
    pub(super) unreadable: Option<String>,
    /// What it says, for people.
    pub(super) comment: String,
    /// The resources that it names a record of.
    pub(super) refers_to: Vec<&'static str>,
}

impl Column {
    /// Whose the row is.
    pub(super) fn account() -> Self {
        Self::of_row("account", Type::Text, "r.account", "The account as the worker names it (TEAMLEADER_ACCOUNT).")
    }

    /// One that shows what this program knows of the record.
    pub(super) fn of_row(name: &str, kind: Type, expression: &str, comment: &str) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            expression: expression.to_owned(),
            unreadable: None,
            comment: comment.to_owned(),
            refers_to: Vec::new(),
        }
    }

    /// One that shows a field of the record.
    pub(super) fn of_field(name: String, kind: Type, place: &Place, comment: String) -> Self {
        Self {
            name,
            kind,
            expression: place.read_as(kind),
            unreadable: place.is_unreadable_as(kind),
            comment,
            refers_to: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_example_distinguishes_a_local_date_from_an_instant() {
        assert_eq!(of_text("2016-02-04T16:44:33+00:00"), Type::Instant);
        assert_eq!(of_text("2016-02-04T16:44:33Z"), Type::Instant);
        assert_eq!(of_text("2017-05-01 12:00:00"), Type::Time);
        assert_eq!(of_text("1987-04-25"), Type::Date);
        for text in
            ["2017 / 5", "86792345-L", "000023", "", "2017-2", "+++084/2613/66074+++", "00051730-A", "123-45-678"]
        {
            assert_eq!(of_text(text), Type::Text, "{text}");
        }
    }
}
