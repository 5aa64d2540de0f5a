"""Compares the catalog with a specification, both in the catalog's format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

from .endpoints import Endpoint, Specification
from .schema import Field, Fields, kind_of

# How alike the names of a missing and a new field are if one may be the other's new name.
ALIKE = 0.6

# Parts of an endpoint that hold fields, and what a field of it is called.
PARTS = {"parameters": "parameter", "filter": "filter", "meta": "meta", "record": "field"}

# All kinds of differences, by the table that they stand in.
TABLES = {
    "Endpoints": ("endpoint", "delete endpoint", "deprecated", "method", "scopes", "unwrapped"),
    "Requests": (
        "parameter", "filter", "filter required", "sort", "sort orders", "default sort", "include",
        "include undeclared", "paging", "meta", "matches",
    ),
    "Fields": (
        "field", "renamed", "undeclared", "type", "nullable", "items nullable", "required", "enum", "format",
        "needs include",
    ),
    "Webhook types and shared enumerations": ("webhook type", "enumeration"),
}  # fmt: skip


@dataclass
class Difference:
    """What the catalog lacks or has differently.

    `change` says how the specification stands to the catalog: `added`, `removed` or `changed`. `catalog` and
    `specification` are what each of them has, as JSON; of an enumeration only the members that the other has not.
    """

    kind: str
    change: str
    endpoint: str = ""
    part: str = ""
    path: str = ""
    catalog: Any = None
    specification: Any = None
    # For `update` only: the names of the path, what to set, and the field that a new one stands behind.
    names: tuple[str, ...] = ()
    value: Any = None
    behind: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Returns what `--json` prints of it."""
        keys = ("kind", "change", "endpoint", "part", "path", "catalog", "specification")
        return {key: getattr(self, key) for key in keys}


def compare(catalog: dict[str, Any], specification: Specification) -> list[Difference]:
    """Returns all differences, by table, endpoint and path."""
    found = [*_endpoints(catalog, specification), *_others(catalog, specification)]
    place = {kind: (table, number) for table, kinds in enumerate(TABLES.values()) for number, kind in enumerate(kinds)}
    order = {name: number for number, name in enumerate([*catalog["endpoints"], *specification.endpoints])}
    return sorted(found, key=lambda one: (place[one.kind][0], order.get(one.endpoint, -1), place[one.kind][1]))


def counts(differences: list[Difference]) -> dict[str, int]:
    """Counts them by kind."""
    counted = Counter(one.kind for one in differences)
    return {kind: counted[kind] for kinds in TABLES.values() for kind in kinds if counted[kind]}


def _endpoints(catalog: dict[str, Any], specification: Specification) -> Iterator[Difference]:
    known: dict[str, Endpoint] = catalog["endpoints"]
    for name, documented in specification.endpoints.items():
        if name not in known:
            yield Difference("endpoint", "added", name, specification=documented, value=documented)
    for name, entry in known.items():
        if name not in specification.endpoints:
            if "endpoint" not in entry.get("kept", []):
                yield Difference("endpoint", "removed", name, catalog=_summary(entry))
            continue
        yield from _endpoint(name, entry, specification.endpoints[name], scopes="scopes" in catalog)
    # The format of April 2025 lists no writes.
    writes = catalog.get("writes")
    if writes is None:
        return
    for name, documented in specification.deletes.items():
        if name not in writes:
            yield Difference("delete endpoint", "added", name, specification=documented, value=documented)
    for name, entry in writes.items():
        if name.endswith(".delete") and name not in specification.deletes and "endpoint" not in entry.get("kept", []):
            yield Difference("delete endpoint", "removed", name, catalog=entry)


def _summary(entry: Endpoint) -> dict[str, Any]:
    return {"method": entry.get("method"), "path": entry.get("path"), "record": list(entry.get("record", {}))}


def _endpoint(name: str, entry: Endpoint, documented: Endpoint, *, scopes: bool) -> Iterator[Difference]:
    if entry.get("method", "POST") != documented["method"]:
        yield _changed("method", name, entry.get("method"), documented["method"])
    for kind, key in (("deprecated", "deprecated"), ("paging", "paged"), ("filter required", "filter_required")):
        if bool(entry.get(key)) != bool(documented.get(key)):
            yield _changed(kind, name, bool(entry.get(key)), bool(documented.get(key)))
    if documented.get("record") and bool(entry.get("unwrapped")) != bool(documented.get("unwrapped")):
        yield _changed("unwrapped", name, bool(entry.get("unwrapped")), bool(documented.get("unwrapped")))
    if scopes and documented.get("scopes") and set(entry.get("scopes", [])) != set(documented["scopes"]):
        yield _changed("scopes", name, entry.get("scopes", []), documented["scopes"])
    yield from _sort(name, entry.get("sort"), documented.get("sort"))
    for kind, key in (("include", "includes"), ("include undeclared", "includes_response_only")):
        yield from _members(kind, name, entry.get(key, []), documented.get(key, []))
    for part in PARTS:
        yield from _Comparison(name, part, documented).fields(entry.get(part, {}), documented.get(part, {}), ())
    # The key says what `meta` says; where it does not, one of them was changed by hand.
    declared = "matches" in documented.get("meta", {})
    agrees = ("matches" in entry.get("meta", {})) == declared
    if agrees and "matches" in entry and (entry["matches"] == "declared") != declared:
        yield _changed("matches", name, entry["matches"], "declared" if declared else "undeclared")


def _changed(kind: str, endpoint: str, catalog: Any, specification: Any) -> Difference:
    return Difference(kind, "changed", endpoint, catalog=catalog, specification=specification, value=specification)


def _members(kind: str, endpoint: str, known: list[str], documented: list[str]) -> Iterator[Difference]:
    for member in documented:
        if member not in known:
            yield Difference(kind, "added", endpoint, path=member, specification=member)
    for member in known:
        if member not in documented:
            yield Difference(kind, "removed", endpoint, path=member, catalog=member)


def _sort(name: str, known: dict[str, Any] | None, documented: dict[str, Any] | None) -> Iterator[Difference]:
    if not known or documented is None:
        if documented is not None or known:
            change = "removed" if documented is None else "added"
            yield Difference("sort", change, name, catalog=known, specification=documented, value=documented)
        return
    if documented["fields"]:
        yield from _members("sort", name, known.get("fields", []), documented["fields"])
    if set(known.get("orders", [])) != set(documented.get("orders", [])):
        both = ["asc", "desc"]
        yield _changed("sort orders", name, known.get("orders", both), documented.get("orders", both))
    default, wanted = known.get("default", {}), documented.get("default")
    # Where the specification says nothing, what was known before stays.
    if wanted and any(default.get(key) != value for key, value in wanted.items()):
        # Another field may have another order; so that of the old one says nothing.
        same = default.get("field") == wanted.get("field")
        yield _changed("default sort", name, known.get("default"), {**default, **wanted} if same else wanted)


@dataclass
class _Comparison:
    """The fields of one part of an endpoint."""

    endpoint: str
    part: str
    documented: Endpoint

    def fields(self, known: Fields, documented: Fields, names: tuple[str, ...], path: str = "") -> Iterator[Difference]:
        """Compares the fields of an object."""
        missing = [name for name in known if name not in documented and not self._stays(known[name])]
        new = [name for name in documented if name not in known]
        renamed = _renamed({name: known[name] for name in missing}, {name: documented[name] for name in new})
        before: str | None = None
        for name, field in documented.items():
            if name in known:
                yield from self.field(known[name], field, (*names, name), _join(path, name))
            elif name in renamed:
                old = renamed[name]
                # What is behind its old name is replaced as a whole.
                yield self._made("renamed", "changed", (*names, name), _join(path, name), old, name, field)
            else:
                one = self._made(
                    self._kind((*names, name)), "added", (*names, name), _join(path, name), None, public(field), field
                )
                one.behind = before
                yield one
            before = name
        for name in missing:
            if name not in renamed.values():
                kind = self._kind((*names, name))
                yield self._made(kind, "removed", (*names, name), _join(path, name), known[name], None, None)

    def _stays(self, field: Field) -> bool:
        return bool(field.get("undeclared")) or "field" in field.get("kept", [])

    def _kind(self, names: tuple[str, ...]) -> str:
        return "matches" if (self.part, names) == ("meta", ("matches",)) else PARTS[self.part]

    def _made(
        self, kind: str, change: str, names: tuple[str, ...], path: str, old: Any, new: Any, value: Any
    ) -> Difference:
        return Difference(kind, change, self.endpoint, self.part, path, old, new, names, value)

    def field(self, known: Field, documented: Field, names: tuple[str, ...], path: str) -> Iterator[Difference]:
        """Compares a field that both have."""

        def changed(kind: str, old: Any, new: Any) -> Difference:
            return self._made(kind, "changed", names, path, old, new, documented)

        if known.get("undeclared"):
            yield changed("undeclared", "seen live only", public(documented))
            return
        kept = known.get("kept", [])
        for kind, key in (("nullable", "nullable"), ("items nullable", "items_nullable"), ("required", "required")):
            was, is_now = bool(known.get(key)), bool(documented.get(key))
            # The answers' `required` says little; and that items may be null is often said in prose alone.
            matters = {"required": self.part in ("filter", "parameters"), "items nullable": is_now}.get(kind, True)
            if was != is_now and matters and not (was and key in kept):
                yield changed(kind, was, is_now)
        yield from self._needs_include(known, documented, changed)
        if differ_in_kind(known, documented):
            yield changed("type", type_of(known), type_of(documented))
            return
        yield from self._enum(known, documented, changed)
        if known.get("type") is not None:
            old, new = format_of(known), format_of(documented)
            if old != new and documented.get("type") and "format" not in kept:
                yield changed("format", old, new)
        inside = f"{path}[]" if str(known.get("type")).startswith("array") else path
        silent = known.get("inferred") or documented.get("recursive") or "type" not in documented
        if "fields" in documented or not silent:
            yield from self.fields(known.get("fields", {}), documented.get("fields", {}), names, inside)

    def _needs_include(self, known: Field, documented: Field, changed: Any) -> Iterator[Difference]:
        old, new = known.get("needs_include"), documented.get("needs_include")
        # Of nested fields no specification says it; so it stays as long as the include itself is there.
        if old != new and not (new is None and (old in self.documented.get("includes", []))):
            yield changed("needs include", old, new)

    @staticmethod
    def _enum(known: Field, documented: Field, changed: Any) -> Iterator[Difference]:
        if "Currency" in (known.get("type"), documented.get("type")):
            return
        old, new = known.get("enum"), documented.get("enum")
        if new is None and "type" not in documented:
            return
        gone = [member for member in old or [] if member not in (new or []) and "enum" not in known.get("kept", [])]
        added = [member for member in new or [] if member not in (old or [])]
        if gone or added:
            yield changed("enum", gone if old else "any", added if new else "any")


def differ_in_kind(known: Field, documented: Field) -> bool:
    """Says whether the two can have values of different kinds; where the specification says nothing, they cannot."""
    new = _kind(documented)
    if "?" in new or (new == "array of ?" and _kind(known).startswith("array")):
        return False
    if set(_one_of(known)) != set(_one_of(documented)):
        return True
    return _kind(known) != new


def _kind(field: Field) -> str:
    return kind_of(field.get("type"), has_fields="fields" in field or bool(field.get("recursive")))


def _one_of(field: Field) -> list[str]:
    return [kind_of(kind, has_fields=kind == "array") for kind in field.get("one_of", [])]


def type_of(field: Field) -> str:
    """Returns the type as text: all kinds, where there are several, and the names of its fields."""
    kinds = " or ".join(field["one_of"]) if "one_of" in field else str(field.get("type", "?"))
    return f"{kinds} {{{', '.join(field['fields'])}}}" if field.get("fields") else kinds


def format_of(field: Field) -> str | None:
    """Returns what kind of text or number it is, if it is said."""
    return "integer" if field.get("integer") else field.get("format")


def public(field: Field) -> Field:
    """Returns a field without the keys that are for comparing only."""
    cleaned = {key: value for key, value in field.items() if key not in ("name", "recursive", "fields")}
    if "fields" in field:
        cleaned["fields"] = {name: public(inner) for name, inner in field["fields"].items()}
    return cleaned


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _renamed(missing: Fields, new: Fields) -> dict[str, str]:
    """Returns the new names and the old ones of fields that look renamed: of one kind, with similar names."""
    renamed: dict[str, str] = {}
    for name, field in new.items():
        alike = {
            old: SequenceMatcher(None, old, name).ratio()
            for old, before in missing.items()
            if old not in renamed.values()
            and _kind(before) == _kind(field)
            and set(before.get("fields", {})) == set(field.get("fields", {}))
        }
        best = max(alike, key=lambda old: alike[old], default=None)
        if best is not None and alike[best] >= ALIKE:
            renamed[name] = best
    return renamed


def _others(catalog: dict[str, Any], specification: Specification) -> Iterator[Difference]:
    if specification.webhook_types:
        yield from _members("webhook type", "", catalog.get("webhook_types", []), specification.webhook_types)
    for name, members in specification.enums.items():
        # The format of April 2025 has none.
        known = catalog.get("enums", {}).get(name)
        if "enums" in catalog and set(known or []) != set(members):
            gone = [member for member in known or [] if member not in members]
            added = [member for member in members if member not in (known or [])]
            yield Difference("enumeration", "changed", path=name, catalog=gone, specification=added, value=members)
