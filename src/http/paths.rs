//! Paths that more than one file names.

/// Where the dashboard is.
pub(super) const DASHBOARD: &str = "/dashboard";

/// Where a browser logs in.
pub(super) const LOGIN: &str = "/dashboard/login";

/// Where an authorization starts.
pub(super) const AUTHORIZE: &str = "/sync/authorize";
