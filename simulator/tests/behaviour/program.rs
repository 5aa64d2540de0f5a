//! The simulator as a program of its own.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

fn program(arguments: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_teamleader-simulator"));
    command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

#[tokio::test]
async fn it_says_where_it_listens_and_ends_well_when_told_to_stop() {
    for signal in ["-TERM", "-INT"] {
        let mut child =
            program(&["--contacts", "100", "--count", "events=7", "--count", "users=2,notes=0", "--paged", "tags"]);
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.strip_prefix("listening on ").unwrap().trim_end();
        let counts = reqwest::get(format!("{url}/_simulator/truth")).await.unwrap().text().await.unwrap();
        assert!(
            counts.contains(r#""contacts":100,"#)
                && counts.contains(r#""events":7,"#)
                && counts.contains(r#""notes":0,"#),
            "{counts}"
        );
        let pid = child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
        assert!(child.wait().unwrap().success());
    }
}

#[test]
fn a_resource_that_does_not_exist_is_an_error() {
    assert!(!program(&["--count", "nonsense=1"]).wait().unwrap().success());
    assert!(!program(&["--paged", "nonsense"]).wait().unwrap().success());
}
