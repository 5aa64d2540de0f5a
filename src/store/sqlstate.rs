//! What an error of PostgreSQL means, by its SQLSTATE (its manual's appendix A). The one place that decides it.

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

/// What an error with this SQLSTATE means.
pub fn cause(sqlstate: &str) -> Cause {
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
}
