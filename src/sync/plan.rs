//! What a run will read. Pure: from the request and the watermarks to the steps.

use chrono::{DateTime, Utc};

use crate::catalog::{RESOURCES, Resource};
use crate::message::{Mode, Parameters};
use crate::store::run::Step;

/// The steps of a run, in the catalog's order.
///
/// An incremental run asks for changes where the API can tell them and a watermark is known; everything else is read completely.
pub fn plan(
    parameters: &Parameters,
    configured: &[&'static Resource],
    watermarks: &[(String, DateTime<Utc>)],
) -> Vec<Step> {
    let wanted = |resource: &&'static Resource| match &parameters.resources {
        Some(named) => named.iter().any(|name| name == resource.name),
        None => configured.contains(resource),
    };
    let since = |resource: &Resource| {
        let known = watermarks.iter().find(|(name, _)| name == resource.name).map(|(_, at)| *at);
        known.filter(|_| parameters.mode == Mode::Incremental && resource.updated_since)
    };
    RESOURCES.iter().filter(wanted).map(|resource| Step::new(resource, since(resource))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(mode: Mode, resources: Option<&[&str]>) -> Vec<(&'static str, bool)> {
        let parameters = Parameters {
            resources: resources.map(|names| names.iter().map(|name| (*name).to_owned()).collect()),
            mode,
            refetch: false,
            allow_deletions: false,
        };
        let configured: Vec<&'static Resource> = RESOURCES.iter().filter(|r| r.name != "events").collect();
        let watermarks = [("contacts".to_owned(), Utc::now()), ("users".to_owned(), Utc::now())];
        plan(&parameters, &configured, &watermarks).iter().map(|s| (s.resource.name, s.since.is_some())).collect()
    }

    #[test]
    fn an_incremental_run_asks_for_changes_where_it_can() {
        let steps = steps(Mode::Incremental, None);
        assert_eq!(steps.len(), RESOURCES.len() - 1, "events are not configured");
        assert!(steps.contains(&("contacts", true)));
        assert!(steps.contains(&("users", false)), "the API cannot tell changed users");
        assert!(steps.contains(&("companies", false)), "no watermark yet");
    }

    #[test]
    fn a_full_run_reads_everything() {
        assert!(steps(Mode::Full, None).iter().all(|(_, since)| !since));
    }

    #[test]
    fn named_resources_are_synced_even_if_not_configured() {
        assert_eq!(steps(Mode::Incremental, Some(&["events", "contacts"])), [("contacts", true), ("events", false)]);
    }
}
