//! The database: records, the journal of runs, tokens and the outbox. Knows nothing of the broker.

pub mod authorization;
pub mod cipher;
pub mod comparison;
pub mod details;
pub mod ending;
pub mod journal;
pub mod lease;
pub mod load;
pub mod outbox;
pub mod parents;
pub mod pool;
pub mod records;
pub mod report;
pub mod retention;
pub mod run;
pub mod tokens;
