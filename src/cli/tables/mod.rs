//! The tables of docs/ that repeat the code, made from it: `make tables` writes them, and each test fails where a page
//! says other than the code.

mod commands;
mod events;
mod limits;
mod metrics;
mod settings;
mod shown;
mod webhooks;

use std::path::Path;

/// The folder of the repository.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Holds the part of a page between two comments against what the code says, or writes it there. `what`: as the
/// comments name it, such as "table of events".
fn hold(page: &str, what: &str, made: &str) {
    let path = root().join("docs").join(page);
    let text = std::fs::read_to_string(&path).expect(page);
    let verb = if what.starts_with("tables") { "are" } else { "is" };
    let (begin, end) =
        (format!("<!-- The {what} {verb} made by `make tables`. -->\n"), format!("<!-- The end of the {what}. -->\n"));
    let (head, rest) = text.split_once(&begin).unwrap_or_else(|| panic!("docs/{page} has no {begin}"));
    let (_, tail) = rest.split_once(&end).unwrap_or_else(|| panic!("docs/{page} has no {end}"));
    let whole = format!("{head}{begin}\n{}\n\n{end}{tail}", made.trim());
    if std::env::var_os("WRITE_TABLES").is_some() {
        std::fs::write(&path, whole).expect(page);
    } else {
        assert!(whole == text, "docs/{page}: the {what} is not what the code says: run `make tables`");
    }
}

/// Prints how many of a kind were looked at.
#[expect(clippy::print_stdout, reason = "a test's output, which --nocapture shows")]
fn counted(count: usize, what: &str) {
    println!("{count} {what}");
}

/// A table in Markdown.
fn table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let head: Vec<String> = head.iter().map(|&cell| cell.to_owned()).collect();
    let rule: Vec<String> = head.iter().map(|_| "---".to_owned()).collect();
    let rows = rows.into_iter().map(|row| {
        assert_eq!(row.len(), head.len(), "{row:?}");
        line(&row)
    });
    [line(&head), line(&rule)].into_iter().chain(rows).collect()
}

/// The words as code, with commas between them.
fn code<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    words.into_iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}
