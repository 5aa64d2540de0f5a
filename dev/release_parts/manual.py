"""python3 -m release_parts.manual PROGRAM VERSION EPOCH: prints a manual page, made of the program's own help."""

import os
import re
import subprocess
import sys
from datetime import UTC, datetime


def help_of(program: str, *command: str) -> str:
    """What the program says of itself or of a command."""
    environment = {"PATH": os.defpath, "LC_ALL": "C.UTF-8", "COLUMNS": "100"}
    return subprocess.run(
        [program, *command, "--help"], check=True, capture_output=True, text=True, env=environment
    ).stdout


def verbatim(text: str) -> list[str]:
    """Lines that troff leaves as they are."""
    escaped = text.rstrip().replace("\\", "\\e").replace("-", "\\-")
    return [".nf", *(re.sub(r"^([.'])", r"\\&\1", line) for line in escaped.splitlines()), ".fi"]


def page(program: str, version: str, epoch: int) -> str:
    """The page, in section 1."""
    overview = help_of(program)
    description, _, rest = overview.partition("\n\n")
    date = datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%d")
    listed = re.search(r"^Commands:\n((?:  .*\n)+)", overview, re.MULTILINE)
    commands = re.findall(r"^  ([a-z][a-z-]*) ", listed[1], re.MULTILINE) if listed else []
    lines = [
        f'.TH TEAMLEADER2DB 1 "{date}" "teamleader2db {version}"',
        ".SH NAME",
        f"teamleader2db \\- {description.rstrip('.')}",
        ".SH DESCRIPTION",
        *verbatim(rest),
    ]
    for command in commands:
        if command != "help":
            lines += [f'.SH "{command.upper()}"', *verbatim(help_of(program, command))]
    lines += [".SH SEE ALSO", "The documentation in /usr/share/doc/teamleader2db, and systemd.exec(5) on credentials."]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Of the command line."""
    sys.stdout.write(page(sys.argv[1], sys.argv[2], int(sys.argv[3])))


if __name__ == "__main__":
    main()
