"""python3 -m release_parts.notices FILE PROGRAM…: writes the licences of all crates in the programs.

MIT, Apache and BSD licences ask that their text comes along with the program.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

from release_parts.sbom import audit_list

TEXTS = re.compile(r"(LICEN[CS]E|COPYING|COPYRIGHT|NOTICE|UNLICENSE)([-._].*)?", re.IGNORECASE)
RULE = "=" * 100


def texts_of(folder: Path) -> list[str]:
    """The licence texts that a crate has, without blanks at the end of lines."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and TEXTS.fullmatch(path.name))
    return [re.sub(r"[ \t\r]+$", "", file.read_text("utf-8", "replace"), flags=re.MULTILINE).strip() for file in files]


def notices(programs: list[Path]) -> str:
    """Each crate with its licence, and each text once."""
    used = {
        (package["name"], package["version"])
        for program in programs
        for package in audit_list(program)
        if package.get("source") != "local" and package.get("kind") != "build"
    }
    output = subprocess.run(["cargo", "metadata", "--format-version=1", "--locked"], check=True, capture_output=True)
    crates = [
        package for package in json.loads(output.stdout)["packages"] if (package["name"], package["version"]) in used
    ]
    crates.sort(key=lambda crate: (crate["name"], crate["version"]))
    shared: dict[str, list[str]] = {}
    lines = ["What teamleader2db and teamleader-simulator are compiled from, with the licences of each.", ""]
    for crate in crates:
        name = f"{crate['name']} {crate['version']}"
        lines.append(f"{name}: {crate['license'] or 'see its text below'}")
        authors = ", ".join(re.sub(r"\s*<[^>]*>", "", author) for author in crate["authors"])
        if authors:
            lines.append(f"    by {authors}")
        for text in texts_of(Path(crate["manifest_path"]).parent):
            shared.setdefault(text, []).append(name)
    for text, names in shared.items():
        lines += ["", RULE, *names, RULE, "", text]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Of the command line."""
    Path(sys.argv[1]).write_text(notices([Path(program) for program in sys.argv[2:]]))


if __name__ == "__main__":
    main()
