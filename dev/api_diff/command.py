"""The command line of `dev/api-diff`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from .difference import compare
from .document import Document, UnreadableError, read_json
from .endpoints import read_specification
from .report import as_json, as_tables
from .update import decisions, updated

CATALOG = Path(__file__).resolve().parents[2] / "simulator" / "data" / "endpoints.json"

SAME, DIFFERENT, UNREADABLE = 0, 1, 2

DESCRIPTION = """\
Compares an OpenAPI file of the Teamleader Focus API with the catalog, and prints what the catalog lacks or has
differently.

Exit status: 0 if nothing differs or what differs was taken over, 1 if something differs, 2 if a file cannot be used.
"""


def main(arguments: list[str] | None = None) -> int:
    """Runs the command, and returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="dev/api-diff", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("specification", type=Path, help="an OpenAPI 3.0 or 3.1 file, YAML or JSON, in one piece")
    parser.add_argument("--catalog", type=Path, default=CATALOG, help="the file to compare with (%(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    taking = parser.add_mutually_exclusive_group()
    taking.add_argument("--write", action="store_true", help="take over into the catalog what the specification has")
    taking.add_argument("--update", type=Path, metavar="FILE", help="the same, but write it to FILE")
    options = parser.parse_args(arguments)
    try:
        target = options.catalog if options.write else options.update
        return run(options.specification, options.catalog, target, json_output=options.json)
    except UnreadableError as error:
        print(f"api-diff: {error}.", file=sys.stderr)
        return UNREADABLE
    except BrokenPipeError:
        # The reader of a pipe has seen enough, as `head` has.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DIFFERENT


def run(specification: Path, catalog_path: Path, target: Path | None, *, json_output: bool) -> int:
    """Compares, prints, and writes the updated catalog to `target` if there is one."""
    catalog = read_catalog(catalog_path)
    read = read_specification(Document(specification), set(catalog["endpoints"]))
    differences = compare(catalog, read)
    if json_output:
        print(as_json(str(catalog_path), str(specification), read, differences))
    else:
        print(as_tables(len(catalog["endpoints"]), read, differences))
    if target is None:
        return DIFFERENT if differences else SAME
    result = updated(catalog, read, differences)
    write(target, result)
    print(f"api-diff: {target} written.", file=sys.stderr)
    for decision in decisions(differences):
        print(f"api-diff: to decide: {decision}", file=sys.stderr)
    return SAME


def read_catalog(path: Path) -> dict[str, Any]:
    """Reads `endpoints.json`, in the format of April 2025 or of 2026."""
    catalog: dict[str, Any] = read_json(path)
    endpoints = catalog.get("endpoints") if isinstance(catalog, dict) else None
    if not isinstance(endpoints, dict) or not all(isinstance(entry, dict) for entry in endpoints.values()):
        raise UnreadableError(f"{path} is no catalog: it has no object `endpoints`. Give simulator/data/endpoints.json")
    return catalog


def write(path: Path, catalog: dict[str, Any]) -> None:
    """Writes the catalog as it is formatted: an indent of one, the letters as they are."""
    try:
        new = path.with_name(f".{path.name}.new")
        new.write_text(json.dumps(catalog, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        new.replace(path)
    except OSError as error:
        raise UnreadableError(f"{path} cannot be written: {error.strerror}. Name another file") from error
