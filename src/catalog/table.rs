//! The table of resources in `docs/resources.md`, made from the catalog.

use super::*;

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/resources.md");
const BEGIN: &str = "<!-- The table is made by `make resources`. -->\n";
const END: &str = "<!-- The end of the table. -->\n";

fn table() -> String {
    let mut table = String::from(
        "| resource | list | read | `matches` | what proves a pass of several pages | incremental \
         | details | deletions | parent |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for resource in RESOURCES.iter() {
        let cells = [
            format!("`{}`", resource.name),
            match resource.scope {
                Scope::Stored(_) => "-".to_owned(),
                _ => format!("`{}`", resource.list_endpoint()),
            },
            read(resource),
            if resource.reports_matches { "declared".to_owned() } else { "-".to_owned() },
            proof(resource).to_owned(),
            incremental(resource).to_owned(),
            details(resource),
            deletions(resource),
            parent(resource),
        ];
        table.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    table
}

fn read(resource: &Resource) -> String {
    let way = match resource.paging {
        Paging::Seek => "seek by `updated_at`".to_owned(),
        Paging::Offset(Some((field, Order::Ascending))) => format!("pages by `{field}`"),
        Paging::Offset(Some((field, Order::Descending))) => format!("pages by `{field}`, the newest first"),
        Paging::Offset(None) => "pages".to_owned(),
    };
    match resource.scope {
        Scope::Account | Scope::Parent(..) => way,
        Scope::Country => format!("{way}, a list a country"),
        Scope::DepartmentAndType(types) => format!("{way}, a list a department and type ({})", types.len()),
        Scope::Type(types) => format!("{way}, a list a type ({})", types.len()),
        Scope::Week => format!("{way}, a list a week"),
        Scope::Stored(_) => "by what the rows of its parent name".to_owned(),
    }
}

fn proof(resource: &Resource) -> &'static str {
    match (resource.paging, &resource.scope) {
        (_, Scope::Stored(_)) => "they are rows",
        (Paging::Seek, _) => "the order",
        (Paging::Offset(_), _) if resource.reports_matches => "the counts",
        (Paging::Offset(_), _) => "two passes that agree",
    }
}

fn incremental(resource: &Resource) -> &'static str {
    match resource {
        Resource { updated_since: true, detail: Detail::Info { shown_by_list: false, .. }, .. } => {
            "`updated_since`; each that it gives has a stale detail"
        }
        Resource { updated_since: true, .. } => "`updated_since`",
        Resource { scope: Scope::Parent(..), .. } => "those of changed parents",
        Resource { window: Some(_), .. } => "the window",
        _ => "all",
    }
}

fn details(resource: &Resource) -> String {
    let includes = match resource.info_includes() {
        [] => String::new(),
        includes => format!(" with `{}`", includes.join("`, `")),
    };
    match resource.detail {
        Detail::None => "-".to_owned(),
        Detail::Info { shown_by_list: true, .. } => format!("when changed{includes}"),
        Detail::Info { shown_by_list: false, .. } => format!("when changed, or old{includes}"),
        Detail::OnDemand { .. } => format!("`refetch` by name{includes}"),
    }
}

fn deletions(resource: &Resource) -> String {
    let asked = match resource.ask_again() {
        AskAgain::Ids => "`filter.ids`",
        AskAgain::Info => "`.info`",
        AskAgain::List => "two passes without it",
    };
    let with_parent = if resource.stands_alone() { "" } else { ", or with its parent" };
    format!("{asked}{with_parent}")
}

fn parent(resource: &Resource) -> String {
    let parents: Vec<&str> = resource.parents().iter().map(|parent| parent.resource).collect();
    if parents.is_empty() { "-".to_owned() } else { parents.join(", ") }
}

#[test]
fn the_documents_table_is_that_of_the_catalog() {
    let document = std::fs::read_to_string(DOCUMENT).expect("docs/resources.md");
    let (head, rest) = document.split_once(BEGIN).expect("the beginning of the table");
    let (_, tail) = rest.split_once(END).expect("the end of the table");
    let made = format!("{head}{BEGIN}\n{}\n{END}{tail}", table());
    if std::env::var_os("WRITE_RESOURCES").is_some() {
        std::fs::write(DOCUMENT, &made).expect("docs/resources.md can be written");
    } else {
        assert!(made == document, "docs/resources.md is not what the catalog says: run `make resources`");
    }
}
