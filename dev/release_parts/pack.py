"""Archives whose bytes depend on nothing but their files, and on the date that they are given."""

import gzip
import io
import os
import tarfile
from pathlib import Path


def mode_of(path: Path) -> int:
    """The mode in an archive: of two kinds, whatever the umask was."""
    return 0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644


def tar(root: Path, epoch: int, prefix: str = "") -> bytes:
    """All in `root`, in order of names, owned by root; below the folder `prefix`, if one is given."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        if prefix:
            archive.addfile(entry(prefix, root, epoch))
        for path in sorted(root.rglob("*"), key=lambda path: path.relative_to(root).parts):
            name = str(Path(prefix) / path.relative_to(root))
            if path.is_dir():
                archive.addfile(entry(name, path, epoch))
            else:
                with path.open("rb") as file:
                    archive.addfile(entry(name, path, epoch), file)
    return buffer.getvalue()


def entry(name: str, path: Path, epoch: int) -> tarfile.TarInfo:
    """What an archive says about a file or folder."""
    if path.is_symlink():
        raise ValueError(f"{path} is a symbolic link: archives of a release hold files and folders")
    info = tarfile.TarInfo(name)
    info.mtime = epoch
    info.mode = mode_of(path)
    if path.is_dir():
        info.type = tarfile.DIRTYPE
    else:
        info.size = path.stat().st_size
    return info


def compress(data: bytes) -> bytes:
    """As gzip. The header names neither a file nor a time, and no system, which Python's shortcut names."""
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=buffer, mtime=0) as file:
        file.write(data)
    return buffer.getvalue()


def clear_dates(root: Path, epoch: int) -> None:
    """Gives all in `root` the modes and the date of an archive, for tools that take them from the files."""
    for path in [root, *root.rglob("*")]:
        if not path.is_symlink():
            path.chmod(mode_of(path))
        os.utime(path, (epoch, epoch), follow_symlinks=False)
