"""python3 -m release_parts.audit PACKAGE FILE: writes the list of what a program is made of, as cargo-auditable does.

cargo-auditable puts the list into the program while it is linked. It does so by a wrapper of rustc, whose path enters the
names of all symbols, so that no two builders would get the same bytes. dev/release_parts/binaries adds the list afterwards,
as the section .dep-v0; the format is that of https://github.com/rust-secure-code/cargo-auditable: JSON, compressed by zlib.
"""

import json
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

CRATES_IO = "registry+https://github.com/rust-lang/crates.io-index"
# From weak to strong: what a package is needed for by several others is the strongest of it.
DEVELOPMENT, BUILD, RUNTIME = range(3)
KINDS = {None: RUNTIME, "build": BUILD, "dev": DEVELOPMENT}


def host() -> str:
    """The system that is compiled for."""
    output = subprocess.run(["rustc", "--version", "--verbose"], check=True, capture_output=True, text=True).stdout
    return output.split("host: ")[1].split()[0]


def metadata(name: str) -> tuple[dict[str, Any], str]:
    """What cargo knows, and the id of the workspace's package of this name."""
    command = ["cargo", "metadata", "--format-version=1", "--locked", f"--filter-platform={host()}"]
    known: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    members = {package["id"] for package in known["packages"] if package["name"] == name and not package["source"]}
    return known, members.pop()


def kinds(known: dict[str, Any], root: str) -> dict[str, int]:
    """What each package is needed for by the root. A dependency of something that only builds does so, too."""
    nodes = {node["id"]: node for node in known["resolve"]["nodes"]}
    macros = {
        package["id"]
        for package in known["packages"]
        if any("proc-macro" in target["kind"] for target in package["targets"])
    }
    found = {root: RUNTIME}
    queue = [root]
    while queue:
        parent = queue.pop()
        for dependency in nodes[parent]["deps"]:
            child = dependency["pkg"]
            kind = min(found[parent], max(KINDS[part["kind"]] for part in dependency["dep_kinds"]))
            if child in macros:
                kind = min(kind, BUILD)
            if kind > found.get(child, -1):
                found[child] = kind
                queue.append(child)
    return {package: kind for package, kind in found.items() if kind != DEVELOPMENT}


def audit_list(known: dict[str, Any], root: str) -> list[dict[str, Any]]:
    """The packages, in order, each with the places of those that it depends on."""
    needed = kinds(known, root)
    packages = sorted(
        (package for package in known["packages"] if package["id"] in needed),
        key=lambda package: (package["name"], package["version"]),
    )
    places = {package["id"]: place for place, package in enumerate(packages)}
    nodes = {node["id"]: node for node in known["resolve"]["nodes"]}
    listed = []
    for package in packages:
        source = package["source"]
        entry: dict[str, Any] = {
            "name": package["name"],
            "version": package["version"],
            "source": "crates.io" if source == CRATES_IO else source.split("+")[0] if source else "local",
        }
        if needed[package["id"]] == BUILD:
            entry["kind"] = "build"
        uses = sorted(
            places[dependency["pkg"]]
            for dependency in nodes[package["id"]]["deps"]
            if dependency["pkg"] in places and any(part["kind"] != "dev" for part in dependency["dep_kinds"])
        )
        if uses:
            entry["dependencies"] = uses
        if package["id"] == root:
            entry["root"] = True
        listed.append(entry)
    return listed


def main() -> None:
    """Of the command line."""
    known, root = metadata(sys.argv[1])
    text = json.dumps({"packages": audit_list(known, root)}, separators=(",", ":"))
    Path(sys.argv[2]).write_bytes(zlib.compress(text.encode(), 9))


if __name__ == "__main__":
    main()
