//! Every `teamleader2db …` that a page shows, in a block or within a line, is a command that the program takes.

use std::path::PathBuf;

use clap::error::ErrorKind;

use super::super::command;
use super::{counted, root};

/// Words that stand for a value, and one that may stand there.
const VALUES: [(&str, &str); 11] = [
    ("REQUEST_ID", "00000000-0000-4000-8000-000000000000"),
    ("UUID", "00000000-0000-4000-8000-000000000000"),
    ("ID…", "00000000"),
    ("ID", "00000000"),
    ("CODE", "code"),
    ("STATE", "state"),
    ("NAME", "contacts"),
    ("RESOURCE…", "contacts"),
    ("[RESOURCE…]", "contacts"),
    ("COMMAND", "worker"),
    ("FILE", "contacts.csv"),
];

/// The arguments as they may be typed: `…` is a value after a flag, and else more of the same.
fn real(arguments: &[String]) -> Vec<String> {
    let mut real = vec!["teamleader2db".to_owned()];
    for word in arguments {
        match VALUES.iter().find(|(name, _)| name == word) {
            Some((_, value)) => real.push((*value).to_owned()),
            None if word != "…" => real.push(word.clone()),
            None if real.last().is_some_and(|last| last.starts_with("--")) => real.push("value".to_owned()),
            None => {}
        }
    }
    real
}

/// Whether a command is only named, as in "`teamleader2db cancel` ends it": it lacks what it needs, and is not wrong.
fn is_named(arguments: &[String], error: &clap::Error) -> bool {
    let lacks = [ErrorKind::MissingRequiredArgument, ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand];
    lacks.contains(&error.kind()) && !arguments.iter().any(|word| word.starts_with('-'))
}

/// The pages of the repository that show commands.
fn pages() -> Vec<PathBuf> {
    let folders = ["", "docs", "integrations/airflow", "integrations/dbt", "simulator", "tests/docker"];
    let files = folders.iter().flat_map(|folder| std::fs::read_dir(root().join(folder)).expect(folder));
    let mut pages: Vec<PathBuf> = files.map(|file| file.expect("a file").path()).collect();
    pages.retain(|path| path.extension().is_some_and(|end| end == "md"));
    pages.sort();
    pages
}

/// The words of a line of shell, without quotes; each operator is a word by itself.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    let mut is_word = false;
    for sign in line.chars() {
        match (quote, sign) {
            (Some(open), sign) if sign == open => quote = None,
            (Some(_), sign) => word.push(sign),
            (None, '\'' | '"') => (quote, is_word) = (Some(sign), true),
            (None, ' ' | '|' | ';' | '&' | '>' | '<' | '(' | ')' | '#' | '\\') => {
                if is_word || !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                    is_word = false;
                }
                if sign != ' ' {
                    words.push(sign.to_string());
                }
            }
            (None, sign) => word.push(sign),
        }
    }
    if is_word || !word.is_empty() {
        words.push(word);
    }
    words
}

/// The commands of a line, each without the program's name: what stands at the beginning of a part of a pipe or list,
/// after assignments, or after the `worker` of `docker compose exec worker`.
fn commands(line: &str) -> Vec<Vec<String>> {
    let is_operator = |word: &String| ["|", ";", "&", ">", "<", "(", ")", "#"].contains(&word.as_str());
    let all = words(line);
    let parts = all.split(is_operator);
    parts
        .filter_map(|part| {
            let of_program = |word: &String| word == "teamleader2db" || word.ends_with("/teamleader2db");
            let place = part.iter().position(of_program)?;
            let before = &part[..place];
            let is_first = before.iter().all(|word| word.contains('=') || word == "export");
            let in_container = before.last().is_some_and(|word| word == "worker" || word == "--");
            (is_first || in_container).then(|| part[place + 1..].to_vec())
        })
        .collect()
}

/// The lines of shell in a page: those of blocks, and what stands in a line as code and begins with the program.
fn shell(page: &str) -> Vec<String> {
    let (mut lines, mut language) = (Vec::new(), None::<String>);
    let mut prose = String::new();
    let mut skips = false;
    for line in page.lines() {
        match (&language, line.trim_start().strip_prefix("```")) {
            (None, Some(name)) => language = Some(name.to_owned()),
            (Some(_), Some(_)) => (language, skips) = (None, false),
            (None, None) => {
                skips = line.starts_with("<!-- Not run:") || skips && line.is_empty();
                prose.push_str(line);
                prose.push('\n');
            }
            (Some(language), None) if !skips => match (language.as_str(), line.trim_start().strip_prefix("$ ")) {
                ("console", Some(line)) => lines.push(line.to_owned()),
                ("sh" | "bash", _) => lines.push(line.trim_start().to_owned()),
                _ => {}
            },
            _ => {}
        }
    }
    let spans = prose.split('`').skip(1).step_by(2).map(|span| span.replace('\n', " "));
    lines.extend(spans.filter(|span| span.starts_with("teamleader2db ")));
    lines
}

#[test]
fn every_command_that_a_page_shows_can_be_parsed() {
    let (mut count, mut wrong) = (0, Vec::new());
    for path in pages() {
        let page = std::fs::read_to_string(&path).expect("a page");
        for arguments in shell(&page).iter().flat_map(|line| commands(line)) {
            let line = real(&arguments);
            count += 1;
            if let Err(error) = command().try_get_matches_from(&line)
                && error.use_stderr()
                && !is_named(&arguments, &error)
            {
                wrong.push(format!("{}: {}: {error}", path.display(), line.join(" ")));
            }
        }
    }
    counted(count, "commands in pages");
    assert!(count > 50, "{count} commands are found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn commands_are_found_where_a_shell_finds_them() {
    let found = |line: &str| commands(line).iter().map(|words| words.join(" ")).collect::<Vec<_>>();
    assert_eq!(found("A=1 teamleader2db status --json | jq ."), ["status --json"]);
    assert_eq!(found("docker compose exec worker teamleader2db healthcheck"), ["healthcheck"]);
    assert_eq!(found("source <(teamleader2db completions bash)"), ["completions bash"]);
    assert_eq!(found("teamleader2db export x --where \"a = 'b'\" > f"), ["export x --where a = 'b'"]);
    assert_eq!(found("rabbitmqctl set_permissions teamleader2db '^a'"), [""; 0]);
    assert_eq!(found("psql --username=teamleader2db teamleader2db"), [""; 0]);
}
