//! Which build of the program this is, as `build.rs` knows it.

/// The version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit that it is built from, where the build knew it.
pub const COMMIT: Option<&str> = option_env!("TEAMLEADER2DB_BUILD_COMMIT");

/// Both: `0.1.0 (0123456789ab)`, or the version alone.
pub const BUILD: &str = env!("TEAMLEADER2DB_BUILD");
