//! Which resources webhooks name.

use super::{code, counted, hold, table};
use crate::catalog::webhooks::{Look, TYPES};
use crate::catalog::{AskAgain, RESOURCES, Resource};

/// The types that are a reason to look at rows of the resource, in the order of the documents.
fn types(resource: &Resource) -> Vec<&'static str> {
    let is_about = |look: &Look| look.resource() == resource.name;
    TYPES.iter().filter(|known| known.looks.iter().any(is_about)).map(|known| known.name).collect()
}

/// How one or many records are asked for.
fn asked(resource: &Resource) -> String {
    let of_parent = |look: &Look| look.resource() == resource.name && !matches!(look, Look::Record(_));
    if TYPES.iter().any(|known| known.looks.iter().any(of_parent)) {
        return "the list of the record that the call names".to_owned();
    }
    let details = if resource.has_details() { " and `.info`" } else { "" };
    match resource.ask_again() {
        AskAgain::Ids => format!("`filter.ids`, 100 at a time{details}"),
        AskAgain::Info | AskAgain::List => "`.info`, each by itself".to_owned(),
    }
}

#[test]
fn the_page_says_which_resources_webhooks_name() {
    let (named, others): (Vec<&Resource>, Vec<&Resource>) =
        RESOURCES.iter().partition(|resource| !types(resource).is_empty());
    counted(named.len(), "resources that webhooks name");
    let rows = named.iter().map(|resource| {
        let (names, mut seen) = (types(resource), Vec::new());
        for name in names {
            let (subject, verb) = name.split_once('.').unwrap_or((name, ""));
            match seen.iter_mut().find(|(of, _): &&mut (&str, Vec<&str>)| *of == subject) {
                Some((_, verbs)) => verbs.push(verb),
                None => seen.push((subject, vec![verb])),
            }
        }
        let calls = seen.iter().map(|(subject, verbs)| format!("`{subject}`: {}", verbs.join(", ")));
        vec![code([resource.name]), calls.collect::<Vec<_>>().join("; "), asked(resource)]
    });
    let unused = TYPES.iter().filter(|known| known.looks.is_empty()).map(|known| known.name);
    let made = format!(
        "{}\nNo call names {}.\n\nOf no use are {}: they are about the account, and no record.",
        table(&["resource", "calls", "asked for by"], rows),
        code(others.iter().map(|resource| resource.name)),
        code(unused),
    );
    hold("webhooks.md", "table of webhooks", &made);
}
