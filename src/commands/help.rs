//! What `--help` of several commands has below the options.

use crate::catalog::{self, RESOURCES};

/// No line of it is longer, as clap has it.
const WIDTH: usize = 100;

/// The examples, and all names of resources.
pub fn with_resources(examples: &str) -> String {
    let names = |alone: bool| {
        let resources = RESOURCES.iter().filter(move |resource| resource.stands_alone() == alone);
        in_lines(resources.map(|resource| resource.name))
    };
    format!(
        "{examples}\n\nResources, in this spelling or in that of their tables (time_tracking), in any case; `{}` means \
         these:\n{}\nand these take a call for each parent record, and are synced where they are named:\n{}",
        catalog::ALL,
        names(true),
        names(false),
    )
}

fn in_lines(names: impl Iterator<Item = &'static str>) -> String {
    let mut lines = vec![String::new()];
    for name in names {
        if lines.last().is_some_and(|line| line.len() + name.len() + 2 > WIDTH) {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            line.push_str(if line.is_empty() { "  " } else { " " });
            line.push_str(name);
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_has_each_resource_once_in_lines_that_fit() {
        let help = with_resources("Examples:");
        let indented = help.lines().filter(|line| line.starts_with("  "));
        let words: Vec<&str> = indented.flat_map(str::split_whitespace).collect();
        assert_eq!(words.len(), RESOURCES.len());
        assert!(RESOURCES.iter().all(|resource| words.contains(&resource.name)));
        assert!(help.lines().all(|line| line.len() <= 110), "{help}");
    }
}
