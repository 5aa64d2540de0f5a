"""python3 -m release_parts.tarball FOLDER FILE.tar.gz EPOCH: archives FOLDER under the name of FILE."""

import sys
from pathlib import Path

from release_parts import pack


def main() -> None:
    """Of the command line."""
    folder, file, epoch = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    file.write_bytes(pack.compress(pack.tar(folder, epoch, file.name.removesuffix(".tar.gz"))))


if __name__ == "__main__":
    main()
