//! The tables of settings in docs/configuration.md, made from the command line.

use clap::{Arg, ArgAction, Command};

use super::super::{command, usage};
use super::{code, counted, hold, root, table};

/// What a command needs and no `ConfigError::Missing` names.
const REQUIRED: &str = "TEAMLEADER_REDIRECT_URI";

/// The ranges end their sentence with a colon, and why.
const RANGE: &str = "it is ";

/// A setting: its argument, and the commands that take it.
struct Setting {
    variable: String,
    argument: Arg,
    commands: Vec<String>,
}

/// All settings: arguments with a variable, of any command, by their heading in the order of `worker --help`.
fn settings() -> Vec<(String, Vec<Setting>)> {
    let mut all: Vec<(String, Vec<Setting>)> = Vec::new();
    let mut top = command();
    top.build();
    let mut commands = vec![(String::new(), top.clone())];
    let of_worker = |command: &&Command| command.get_name() != "worker";
    let mut below: Vec<&Command> = top.get_subcommands().collect();
    below.sort_by_key(of_worker);
    commands.extend(below.into_iter().flat_map(leaves));
    for (name, command) in commands {
        for argument in command.get_arguments() {
            let Some(variable) = argument.get_env().map(|name| name.to_string_lossy().into_owned()) else { continue };
            let known = all.iter_mut().flat_map(|(_, group)| group).find(|setting| setting.variable == variable);
            if let Some(setting) = known {
                setting.commands.extend(Some(name.clone()).filter(|name| !name.is_empty()));
                continue;
            }
            let heading = argument.get_help_heading().unwrap_or("Tracing").to_owned();
            let commands = Some(name.clone()).filter(|name| !name.is_empty()).into_iter().collect();
            let setting = Setting { variable, argument: argument.clone(), commands };
            match all.iter_mut().find(|(known, _)| *known == heading) {
                Some((_, group)) => group.push(setting),
                None => all.push((heading, vec![setting])),
            }
        }
    }
    // What every command takes comes last, as in the help.
    all.sort_by_key(|(heading, _)| ["Tracing", "Logging"].iter().position(|last| last == heading));
    all
}

/// The commands below, each with its whole name.
fn leaves(command: &Command) -> Vec<(String, Command)> {
    let name = command.get_name().to_owned();
    if command.has_subcommands() {
        let below = command.get_subcommands().filter(|below| below.get_name() != "help").flat_map(leaves);
        below.map(|(own, command)| (format!("{name} {own}"), command)).collect()
    } else if name == "help" {
        Vec::new()
    } else {
        vec![(name, command.clone())]
    }
}

/// What may stand there, as the program itself says it of a value that cannot be.
fn allowed(setting: &Setting) -> String {
    let values: Vec<String> =
        setting.argument.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
    if !values.is_empty() {
        return code(values.iter().map(String::as_str));
    }
    let Some(first) = setting.commands.first() else { return String::new() };
    let flag = format!("--{}=?", setting.argument.get_long().unwrap_or_default());
    let line = ["teamleader2db"].into_iter().chain(first.split(' ')).chain([flag.as_str()]);
    let Err(error) = command().try_get_matches_from(line) else { return String::new() };
    let Some(said) = usage::explained(&error, command()) else { return String::new() };
    let Some((_, range)) = said.split_once(RANGE) else { return String::new() };
    range.split(": ").next().unwrap_or(range).trim_start_matches("a time ").replace("a number ", "").to_owned()
}

/// The help, as a sentence.
fn help(argument: &Arg) -> String {
    let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
    help.replace('|', "\\|")
}

/// Whether the commands that take it cannot do without.
fn is_required(variable: &str) -> bool {
    let files = std::fs::read_dir(root().join("src/config")).expect("src/config");
    let sources = files.map(|file| std::fs::read_to_string(file.expect("a file").path()).expect("a source"));
    let missing = format!("ConfigError::Missing(\"{variable}\")");
    variable == REQUIRED || sources.into_iter().any(|source| source.contains(&missing))
}

/// Those that take it, or those that do not, whichever are fewer; parents stand for all that is below them.
fn used_by(own: &[String], all: &[String]) -> String {
    let shown = |chosen: &dyn Fn(&String) -> bool| {
        let mut names: Vec<String> = Vec::new();
        for name in all.iter().filter(|name| chosen(name)) {
            let parent = name.split(' ').next().unwrap_or(name);
            let family = |name: &&String| name.split(' ').next() == Some(parent);
            let whole = all.iter().filter(family).all(chosen);
            let name = if whole { parent.to_owned() } else { name.clone() };
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    };
    let (with, without) = (shown(&|name| own.contains(name)), shown(&|name| !own.contains(name)));
    match () {
        () if without.is_empty() => "all".to_owned(),
        () if without.len() < with.len() => format!("all but {}", code(without.iter().map(String::as_str))),
        () => code(with.iter().map(String::as_str)),
    }
}

fn rows(group: &[Setting], all: &[String]) -> Vec<Vec<String>> {
    let has = |variable: &str| group.iter().any(|setting| setting.variable == variable);
    let is_twin = |variable: &str| variable.strip_suffix("_FILE").is_some_and(has);
    let own = group.iter().filter(|setting| !is_twin(&setting.variable));
    own.map(|setting| {
        let mark = if has(&format!("{}_FILE", setting.variable)) { " †" } else { "" };
        let defaults: Vec<String> =
            setting.argument.get_default_values().iter().map(|value| value.to_string_lossy().into_owned()).collect();
        let default = match defaults.as_slice() {
            [] if is_required(&setting.variable) => "required".to_owned(),
            [] => "not set".to_owned(),
            defaults => code(defaults.iter().map(String::as_str)),
        };
        assert!(matches!(setting.argument.get_action(), ArgAction::Set | ArgAction::Append), "{}", setting.variable);
        let commands = used_by(&setting.commands, all);
        vec![format!("`{}`{mark}", setting.variable), default, allowed(setting), help(&setting.argument), commands]
    })
    .collect()
}

#[test]
fn the_documented_settings_are_those_of_the_command_line() {
    let settings = settings();
    let mut top = command();
    top.build();
    let commands: Vec<String> = leaves(&top).into_iter().map(|(name, _)| name).collect();
    let commands: Vec<String> = commands.iter().map(|name| name.replacen("teamleader2db ", "", 1)).collect();
    let mut made = String::new();
    for (heading, group) in &settings {
        made.push_str(&format!("## {heading}\n\n"));
        made.push_str(&table(&["variable", "default", "allowed", "what it does", "used by"], rows(group, &commands)));
        made.push('\n');
    }
    counted(settings.iter().map(|(_, group)| group.len()).sum::<usize>(), "settings");
    hold("configuration.md", "tables of settings", &made);
}
