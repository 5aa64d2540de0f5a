//! Runs the command line, and returns the exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    teamleader2db::cli::main()
}
