//! Parses the command line, runs, and returns the exit code.

use std::process::ExitCode;

use clap::Parser;
use teamleader2db::cli::Cli;

fn main() -> ExitCode {
    Cli::parse().run()
}
