//! What an error of PostgreSQL means, by its SQLSTATE (its manual's appendix A) and by where it arose. The one place
//! that decides it.

/// What an error says of the work that met it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Nothing: the server is away, busy, full or not to be written to, or another transaction was in the way. Waiting
    /// may help.
    Passing,
    /// What was to be written is refused, by PostgreSQL or by what users have built on the tables: their triggers,
    /// constraints, indexes and rules. It concerns these rows; others can be written.
    Refused,
    /// The server, the role or this program is at fault. It concerns everything, and stays.
    Lasting,
}

/// The SQLSTATE of a right that is missing.
pub const FORBIDDEN: &str = "42501";

/// The SQLSTATE of a table or view that is missing.
pub const NO_TABLE: &str = "42P01";

/// The SQLSTATE of a column that is missing.
pub const NO_COLUMN: &str = "42703";

/// What deadlocks and serialization failures have, wherever they arise: each concerns a transaction, and not its rows.
pub const IN_THE_WAY: [&str; 2] = ["40001", "40P01"];

/// How the context of an error names functions, by their language. But for the last, whatever language the server
/// speaks.
const LANGUAGES: [&str; 5] = ["PL/pgSQL", "PL/Python", "PL/Perl", "PL/Tcl", "SQL function"];

/// This program's own: the trigger that keeps versions. Without its schema, which is named only where `search_path`
/// leaves it out.
const OWN_FUNCTION: &str = "keep_version()";

/// An error, as the server sends it.
#[derive(Clone, Copy, Debug)]
pub struct Sent<'a> {
    /// Its SQLSTATE.
    pub code: &'a str,
    /// Whether it ends the session.
    pub fatal: bool,
    /// Whether it names a routine of PostgreSQL's source, as no pooler does.
    pub by_postgresql: bool,
    /// The functions and statements in which it arose, a line each.
    pub context: &'a str,
}

impl Sent<'_> {
    /// What it means. In a user's function any code may be the function's own: of another server that it asks, of a
    /// lock that it does not wait for, or of a `raise`.
    pub fn cause(&self) -> Cause {
        if self.fatal || IN_THE_WAY.contains(&self.code) {
            return cause(self.code);
        }
        // The connection is alive, since the error came over it: what failed is one to another server.
        let of_another_server = self.by_postgresql && self.code.starts_with("08");
        if of_another_server || self.context.lines().any(is_users_function) {
            return Cause::Refused;
        }
        cause(self.code)
    }

    /// Whether PostgreSQL itself refuses a value: as data (class 22), or as more than it can hold (54000). It concerns
    /// one row.
    pub fn is_of_a_value(&self) -> bool {
        let of_a_value = self.code.starts_with("22") || self.code == "54000";
        of_a_value && !self.fatal && self.by_postgresql && !self.context.lines().any(is_users_function)
    }
}

fn is_users_function(line: &str) -> bool {
    LANGUAGES.iter().any(|language| line.contains(language)) && !line.contains(OWN_FUNCTION)
}

/// What an error with this SQLSTATE means, of which no more is known.
fn cause(sqlstate: &str) -> Cause {
    match (sqlstate.get(..2).unwrap_or_default(), sqlstate) {
        // A transaction that cannot write, or took too long, while the server goes on.
        (_, "25006" | "25P03" | "25P04") => Cause::Passing,
        // A statement that takes longer than it may, each time: a trigger of a user's, or a row of many megabytes.
        (_, "57014") => Cause::Refused,
        // What a trigger reads is not ready: a materialized view without data. Locks that are held are of the same
        // class.
        (_, "55000") => Cause::Refused,
        // Connection exception, rollback, resources, object in use, operator intervention, system error, snapshot too
        // old.
        ("08" | "40" | "53" | "55" | "57" | "58" | "72", _) => Cause::Passing,
        // Transactions, cursors, prepared statements and savepoints are not as this program left them: a pooler, or a
        // fault of its own.
        ("0B" | "24" | "25" | "26" | "34" | "3B", _) => Cause::Lasting,
        // Login, roles, databases, configuration; and what PostgreSQL itself calls an internal error.
        ("0L" | "0P" | "28" | "2B" | "3D" | "F0" | "XX", _) => Cause::Lasting,
        // Values (22), constraints (23, 44), limits (54); all that a function can do wrong (0A, 20, 21, 2F, 38, 39, 42,
        // HV, P0); and codes of a user's own, which only his `raise` can give.
        _ => Cause::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_what_is_refused_and_what_stays() {
        for passing in
            ["08006", "25006", "25P03", "40001", "40P01", "53100", "53300", "55P03", "57P01", "57P03", "58030"]
        {
            assert_eq!(cause(passing), Cause::Passing, "{passing}");
        }
        // raise exception, a missing table, a check, a unique index, a long value in an index, COPY with row level
        // security.
        for refused in
            ["P0001", "42P01", "23514", "23505", "54000", "0A000", "22003", "57014", "55000", "44000", "CRM01", ""]
        {
            assert_eq!(cause(refused), Cause::Refused, "{refused}");
        }
        for lasting in ["XX000", "XX002", "28P01", "3D000", "26000", "25P02"] {
            assert_eq!(cause(lasting), Cause::Lasting, "{lasting}");
        }
    }

    #[test]
    fn a_value_is_refused_by_postgresql_alone() {
        let sent = |code, context| Sent { code, fatal: false, by_postgresql: true, context };
        let own = "PL/pgSQL function teamleader.keep_version() line 5 at SQL statement";
        for code in ["22003", "22P02", "22P05", "54000"] {
            assert!(sent(code, "").is_of_a_value() && sent(code, own).is_of_a_value(), "{code}");
            assert!(!sent(code, "PL/pgSQL function audit() line 3 at RAISE").is_of_a_value(), "{code}");
            assert!(!Sent { by_postgresql: false, ..sent(code, "") }.is_of_a_value(), "{code}");
        }
        for code in ["23514", "23505", "54001", "P0001", "42P01", "57014", "40001", "XX000"] {
            assert!(!sent(code, "").is_of_a_value(), "{code}");
        }
    }

    #[test]
    fn what_arises_in_a_users_function_is_refused_and_what_only_strikes_there_passes() {
        let users = "PL/pgSQL function audit() line 3 at RAISE";
        let own =
            "SQL statement \"insert into x\"\nPL/pgSQL function teamleader.keep_version() line 5 at SQL statement";
        let both = format!("{users}\n{own}");
        let german = "PL/pgSQL-Funktion audit() Zeile 3 bei RAISE";
        let sent = |code, context| Sent { code, fatal: false, by_postgresql: true, context };
        for code in ["53100", "55P03", "57P01", "58030", "08001", "XX000", "P0001"] {
            for context in [users, german, both.as_str(), "SQL function \"audit\" statement 1"] {
                assert_eq!(sent(code, context).cause(), Cause::Refused, "{code} {context}");
            }
        }
        for code in ["53100", "55P03", "58030", "40001", "40P01"] {
            assert_eq!(sent(code, own).cause(), Cause::Passing, "{code}");
            assert_eq!(sent(code, "").cause(), Cause::Passing, "{code}");
        }
        for code in ["40001", "40P01"] {
            assert_eq!(sent(code, users).cause(), Cause::Passing, "{code}");
        }
        assert_eq!(Sent { fatal: true, ..sent("57P01", users) }.cause(), Cause::Passing, "the server stops");
        assert_eq!(sent("08001", "").cause(), Cause::Refused, "a foreign table's server is down");
        assert_eq!(Sent { by_postgresql: false, ..sent("08006", "") }.cause(), Cause::Passing, "a pooler's server is");
        assert_eq!(Sent { fatal: true, ..sent("08006", "") }.cause(), Cause::Passing);
    }
}
