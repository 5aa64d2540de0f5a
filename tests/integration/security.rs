//! docs/security.md names a test for each finding, and there is such a test.

use std::path::Path;

use regex::Regex;

#[test]
fn each_test_that_the_page_on_security_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/security.md")).unwrap();
    let named = Regex::new(r"`([a-z_]+)::([a-z0-9_]+)`").unwrap();
    let mut known = 0;
    for (_, [module, test]) in named.captures_iter(&page).map(|found| found.extract()) {
        let Ok(file) = std::fs::read_to_string(root.join(format!("tests/integration/{module}.rs"))) else {
            // A path of the program, such as `outbox::as_before`.
            assert!(root.join(format!("src/store/{module}.rs")).exists(), "there is no module {module}");
            continue;
        };
        assert!(file.contains(&format!("fn {test}(")), "{module}.rs has no test {test}");
        known += 1;
    }
    assert!(known > 30, "{known} tests are named");
    let files = Regex::new(r"`((?:src|deploy|tests|integrations)/[a-z0-9_./]+)`").unwrap();
    for (_, [file]) in files.captures_iter(&page).map(|found| found.extract()) {
        assert!(root.join(file).exists(), "there is no {file}");
    }
}
