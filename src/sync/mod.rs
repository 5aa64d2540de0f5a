//! The sync: what a run does, page by page. Knows nothing of the broker.

pub mod agreement;
pub mod audit;
pub mod child_lists;
pub mod details;
pub mod doubts;
pub mod engine;
pub mod forecast;
pub mod list;
pub mod lookup;
pub mod offset;
pub mod pager;
pub mod partitions;
pub mod plan;
pub mod reading;
mod rejected;
pub mod sample;
pub mod slice;
mod sweep;
pub mod verdict;
