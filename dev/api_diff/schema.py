"""Turns schemas into fields of the catalog: references are followed, `allOf` is merged, `oneOf` becomes kinds.

A field is what the catalog says of one: `type`, `nullable`, `enum`, `fields`, … Two keys are for comparing only and
are never written: `name`, the specification's name of a type, and `recursive`, in place of the fields of a schema that
contains itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from .document import Document, UnreadableError, mapping, sequence

Field = dict[str, Any]
Fields = dict[str, Field]

# More schemas than this are no description of an API but an accident: shared nodes can multiply without end.
MAX_SCHEMAS = 1_000_000

# Names of the specification and of the catalog for the same type.
NAMES = {"CurrencyCode": "Currency", "CustomFieldsResponse": "CustomField"}

# Enumerations that the catalog lists once, not at each field.
SHARED_ENUMS = ("Currency",)

# Of two kinds that a value can have, the first one in this order has more to say.
RICHEST = ("object", "array", "string", "number", "boolean")

INCLUDES = re.compile(r"`?includes?`?\s*=\s*`?([a-z_][a-z0-9_.]*)", re.IGNORECASE)

# A schema, and the schemas that it lies in, by identity: recursion is found by it, with `$ref` and with YAML's anchors.
Part = tuple[dict[str, Any], frozenset[int]]


@dataclass
class Merged:
    """What a schema and all that it is composed of say together."""

    kinds: list[str] = field(default_factory=list)
    nullable: bool = False
    enum: list[Any] | None = None
    properties: dict[str, list[Part]] = field(default_factory=dict)
    items: list[Part] = field(default_factory=list)
    variants: list[Part] = field(default_factory=list)
    required: set[str] = field(default_factory=set)
    titles: list[str] = field(default_factory=list)
    description: str = ""
    format: str | None = None
    default: Any = None
    example: Any = None
    recursive: bool = False


class Schemas:
    """Reads the schemas of a document."""

    def __init__(self, document: Document) -> None:
        """Starts with nothing read."""
        self.document = document
        self.shared: dict[str, list[str]] = {}
        self._read = 0

    def merge(self, parts: list[Part]) -> Merged:
        """Merges schemas that hold at the same time; where two differ, the later one is the more precise."""
        merged = Merged()
        for part in parts:
            self._add(merged, part)
        return merged

    def of(self, schema: Any) -> Merged:
        """Merges one schema that lies in no other."""
        return self.merge([(mapping(schema), frozenset())])

    def _add(self, merged: Merged, part: Part) -> None:
        schema, outer = part
        self._read += 1
        if self._read > MAX_SCHEMAS:
            raise UnreadableError(f"{self.document.path} has more than {MAX_SCHEMAS} schemas: is it the right file?")
        if id(schema) in outer:
            merged.recursive = True
            return
        inner = outer | {id(schema)}
        if isinstance(schema.get("$ref"), str):
            self._add(merged, (mapping(self.document.target(schema["$ref"])), inner))
        for branch in sequence(schema.get("allOf")):
            self._add(merged, (mapping(branch), inner))
        self._add_own(merged, schema, inner)

    def _add_own(self, merged: Merged, schema: dict[str, Any], inner: frozenset[int]) -> None:
        kinds = schema.get("type")
        kinds = [str(kind) for kind in (kinds if isinstance(kinds, list) else [kinds]) if kind is not None]
        members = [schema["const"]] if "const" in schema else schema.get("enum")
        members = members if isinstance(members, list) else None
        # Not as strict as OpenAPI 3.0 has it for allOf: the specification adds {nullable: true} as a branch of its own.
        merged.nullable |= (
            schema.get("nullable") is True or "null" in kinds or (members is not None and None in members)
        )
        merged.kinds = [kind for kind in kinds if kind != "null"] or merged.kinds
        if members is not None:
            both = [member for member in members if merged.enum is None or member in merged.enum]
            merged.enum = [member for member in both or members if member is not None]
        for name, value in mapping(schema.get("properties")).items():
            merged.properties.setdefault(str(name), []).append((mapping(value), inner))
        if "items" in schema:
            merged.items.append((mapping(schema["items"]), inner))
        variants = [*sequence(schema.get("oneOf")), *sequence(schema.get("anyOf"))]
        merged.variants += [(mapping(variant), inner) for variant in variants]
        merged.required |= {str(name) for name in sequence(schema.get("required"))}
        if isinstance(schema.get("title"), str):
            merged.titles.append(schema["title"])
        if isinstance(schema.get("description"), str):
            merged.description = f"{merged.description} {schema['description']}".strip()
        merged.format = schema.get("format", merged.format)
        merged.default = schema.get("default", merged.default)
        examples = schema.get("examples")
        example = examples[0] if isinstance(examples, list) and examples else None
        merged.example = schema.get("example", example if example is not None else merged.example)

    def field(self, parts: list[Part]) -> Field:
        """Returns a schema as a field of the catalog."""
        merged = self.merge(parts)
        plain = self._plain(merged)
        variants = [self.field([variant]) for variant in merged.variants]
        nullable = merged.nullable or any(variant.get("nullable") for variant in variants)
        variants = [variant for variant in variants if variant.get("type")]
        if variants and (plain.get("fields") or plain.get("enum")):
            variants.insert(0, plain)
        result = combine(variants) if variants else plain
        result.pop("nullable", None)
        needs = INCLUDES.search(merged.description)
        ordered: Field = {"type": result.pop("type", None)}
        if nullable:
            ordered["nullable"] = True
        if needs:
            ordered["needs_include"] = needs.group(1).rstrip(".")
        ordered.update(result)
        if merged.example is not None and not isinstance(merged.example, (dict, list)):
            ordered["example"] = text(merged.example)
        return {key: value for key, value in ordered.items() if value is not None}

    def fields(self, merged: Merged, *, required: bool) -> Fields:
        """Returns the properties of an object; `required` says whether to keep which of them must be there."""
        fields = {}
        for name, parts in merged.properties.items():
            fields[name] = self.field(parts)
            if required and name in merged.required:
                fields[name] = {"type": fields[name].get("type"), "required": True, **fields[name]}
        return fields

    def _plain(self, merged: Merged) -> Field:
        kinds = merged.kinds or self._guessed(merged)
        if len(kinds) > 1:
            # OpenAPI 3.1: one schema for several types.
            return combine([self._of_kind(merged, kind) for kind in kinds])
        return self._of_kind(merged, kinds[0]) if kinds else {}

    @staticmethod
    def _guessed(merged: Merged) -> list[str]:
        if merged.properties or merged.recursive:
            return ["object"]
        if merged.items:
            return ["array"]
        if merged.enum:
            return ["number" if all(is_number(member) for member in merged.enum) else "string"]
        return []

    def _of_kind(self, merged: Merged, kind: str) -> Field:
        name = next(
            (NAMES.get(title, title) for title in merged.titles if NAMES.get(title, title).isidentifier()), None
        )
        if kind == "object":
            found: Field = {"type": "object", "name": name}
            if merged.recursive and not merged.properties:
                found["recursive"] = True
            elif merged.properties:
                found["fields"] = self.fields(merged, required=True)
            return found
        if kind == "array":
            return self._array(merged)
        if kind in ("string", "number", "integer") and merged.enum is not None:
            members = [text(member) for member in merged.enum]
            if name in SHARED_ENUMS:
                self.shared[name] = members
                return {"type": name}
            found = {"type": "enum" if kind == "string" else "enum[number]", "enum": members}
        else:
            found = {"type": "number" if kind == "integer" else kind}
        if kind == "integer":
            found["integer"] = True
        if merged.format is not None:
            found["format"] = str(merged.format)
        return found

    def _array(self, merged: Merged) -> Field:
        item = self.field(merged.items) if merged.items else {}
        found: Field = {"type": "array"}
        if "fields" in item or item.get("recursive"):
            found.update({key: item[key] for key in ("name", "fields", "recursive") if key in item})
        elif "enum" in item:
            found.update(type="array[enum]", enum=item["enum"])
        elif item.get("type"):
            found["type"] = f"array[{item['type'].split('[')[0]}]"
        if item.get("nullable"):
            found["items_nullable"] = True
        if "needs_include" in item:
            found["needs_include"] = item["needs_include"]
        first = merged.example[0] if isinstance(merged.example, list) and merged.example else item.get("example")
        if first is not None and not isinstance(first, (dict, list)):
            found["example"] = text(first)
        return found


def is_number(value: Any) -> bool:
    """Says whether it is a number of JSON."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def text(value: Any) -> str:
    """Writes an example or a member of an enumeration as the catalog does."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def kind_of(kind: str | None, *, has_fields: bool = False) -> str:
    """Returns what a type of the catalog is when names do not count: `enum[string]` is a string, `Money` an object.

    `?` stands for what is not known, `array of …` for lists.
    """
    if kind is None:
        return "object" if has_fields else "?"
    if kind.startswith("array"):
        inner = kind[6:-1] or None
        return f"array of {'object' if has_fields else kind_of(inner)}"
    if kind == "enum[number]":
        return "number"
    if kind.startswith("enum") or kind in SHARED_ENUMS:
        return "string"
    if kind in RICHEST:
        return kind
    return "object" if has_fields else "?"


def combine(variants: list[Field]) -> Field:
    """Makes one field of several that a value can be: `one_of` names the kinds, `type` the richest of them."""
    kinds: dict[str, list[Field]] = {}
    for variant in variants:
        kinds.setdefault(kind_of(variant.get("type"), has_fields="fields" in variant), []).append(variant)
    richest = min(kinds, key=lambda kind: RICHEST.index(kind.split(" ")[0]) if kind.split(" ")[0] in RICHEST else 99)
    result = alternatives(kinds[richest])
    if len(kinds) > 1:
        names = [kind if not kind.startswith("array of ") else f"array[{kind[9:]}]" for kind in kinds]
        result["one_of"] = [name.replace("array[?]", "array").replace("array[object]", "array") for name in names]
    return result


def alternatives(variants: list[Field], name: str = "") -> Field:
    """Makes one field of several of the same kind: all fields and all members that any of them has."""
    if len(variants) == 1:
        return dict(variants[0])
    result: Field = {"type": variants[0].get("type")}
    members = [variant.get("enum") for variant in variants]
    if name == "type" and not all(members):
        # {type, id} in several forms: each names its own type, some by an example only.
        named = [variant.get("enum") or ([variant["example"]] if "example" in variant else []) for variant in variants]
        members = named if len({member for some in named for member in some}) > 1 else members
    if all(members):
        result["type"] = next((variant["type"] for variant in variants if "enum" in variant), "enum")
        result["enum"] = list(dict.fromkeys(member for some in members for member in some or []))
    elif any(members):
        result["type"] = {"enum": "string", "enum[number]": "number"}.get(str(result["type"]), result["type"])
    for key in ("nullable", "items_nullable", "integer"):
        if any(variant.get(key) for variant in variants):
            result[key] = True
    for key in ("format", "needs_include", "example"):
        found = [variant[key] for variant in variants if key in variant]
        if found:
            result[key] = found[0]
    forms = [variant["fields"] for variant in variants if "fields" in variant]
    if forms:
        result["fields"] = union(forms)
    return result


def union(forms: list[Fields]) -> Fields:
    """Returns the fields of an object that has several forms; required is what is required in each of them."""
    fields: Fields = {}
    for name in dict.fromkeys(name for form in forms for name in form):
        having = [form[name] for form in forms if name in form]
        field = alternatives_of_kinds(having, name)
        is_required = len(having) == len(forms) and all(some.get("required") for some in having)
        field.pop("required", None)
        fields[name] = {"type": field.get("type"), "required": True, **field} if is_required else field
    return fields


def alternatives_of_kinds(variants: list[Field], name: str) -> Field:
    """Like `alternatives`, for variants that may be of different kinds."""
    same = len({kind_of(variant.get("type"), has_fields="fields" in variant) for variant in variants}) == 1
    return alternatives(variants, name) if same else combine(variants)
