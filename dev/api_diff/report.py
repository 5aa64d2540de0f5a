"""Prints differences as tables or as JSON."""

from __future__ import annotations

import json
from typing import Any

from .difference import TABLES, Difference, counts
from .endpoints import Specification

# A cell of a table is cut behind so many characters; JSON has all of it.
WIDEST = 72

HEADS = ("endpoint", "what", "field or path", "catalog", "specification")


def as_json(catalog: str, specification: str, read: Specification, differences: list[Difference]) -> str:
    """Returns the JSON of `--json`, as docs/new-specification.md describes it."""
    document = {
        "catalog": catalog,
        "specification": specification,
        "version": read.version,
        "endpoints": len(read.endpoints),
        "other_writes": read.other_writes,
        "counts": counts(differences),
        "differences": [one.as_json() for one in differences],
    }
    return json.dumps(document, indent=1, ensure_ascii=False)


def as_tables(known: int, read: Specification, differences: list[Difference]) -> str:
    """Returns one Markdown table for each group of differences, and a line that counts them."""
    lines: list[str] = []
    for table, kinds in TABLES.items():
        rows = [_row(one) for one in differences if one.kind in kinds]
        if rows:
            lines += [f"## {table}", "", *_table(rows), ""]
    lines.append(summary(known, read, differences))
    return "\n".join(lines)


def summary(known: int, read: Specification, differences: list[Difference]) -> str:
    """Returns the line that counts the differences."""
    counted = ", ".join(f"{number} {kind}" for kind, number in counts(differences).items())
    total = f"{len(differences)} difference{'' if len(differences) == 1 else 's'}"
    version = read.version or "without a version"
    what = f"Specification {version}: {len(read.endpoints)} reading endpoints; the catalog: {known}."
    return (
        f"{what} {total}{f' ({counted})' if counted else ''}. {read.other_writes} writing endpoints are not compared."
    )


def _row(one: Difference) -> tuple[str, ...]:
    what = one.kind
    if one.part and one.kind not in ("parameter", "filter", "meta", "matches") and one.part != "record":
        what += f" ({one.part})"
    return (one.endpoint or "-", what, one.path or "-", _cell(one, one.catalog), _cell(one, one.specification))


def _cell(one: Difference, value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return _cut(", ".join(map(str, value)) or "-")
    if isinstance(value, str):
        return _cut(value)
    if one.kind == "endpoint":
        return _cut(f"{value.get('method', '')} {value.get('path', '')} {{{', '.join(value.get('record', {}))}}}")
    if one.kind == "delete endpoint":
        return str(value.get("path"))
    if one.kind in ("sort", "default sort"):
        return _cut(", ".join(value.get("fields", [])) or " ".join(map(str, value.values())))
    return _cut(described(value))


def described(field: dict[str, Any]) -> str:
    """Returns a field in a few words: its type, fields or members, and what makes it special."""
    words = str(field.get("type", "?"))
    if "fields" in field:
        words += f" {{{', '.join(field['fields'])}}}"
    if "enum" in field:
        words += f" {', '.join(field['enum'])}"
    marks = [key.replace("_", " ") for key in ("nullable", "items_nullable", "required") if field.get(key)]
    if "needs_include" in field:
        marks.append(f"include {field['needs_include']}")
    return "; ".join([words, *marks])


def _cut(text: str) -> str:
    text = " ".join(text.split()).replace("|", "\\|")
    return text if len(text) <= WIDEST else f"{text[: WIDEST - 1]}…"


def _table(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[column]) for row in [HEADS, *rows]) for column in range(len(HEADS))]

    def line(cells: tuple[str, ...]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"

    return [line(HEADS), "|" + "|".join("-" * (width + 2) for width in widths) + "|", *map(line, rows)]
