"""Takes over into the catalog what a specification has.

What the specification does not say stays: `enum_live`, `since`, `undeclared`, `when`, examples, names of types. What it
no longer has is treated by what it is for:

- Requests (filters, parameters, sorts, includes, pages, meta) and webhook types follow the specification: what it no
  longer has is removed. Members of an enumeration are replaced, too.
- Endpoints and fields of records stay, for tables and views rest on them, and get the key `kept`, which names what
  stays: `endpoint`, `field`, `nullable`, `enum`. From then on it is no difference. Removing it is a decision apart.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from .difference import PARTS, Difference, format_of, public
from .endpoints import Endpoint, Specification
from .schema import Field, Fields

Catalog = dict[str, Any]

# The order of the keys of an endpoint in the catalog.
KEYS = (
    "method", "path", "parameters", "filter", "filter_required", "paged", "sort", "includes", "includes_response_only",
    "meta", "record", "unwrapped", "matches", "deprecated", "scopes",
)  # fmt: skip

# Differences that can change how a list is to be read, or what proves that a pass was complete.
OF_READING = ("matches", "sort", "default sort", "sort orders", "paging")

# What a specification says of a field's type, beside `nullable` and `required`.
TYPE_KEYS = ("type", "one_of", "items_nullable", "integer", "format", "fields", "enum")


def updated(catalog: Catalog, specification: Specification, differences: list[Difference]) -> Catalog:
    """Returns the catalog with the differences taken over."""
    catalog = copy.deepcopy(catalog)
    update = _Update(catalog, specification)
    for one in differences:
        update.apply(one)
    for entry in catalog["endpoints"].values():
        for part in ("filter", "parameters", "meta", "sort", "includes", "includes_response_only"):
            if entry.get(part) in ({}, []):
                del entry[part]
    if specification.version is not None:
        catalog["specification"] = specification.version
    return catalog


def decisions(differences: list[Difference]) -> list[str]:
    """Returns what is to be decided by hand after an update, a sentence each."""
    found = []
    for one in differences:
        where = f"{one.endpoint} {one.path}".strip()
        if one.kind == "endpoint" and one.change == "added" and one.endpoint.rsplit(".", 1)[-1].startswith("list"):
            found.append(
                f"{where} is a new list: give it an entry in src/catalog/resources.rs and a migration, or say why not."
            )
        elif one.kind == "endpoint" and one.change == "added" and one.endpoint.endswith(".info"):
            found.append(f"{where} is new: are its fields worth one request for each record of the list?")
        elif one.kind == "endpoint" and one.change == "removed":
            found.append(
                f"{where} is no longer in the specification and was kept: does it still answer? Else remove it."
            )
        elif one.kind == "delete endpoint" and one.change == "added":
            found.append(
                f"{where} is new: records of it can disappear. Does the resource's way to find deletions see that?"
            )
        elif one.kind == "deprecated" and one.value:
            found.append(f"{where} is deprecated: what replaces it? Name it in `replaced_by`.")
        elif one.kind == "renamed":
            found.append(f"{where} looks like the new name of {one.catalog}: check that it is.")
        elif one.kind == "field" and one.change == "removed":
            found.append(f"{where} is no longer in the specification and was kept: remove it if no answer has it.")
        elif one.kind in OF_READING or (one.kind, one.path) == ("filter", "updated_since"):
            found.append(
                f"{where}: {one.kind} {one.change}: does the way the list is read, and what proves a pass, still hold?"
            )
    for change in ("added", "removed"):
        types = [one.path for one in differences if (one.kind, one.change) == ("webhook type", change)]
        if types:
            found.append(f"Webhook types {change}: which resources do they concern? {', '.join(types)}.")
    return found


class _Update:
    def __init__(self, catalog: Catalog, specification: Specification) -> None:
        self.catalog = catalog
        self.specification = specification
        # A name of the specification is taken as a type only where the catalog uses it: code may know those.
        self.types = _types(catalog)
        self.lists = {"include": "includes", "include undeclared": "includes_response_only"}
        self.flags = {
            "deprecated": "deprecated",
            "paging": "paged",
            "filter required": "filter_required",
            "unwrapped": "unwrapped",
        }

    def apply(self, one: Difference) -> None:
        if one.part:
            self._field(one)
        elif one.kind in ("endpoint", "delete endpoint"):
            self._endpoint(one)
        elif one.kind == "webhook type":
            _member(self.catalog.setdefault("webhook_types", []), one)
        elif one.kind == "enumeration":
            self.catalog["enums"][one.path] = one.value
        else:
            entry = self.catalog["endpoints"][one.endpoint]
            known = set(entry)
            self._of_endpoint(entry, one)
            if set(entry) - known:
                ordered = {key: entry[key] for key in KEYS if key in entry} | entry
                entry.clear()
                entry.update(ordered)

    def _endpoint(self, one: Difference) -> None:
        group = self.catalog["endpoints" if one.kind == "endpoint" else "writes"]
        if one.change == "removed":
            _keep(group[one.endpoint], "endpoint")
            return
        entry = copy.deepcopy(one.value)
        if one.kind == "endpoint":
            for part in PARTS:
                if part in entry:
                    entry[part] = {name: self._own(field) for name, field in entry[part].items()}
            self._take_scopes(entry)
        group[one.endpoint] = self._since(entry)

    def _of_endpoint(self, entry: Endpoint, one: Difference) -> None:
        if one.kind in self.flags:
            _set(entry, self.flags[one.kind], one.value or None)
        elif one.kind in self.lists:
            _member(entry.setdefault(self.lists[one.kind], []), one)
        elif one.kind == "sort" and one.path:
            _member(entry["sort"].setdefault("fields", []), one)
        elif one.kind == "sort":
            _set(entry, "sort", copy.deepcopy(one.value))
        elif one.kind == "sort orders":
            _set(entry["sort"], "orders", one.value if len(one.value) == 1 else None)
        elif one.kind == "default sort":
            entry["sort"]["default"] = one.value
            entry["sort"].pop("default_kept", None)
        elif one.kind == "scopes":
            entry["scopes"] = one.value
            self._take_scopes(entry)
        else:
            entry[one.kind] = one.value

    def _take_scopes(self, entry: Endpoint) -> None:
        if "scopes" not in self.catalog:
            entry.pop("scopes", None)
            return
        for tag, scopes in self.specification.scopes.items():
            self.catalog["scopes"].setdefault(tag, scopes)

    def _field(self, one: Difference) -> None:
        entry = self.catalog["endpoints"][one.endpoint]
        parent: Fields = entry.setdefault(one.part, {})
        for name in one.names[:-1]:
            parent = parent[name].setdefault("fields", {})
        name = one.names[-1]
        if one.kind == "renamed":
            _replace(parent, one.catalog, name, {**self._own(one.value), "renamed_from": one.catalog})
        elif one.change == "added":
            _insert(parent, one.behind, name, self._since(self._own(one.value)))
        elif one.change == "removed" and one.part == "record":
            _keep(parent[name], "field")
        elif one.change == "removed":
            del parent[name]
        else:
            self._changed(parent[name], one)
        if one.kind == "matches":
            entry["matches"] = "declared" if "matches" in entry["meta"] else "undeclared"

    def _changed(self, field: Field, one: Difference) -> None:
        new: Field = self._own(one.value)
        change: Callable[[], None] = {
            "undeclared": lambda: self._declare(field, new),
            "type": lambda: _copy(field, new, TYPE_KEYS),
            "nullable": lambda: _flag(field, new, "nullable", keeps=one.part == "record"),
            "items nullable": lambda: _flag(field, new, "items_nullable", keeps=False),
            "required": lambda: _flag(field, new, "required", keeps=False),
            "enum": lambda: _enum(field, new),
            "format": lambda: _format(field, new),
            "needs include": lambda: _set(field, "needs_include", new.get("needs_include")),
        }[one.kind]
        change()

    @staticmethod
    def _declare(field: Field, new: Field) -> None:
        stays: Field = {key: value for key, value in field.items() if key in ("since", "enum_live", "when")}
        field.clear()
        field.update({**new, **stays})

    def _since(self, entry: dict[str, Any]) -> dict[str, Any]:
        return entry if self.specification.version is None else {**entry, "since": self.specification.version}

    def _own(self, field: Field) -> Field:
        """Returns a field of the specification as the catalog writes it: types by the names that the catalog uses."""
        result = public(field)
        name = field.get("name")
        if "fields" in field:
            result["fields"] = {inner: self._own(value) for inner, value in field["fields"].items()}
            # A name without fields would be a type that nobody knows.
            named = {"object": str(name), "array": f"array[{name}]"}.get(field["type"])
            result["type"] = named if named in self.types else field["type"]
        return result


def _types(catalog: Catalog) -> set[str]:
    found: set[str] = set()

    def walk(fields: Fields) -> None:
        for field in fields.values():
            if "fields" in field:
                found.add(str(field.get("type")))
                walk(field["fields"])

    for entry in catalog["endpoints"].values():
        for part in PARTS:
            walk(entry.get(part, {}))
    return found


def _set(entry: dict[str, Any], key: str, value: Any) -> None:
    if value is None:
        entry.pop(key, None)
    else:
        entry[key] = value


def _member(members: list[str], one: Difference) -> None:
    if one.change == "added":
        members.append(one.path)
    else:
        members.remove(one.path)


def _keep(entry: dict[str, Any], what: str) -> None:
    entry["kept"] = [*entry.get("kept", []), what]


def _copy(field: Field, new: Field, keys: tuple[str, ...]) -> None:
    for key in keys:
        _set(field, key, new.get(key))


def _flag(field: Field, new: Field, key: str, *, keeps: bool) -> None:
    if new.get(key):
        field[key] = True
    elif keeps:
        _keep(field, key)
    else:
        field.pop(key, None)


def _enum(field: Field, new: Field) -> None:
    if "enum" not in new:
        _keep(field, "enum")
        return
    stays = field.get("enum", []) if "enum" in field.get("kept", []) else []
    field["enum"] = [*new["enum"], *(member for member in stays if member not in new["enum"])]
    # A plain text becomes an enumeration; what is one already stays as it is called.
    if "enum" not in str(field["type"]):
        field["type"] = new["type"]


def _format(field: Field, new: Field) -> None:
    for key in ("integer", "format"):
        _set(field, key, new.get(key) if format_of(new) else None)


def _insert(parent: Fields, behind: str | None, name: str, field: Field) -> None:
    """Puts a new field behind the one that it stands behind in the specification: columns of views have this order."""
    rest = list(parent.items())
    parent.clear()
    at = next(
        (number + 1 for number, (known, _) in enumerate(rest) if known == behind), 0 if behind is None else len(rest)
    )
    rest.insert(at, (name, field))
    parent.update(rest)


def _replace(parent: Fields, old: str, name: str, field: Field) -> None:
    rest = [(name, field) if known == old else (known, value) for known, value in parent.items()]
    parent.clear()
    parent.update(rest)
