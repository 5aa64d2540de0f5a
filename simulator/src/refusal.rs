//! Why the simulator refuses a request that has a token and is within the rate limit.

/// Why a request cannot be answered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The request breaks the contract.
    Invalid(String),
    /// The contract has this, the simulator does not. Ignoring it would give an answer that looks right and is wrong.
    Missing(String),
}
