//! Where the rows go.

use std::borrow::Cow;
use std::fs::{Metadata, Permissions};
use std::io::IsTerminal as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::process::geteuid;
use tokio::fs::{self, File, OpenOptions};
use tokio::io::{AsyncWrite, AsyncWriteExt as _, BufWriter, Stdout};
use uuid::Uuid;

use crate::commands::terminal;

/// This many bytes are written at a time: each time costs a hop to another thread, which is the one that a slow disk or
/// reader blocks.
const BUFFER: usize = 256 * 1024;

/// Who may read a new file, which holds personal data: its owner alone.
const OWNER_ALONE: u32 = 0o600;

/// Standard output or a file.
pub struct Destination {
    out: Out,
    on_terminal: bool,
    unfinished: Option<Unfinished>,
}

enum Out {
    Stdout(BufWriter<Stdout>),
    File(BufWriter<File>),
}

/// A file beside the one that it becomes. Removed where it does not come to that.
struct Unfinished {
    path: PathBuf,
    becomes: PathBuf,
}

impl Destination {
    /// Opens the file, or standard output. The file that is there stays as it is until [`Self::finish`]; but an output
    /// that is no file, such as /dev/stdout or a named pipe, is written to at once. A link is followed, but not one of
    /// another user, which could lead to a file of this one's.
    pub async fn open(file: Option<&Path>) -> std::io::Result<Self> {
        let Some(file) = file else {
            return Ok(Self {
                out: Out::Stdout(BufWriter::with_capacity(BUFFER, tokio::io::stdout())),
                on_terminal: std::io::stdout().is_terminal(),
                unfinished: None,
            });
        };
        if if_there(fs::symlink_metadata(file).await)?.is_some_and(|there| there.is_symlink() && is_strangers(&there)) {
            return Err(std::io::Error::other("it is a symbolic link of another user"));
        }
        let there = if_there(fs::metadata(file).await)?;
        let (file, unfinished) = match there {
            Some(there) if !there.is_file() => (OpenOptions::new().write(true).open(file).await?, None),
            there => {
                // Where a link points, so that it stays one.
                let becomes = if there.is_some() { fs::canonicalize(file).await? } else { file.to_owned() };
                let path = becomes.with_file_name(format!(".teamleader2db-{}.part", Uuid::new_v4()));
                let file = OpenOptions::new().write(true).create_new(true).mode(OWNER_ALONE).open(&path).await?;
                let unfinished = Unfinished { path, becomes };
                // Who may read the old one may read the new one, if it was this user who said so.
                if let Some(there) = there.filter(|there| there.uid() == geteuid().as_raw()) {
                    file.set_permissions(Permissions::from_mode(there.mode() & 0o777)).await?;
                }
                (file, Some(unfinished))
            }
        };
        Ok(Self { out: Out::File(BufWriter::with_capacity(BUFFER, file)), on_terminal: false, unfinished })
    }

    /// Writes a line.
    pub async fn write(&mut self, line: &[u8]) -> std::io::Result<()> {
        self.out.writer().write_all(&shown(line, self.on_terminal)).await
    }

    /// Writes the rest, and puts the file in its place.
    pub async fn finish(mut self) -> std::io::Result<()> {
        self.out.writer().flush().await?;
        if let (Out::File(file), Some(unfinished)) = (&self.out, &self.unfinished) {
            // A machine that crashes now leaves the old file, or all of the new one.
            file.get_ref().sync_all().await?;
            fs::rename(&unfinished.path, &unfinished.becomes).await?;
        }
        Ok(())
    }
}

/// Files and pipes get what there is; a terminal would obey it.
fn shown(line: &[u8], on_terminal: bool) -> Cow<'_, [u8]> {
    if !on_terminal {
        return Cow::Borrowed(line);
    }
    Cow::Owned(terminal::visible(&String::from_utf8_lossy(line)).into_owned().into_bytes())
}

fn if_there(looked: std::io::Result<Metadata>) -> std::io::Result<Option<Metadata>> {
    match looked {
        Ok(there) => Ok(Some(there)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Links of the system's, such as /dev/stdout, are root's.
fn is_strangers(there: &Metadata) -> bool {
    there.uid() != geteuid().as_raw() && there.uid() != 0
}

impl Out {
    fn writer(&mut self) -> &mut (dyn AsyncWrite + Send + Unpin) {
        match self {
            Self::Stdout(out) => out,
            Self::File(out) => out,
        }
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // After `finish` there is none of this name.
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_shows_what_it_would_obey() {
        let row = "Zoë,\u{1b}[2J\n".as_bytes();
        assert_eq!(shown(row, false).as_ref(), row);
        assert_eq!(shown(row, true).as_ref(), "Zoë,\\u001b[2J\n".as_bytes());
    }
}
