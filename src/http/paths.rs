//! Paths that more than one file names.

/// Where the dashboard is.
pub(super) const DASHBOARD: &str = "/dashboard";

/// Where a browser logs in.
pub(super) const LOGIN: &str = "/dashboard/login";

/// Where an authorization starts.
pub(super) const AUTHORIZE: &str = "/sync/authorize";

/// Where a run is, for callers behind a proxy as well: without a host.
pub(super) fn run_path(id: uuid::Uuid) -> String {
    format!("/sync/runs/{id}")
}
