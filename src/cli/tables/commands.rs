//! The table of commands in docs/cli.md, made from the command line.

use clap::{ArgAction, Command};

use super::super::command;
use super::{counted, hold, table};

/// A command as it is typed, with its arguments.
fn usage(name: &str, command: &Command) -> String {
    let named = command.get_positionals().map(|argument| {
        let value = argument.get_value_names().map(|names| names.join(" ")).unwrap_or_default();
        let many = argument.get_num_args().is_some_and(|count| count.max_values() > 1)
            || matches!(argument.get_action(), ArgAction::Append);
        let value = if many { format!("{value}…") } else { value };
        if argument.is_required_set() { value } else { format!("[{value}]") }
    });
    [name.to_owned()].into_iter().chain(named).collect::<Vec<_>>().join(" ")
}

/// Its flags that are no settings.
fn flags(command: &Command) -> String {
    let own = command.get_arguments().filter(|argument| {
        argument.get_env().is_none() && !argument.is_positional() && !is_of_every_command(argument.get_id().as_str())
    });
    let shown = own.filter(|argument| !argument.is_hide_set()).filter_map(|argument| {
        let long = argument.get_long()?;
        let takes = matches!(argument.get_action(), ArgAction::Set | ArgAction::Append);
        let value = argument.get_value_names().filter(|_| takes).map(|names| names.join(" "));
        Some(match (value, argument.get_short()) {
            (Some(value), Some(short)) => format!("`-{short}`, `--{long} {value}`"),
            (Some(value), None) => format!("`--{long} {value}`"),
            (None, _) => format!("`--{long}`"),
        })
    });
    shown.collect::<Vec<_>>().join(", ")
}

fn is_of_every_command(id: &str) -> bool {
    matches!(id, "help" | "version")
}

fn rows(above: &str, command: &Command) -> Vec<Vec<String>> {
    let below = command.get_subcommands().filter(|below| below.get_name() != "help");
    below
        .flat_map(|below| {
            let name = format!("{above}{}", below.get_name());
            if below.has_subcommands() {
                return rows(&format!("{name} "), below);
            }
            let about = below.get_about().map(ToString::to_string).unwrap_or_default();
            vec![vec![format!("`{}`", usage(&name, below)), about, flags(below)]]
        })
        .collect()
}

#[test]
fn the_documented_commands_are_those_of_the_program() {
    let mut top = command();
    top.build();
    let rows = rows("", &top);
    counted(rows.len(), "commands");
    hold("cli.md", "table of commands", &table(&["command", "what it does", "flags, besides settings"], rows));
}
