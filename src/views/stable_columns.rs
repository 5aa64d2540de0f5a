//! The columns of all views that have ever been there, in `columns.txt` beside this file: others have built on them, so
//! none goes, and none changes its type.

use std::collections::BTreeSet;

use super::definitions::definitions;

const LIST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/views/columns.txt");

#[test]
fn no_column_goes_or_changes_its_type() {
    let is: BTreeSet<String> = definitions()
        .iter()
        .flat_map(|view| {
            view.columns.iter().map(|column| format!("{}.{} {}", view.name, column.name, column.kind.as_sql()))
        })
        .collect();
    let list = std::fs::read_to_string(LIST).unwrap_or_default();
    let was: BTreeSet<String> = list.lines().map(str::to_owned).collect();
    let missing: Vec<&String> = was.difference(&is).collect();
    assert!(missing.is_empty(), "others have built on these: {missing:#?}");
    if std::env::var_os("WRITE_VIEWS").is_some() {
        let all: String = is.iter().map(|line| format!("{line}\n")).collect();
        std::fs::write(LIST, all).expect("columns.txt can be written");
    } else {
        assert!(is == was, "{LIST} lacks columns: run `make views`");
    }
}
