//! Completion in a shell: the script makes it ask this program at each press of the key.

use clap_complete::Shell;
use clap_complete::env::{CompleteEnv, Shells};

use super::command;

/// The variable by which a shell's script asks. It is between one version's script and the same version.
const VARIABLE: &str = "TEAMLEADER2DB_COMPLETE";

/// The program's name, as it stands on a command line.
const PROGRAM: &str = "teamleader2db";

/// Where the script of a shell asks for completions: prints them, and ends the process.
pub(super) fn answer_a_shell() {
    CompleteEnv::with_factory(command).var(VARIABLE).complete();
}

/// What makes a shell ask. It runs this very program, by the path by which it was called.
pub(super) fn script(shell: Shell) -> anyhow::Result<String> {
    let called = std::env::args_os().next().map(std::path::PathBuf::from).unwrap_or_else(|| PROGRAM.into());
    // A name alone is looked up by the shell each time; a path has to hold in every folder.
    let program = if called.components().count() > 1 { std::path::absolute(called)? } else { called };
    let shells = Shells::builtins();
    let shell = shells.completer(&shell.to_string()).ok_or_else(|| anyhow::anyhow!("there is none for {shell}"))?;
    let mut script = Vec::new();
    shell.write_registration(VARIABLE, PROGRAM, PROGRAM, &program.to_string_lossy(), &mut script)?;
    Ok(String::from_utf8(script)?)
}
