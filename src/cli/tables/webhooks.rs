//! Which resources webhooks name.

use super::{code, counted, hold, table};
use crate::catalog::webhooks::{Look, TYPES};
use crate::catalog::{AskAgain, RESOURCES, Resource};

/// The types that are a reason to look at rows of the resource, in the order of the documents.
fn types(resource: &Resource) -> Vec<&'static str> {
    let is_about = |look: &Look| look.resource() == resource.name;
    TYPES.iter().filter(|known| known.looks.iter().any(is_about)).map(|known| known.name).collect()
}

/// The calls by subject; of a list that belongs to a record all that are about that.
fn calls(resource: &Resource) -> String {
    let mut seen: Vec<(&str, Vec<&str>)> = Vec::new();
    for name in types(resource) {
        let (subject, verb) = name.split_once('.').unwrap_or((name, ""));
        match seen.iter_mut().find(|(of, _)| *of == subject) {
            Some((_, verbs)) => verbs.push(verb),
            None => seen.push((subject, vec![verb])),
        }
    }
    let of_subject = |(subject, verbs): &(&str, Vec<&str>)| match is_child_list(resource) {
        true => format!("each of `{subject}`"),
        false => format!("`{subject}`: {}", verbs.join(", ")),
    };
    seen.iter().map(of_subject).collect::<Vec<_>>().join("; ")
}

/// Whether calls name the record that its list belongs to.
fn is_child_list(resource: &Resource) -> bool {
    let of_parent = |look: &Look| look.resource() == resource.name && !matches!(look, Look::Record(_));
    TYPES.iter().any(|known| known.looks.iter().any(of_parent))
}

/// How one or many records are asked for.
fn asked(resource: &Resource) -> String {
    if is_child_list(resource) {
        return "the list of that record".to_owned();
    }
    let details = if resource.has_details() { ", then `.info`" } else { "" };
    match resource.ask_again() {
        AskAgain::Ids => format!("`filter.ids`{details}"),
        AskAgain::Info | AskAgain::List => "`.info`".to_owned(),
    }
}

#[test]
fn the_page_says_which_resources_webhooks_name() {
    let (named, others): (Vec<&Resource>, Vec<&Resource>) =
        RESOURCES.iter().partition(|resource| !types(resource).is_empty());
    counted(named.len(), "resources that webhooks name");
    let rows = named.iter().map(|&resource| vec![code([resource.name]), calls(resource), asked(resource)]);
    let unused = TYPES.iter().filter(|known| known.looks.is_empty()).map(|known| known.name);
    let rest = [
        vec!["no call names".to_owned(), code(others.iter().map(|resource| resource.name))],
        vec!["calls of no use, about the account and no record".to_owned(), code(unused)],
    ];
    let made = format!("{}\n{}", table(&["resource", "calls", "asked for by"], rows), table(&["", ""], rest));
    hold("webhooks.md", "table of webhooks", &made);
}
