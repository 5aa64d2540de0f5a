//! What becomes of a message in hand, and why it may have to be left.

use sqlx::PgPool;

use super::relay::RelayError;
use crate::broker::link::AmqpError;
use crate::process::panics::Panicked;
use crate::store::pool::{self, StoreError};

/// Why consuming ended.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The broker, or the way to it.
    #[error(transparent)]
    Amqp(#[from] AmqpError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Events could not be sent.
    #[error(transparent)]
    Relay(#[from] RelayError),
    /// It took too long.
    #[error("a message was not settled in time: is the database frozen?")]
    Overdue,
    /// A bug.
    #[error(transparent)]
    Panicked(#[from] Panicked),
}

impl SessionError {
    /// Whether it says nothing against the request: the broker or the database is away, or another worker has taken
    /// over.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Amqp(_) | Self::Relay(RelayError::Amqp(_)) => true,
            Self::Store(error) | Self::Relay(RelayError::Store(error)) => error.is_transient(),
            Self::Overdue | Self::Panicked(_) => false,
        }
    }

    /// The same, with its cause where the pool had no connection.
    pub async fn explained(self, pool: &PgPool) -> Self {
        match self {
            Self::Store(error) => Self::Store(pool::explained(pool, error).await),
            Self::Relay(error) => Self::Relay(error.explained(pool).await),
            Self::Amqp(_) | Self::Overdue | Self::Panicked(_) => self,
        }
    }

    /// Whether another worker has taken over.
    pub fn is_fenced(&self) -> bool {
        matches!(self, Self::Store(StoreError::Fenced) | Self::Relay(RelayError::Store(StoreError::Fenced)))
    }

    /// What an operator has to do before any request can be worked on, if there is such a thing.
    pub fn obstacle(&self) -> Option<&'static str> {
        match self {
            Self::Store(error) | Self::Relay(RelayError::Store(error)) => error.obstacle(),
            Self::Amqp(_) | Self::Relay(RelayError::Amqp(_)) | Self::Overdue | Self::Panicked(_) => None,
        }
    }
}

/// How the message in hand is settled.
#[derive(Debug)]
pub enum Settlement {
    /// All is confirmed and committed: acknowledge it.
    Ack,
    /// The same, and consume no more: another worker may be better off, or nobody may.
    AckAndRest,
    /// Do nothing: it will be delivered again.
    Leave(SessionError),
}

impl<E: Into<SessionError>> From<Result<(), E>> for Settlement {
    fn from(done: Result<(), E>) -> Self {
        match done {
            Ok(()) => Self::Ack,
            Err(error) => Self::Leave(error.into()),
        }
    }
}
