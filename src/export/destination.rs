//! Where the rows go.

use std::path::{Path, PathBuf};

use tokio::fs::{self, File, OpenOptions};
use tokio::io::{AsyncWrite, AsyncWriteExt as _, BufWriter, Stdout};
use uuid::Uuid;

/// So many bytes are written at a time: each time costs a hop to another thread, which is the one that a slow disk or reader blocks.
const BUFFER: usize = 256 * 1024;

/// Standard output or a file.
pub struct Destination {
    out: Out,
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
    /// Opens the file, or standard output. The file that is there stays as it is until [`Self::finish`]; but what is none, such as
    /// /dev/stdout or a named pipe, is written to at once.
    pub async fn open(file: Option<&Path>) -> std::io::Result<Self> {
        let Some(file) = file else {
            return Ok(Self {
                out: Out::Stdout(BufWriter::with_capacity(BUFFER, tokio::io::stdout())),
                unfinished: None,
            });
        };
        let there = match fs::metadata(file).await {
            Ok(there) => Some(there),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let (file, unfinished) = match there {
            Some(there) if !there.is_file() => (OpenOptions::new().write(true).open(file).await?, None),
            there => {
                // Where a link points, so that it stays one.
                let becomes = if there.is_some() { fs::canonicalize(file).await? } else { file.to_owned() };
                let path = becomes.with_file_name(format!(".teamleader2db-{}.part", Uuid::new_v4()));
                let file = OpenOptions::new().write(true).create_new(true).open(&path).await?;
                let unfinished = Unfinished { path, becomes };
                if let Some(there) = there {
                    // Who may not read the old one shall not read the new one.
                    file.set_permissions(there.permissions()).await?;
                }
                (file, Some(unfinished))
            }
        };
        Ok(Self { out: Out::File(BufWriter::with_capacity(BUFFER, file)), unfinished })
    }

    /// Writes a line.
    pub async fn write(&mut self, line: &[u8]) -> std::io::Result<()> {
        self.out.writer().write_all(line).await
    }

    /// Writes what is left, and puts the file in its place.
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
