//! The sync: what a run does, page by page. Knows nothing of the broker.

pub mod agreement;
pub mod audit;
mod by_ids;
pub mod child_lists;
pub mod cursor;
pub mod details;
pub mod doubts;
pub mod engine;
pub mod forecast;
pub mod hints;
pub mod list;
mod list_progress;
mod look;
pub mod lookup;
pub mod offset;
pub mod pager;
mod partition;
pub mod partitions;
pub mod plan;
pub mod registration;
mod rejected;
pub mod sample;
mod sink;
pub mod slice;
mod sweep;
pub mod verdict;
mod watch;
