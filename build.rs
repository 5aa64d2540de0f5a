//! Which commit the program is built from: `TEAMLEADER2DB_COMMIT`, or else, in a release build, what git says of this
//! directory. Where neither says anything, as in an archive of the sources, the program names its version alone. A
//! debug build does not ask git: each commit would compile everything again.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=TEAMLEADER2DB_COMMIT");
    let given = std::env::var("TEAMLEADER2DB_COMMIT").unwrap_or_default();
    let is_release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let commit = if given.is_empty() { is_release.then(of_git).flatten() } else { Some(given) };
    let version = env!("CARGO_PKG_VERSION");
    let is_a_name = |commit: &str| commit.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    if let Some(other) = commit.as_deref().filter(|commit| !is_a_name(commit)) {
        println!("cargo::warning=TEAMLEADER2DB_COMMIT is not used: {other:?} is no commit");
    }
    match commit.filter(|commit| is_a_name(commit)) {
        Some(commit) => {
            println!("cargo::rustc-env=TEAMLEADER2DB_BUILD_COMMIT={commit}");
            println!("cargo::rustc-env=TEAMLEADER2DB_BUILD={version} ({commit})");
        }
        None => println!("cargo::rustc-env=TEAMLEADER2DB_BUILD={version}"),
    }
}

/// The commit that is checked out, and that cargo looks at again once there is another.
fn of_git() -> Option<String> {
    // Within the working directory of something else, git would say the commit of that.
    let is_at_the_top = git(&["rev-parse", "--show-prefix"])?.is_empty();
    let commit = git(&["rev-parse", "--short=12", "HEAD"]).filter(|_| is_at_the_top)?;
    let is_changed = !git(&["status", "--porcelain", "--untracked-files=no"])?.is_empty();
    let paths = [Some("HEAD".to_owned()), git(&["symbolic-ref", "--quiet", "HEAD"]), Some("packed-refs".to_owned())];
    for name in paths.into_iter().flatten() {
        let path = git(&["rev-parse", "--git-path", &name])?;
        // A branch that is packed has no file of its own before its next commit: that changes the directory.
        let there = Path::new(&path).ancestors().find(|path| path.exists())?;
        if name != "packed-refs" || there == Path::new(&path) {
            println!("cargo::rerun-if-changed={}", there.display());
        }
    }
    Some(if is_changed { commit + "-changed" } else { commit })
}

/// What git prints, if it succeeds.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let printed = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| printed.trim().to_owned())
}
