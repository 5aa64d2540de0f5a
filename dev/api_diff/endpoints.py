"""Turns the operations of a specification into the catalog's format."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from .document import Document, UnreadableError, mapping, sequence
from .schema import Fields, Merged, Schemas, text, union

Endpoint = dict[str, Any]

# The verbs that the last part of a writing endpoint's name starts with. Few writing endpoints answer 200 with a
# document, as the reading ones do; most answer 201 or 204.
WRITES = re.compile(
    r"(accept|activate|add|approve|assign|book|bulk|cancel|close|complete|convert|copy|create|credit|deactivate|delete|disable"
    r"|draft|duplicate|generate|import|invite|link|lose|merge|move|pause|pay|refuse|register|remove|reopen|request|reset|resume"
    r"|schedule|send|split|start|stop|submit|tag|trigger|unassign|undo|unlink|unregister|untag|update|upload|win)(?![a-z])"
)

# Records that can be deleted disappear from a copy's source: that a sync must know.
DELETES = re.compile(r"delete", re.IGNORECASE)

SCOPES = re.compile(r"Required scopes:[\s*]*((?:`[\w.-]+`[\s,&*and]*)+)", re.IGNORECASE)

BOTH_ORDERS = {"asc", "desc"}

# The parts of a request that are no parameters of their own in the catalog.
PARTS_OF_REQUEST = ("filter", "page", "sort", "includes")


@dataclass
class Specification:
    """What a specification says, in the format of `endpoints.json`."""

    version: str | None
    endpoints: dict[str, Endpoint]
    deletes: dict[str, Endpoint]
    other_writes: int
    webhook_types: list[str]
    scopes: dict[str, list[str]]
    enums: dict[str, list[str]] = field(default_factory=dict)


def read_specification(document: Document, known: set[str]) -> Specification:
    """Reads all endpoints. `known` are the endpoints of the catalog: they read, however they are called."""
    reader = _Reader(document)
    endpoints: dict[str, Endpoint] = {}
    deletes: dict[str, Endpoint] = {}
    writes = 0
    for path, item in document.root["paths"].items():
        name = str(path).lstrip("/")
        method, operation = reader.operation(item)
        if operation is None:
            continue
        is_write = WRITES.match(name.rsplit(".", 1)[-1]) is not None or not reader.answers(operation)
        if name in known or not is_write:
            endpoints[name] = reader.endpoint(str(path), method, operation)
        elif DELETES.search(name.rsplit(".", 1)[-1]):
            deletes[name] = reader.write(str(path), operation)
        else:
            writes += 1
    if not endpoints:
        advice = "is it the specification of Teamleader Focus, with paths such as /contacts.list?"
        raise UnreadableError(f"{document.path} has no endpoint that reads something: {advice}")
    return Specification(
        version=document.version,
        endpoints=endpoints,
        deletes=deletes,
        other_writes=writes,
        webhook_types=reader.webhook_types(),
        scopes=reader.scopes,
        enums=dict(reader.schemas.shared),
    )


class _Reader:
    def __init__(self, document: Document) -> None:
        self.document = document
        self.schemas = Schemas(document)
        self.scopes: dict[str, list[str]] = {}
        for tag in sequence(document.root.get("tags")):
            found = SCOPES.search(str(mapping(tag).get("description", "")))
            if found:
                self.scopes[str(tag.get("name"))] = re.findall(r"`([\w.-]+)`", found.group(1))

    def operation(self, item: Any) -> tuple[str, dict[str, Any] | None]:
        """Returns the operation of a path: POST is the API's documented way; GET works for some."""
        item = self.document.resolve(item)
        for method in ("post", "get", "put", "patch", "delete"):
            if isinstance(item.get(method), dict):
                return method.upper(), item[method]
        return "", None

    def answers(self, operation: dict[str, Any]) -> bool:
        """Says whether the operation answers 200 with a document, as all that read do."""
        return bool(self._content(self._answer(operation)))

    def endpoint(self, path: str, method: str, operation: dict[str, Any]) -> Endpoint:
        """Returns an operation that reads as an entry of the catalog."""
        request = self._request(operation)
        answer = self.schemas.of(self._content(self._answer(operation)))
        record, is_list, is_bare = self._record(answer)
        endpoint: Endpoint = {"method": method, "path": path if path.startswith("/") else f"/{path}"}
        fields = self._parameters(request)
        filters = fields.get("filter", {})
        endpoint["filter"] = filters.get("fields", {})
        endpoint["parameters"] = {name: value for name, value in fields.items() if name not in PARTS_OF_REQUEST}
        endpoint["filter_required"] = filters.get("required", False)
        endpoint["paged"] = "page" in request.properties
        endpoint["sort"] = self._sort(request)
        self._includes(endpoint, request, record)
        endpoint["meta"] = self._meta(answer)
        endpoint["record"] = record
        endpoint["unwrapped"] = is_bare
        if is_list:
            endpoint["matches"] = "declared" if "matches" in endpoint["meta"] else "undeclared"
        endpoint["deprecated"] = operation.get("deprecated") is True
        scopes = [scope for tag in sequence(operation.get("tags")) for scope in self.scopes.get(str(tag), [])]
        endpoint["scopes"] = list(dict.fromkeys(scopes))
        return {key: value for key, value in endpoint.items() if value not in (None, False, {}, [])}

    def write(self, path: str, operation: dict[str, Any]) -> Endpoint:
        """Returns an operation that writes as the catalog lists them: its parameters by name only."""
        status = next(iter(mapping(operation.get("responses"))), "204")
        return {"path": path, "parameters": list(self._request(operation).properties), "status": str(status)}

    def webhook_types(self) -> list[str]:
        """Returns the types that a webhook can be registered for; OpenAPI 3.1 can also list them under `webhooks`."""
        found: list[str] = []
        for name in ("/webhooks.register", "/webhooks.list"):
            _, operation = self.operation(self.document.root["paths"].get(name))
            if operation is None or found:
                continue
            if name.endswith("register"):
                fields = self.schemas.fields(self._request(operation), required=False)
            else:
                fields, _, _ = self._record(self.schemas.of(self._content(self._answer(operation))))
            found = fields.get("types", {}).get("enum", [])
        return found or [str(name) for name in mapping(self.document.root.get("webhooks"))]

    def _request(self, operation: dict[str, Any]) -> Merged:
        body = self.schemas.of(self._content(self.document.resolve(operation.get("requestBody"))))
        for parameter in sequence(operation.get("parameters")):
            # GET and its query parameters: page[size], filter[ids][] are written as an object, too (style deepObject).
            parameter = self.document.resolve(parameter)
            name = str(parameter.get("name", "")).split("[")[0]
            if parameter.get("in") == "query" and name not in body.properties:
                body.properties[name] = [(mapping(parameter.get("schema")), frozenset())]
                if parameter.get("required") is True:
                    body.required.add(name)
        return body

    def _parameters(self, request: Merged) -> Fields:
        """Returns all that a request can hold; one with several forms (by `id`, by `source`) has those of each."""
        fields = self.schemas.fields(request, required=True)
        forms = [self.schemas.field([variant]).get("fields", {}) for variant in request.variants]
        return {**union(forms), **fields}

    def _answer(self, operation: dict[str, Any]) -> dict[str, Any]:
        answers = mapping(operation.get("responses"))
        # YAML has 200 without quotes as a number.
        ok = next((answer for status, answer in answers.items() if str(status) == "200"), None)
        return self.document.resolve(ok)

    def _content(self, body: dict[str, Any]) -> dict[str, Any]:
        """Returns the schema of a body's JSON, whatever its media type adds (`application/json;charset=utf-8`)."""
        content = mapping(body.get("content"))
        media = sorted(content.items(), key=lambda item: "json" not in str(item[0]))
        return mapping(mapping(media[0][1]).get("schema")) if media else {}

    def _record(self, answer: Merged) -> tuple[Fields, bool, bool]:
        """Returns the fields of a record, whether the answer is a list, and whether it comes without `data`."""
        if "data" not in answer.properties:
            bare = {name: value for name, value in self.schemas.fields(answer, required=True).items() if name != "meta"}
            return bare, False, bool(bare)
        data = self.schemas.field(answer.properties["data"])
        return data.get("fields", {}), str(data.get("type")).startswith("array"), False

    def _meta(self, answer: Merged) -> Fields:
        if "meta" not in answer.properties:
            return {}
        meta = self.schemas.field(answer.properties["meta"])
        needs = meta.get("needs_include")
        fields: Fields = meta.get("fields", {})
        for name, value in fields.items():
            if needs and "needs_include" not in value:
                fields[name] = {**value, "needs_include": needs}
        return fields

    def _sort(self, request: Merged) -> dict[str, Any] | None:
        if "sort" not in request.properties:
            return None
        sort = self.schemas.merge(request.properties["sort"])
        item = self.schemas.merge(sort.items) if sort.items else sort
        by = self.schemas.merge(item.properties.get("field", []))
        order = self.schemas.merge(item.properties.get("order", []))
        found: dict[str, Any] = {"fields": [text(member) for member in by.enum or []]}
        orders = {text(member) for member in order.enum or []}
        if orders and orders < BOTH_ORDERS:
            found["orders"] = sorted(orders)
        whole = sort.default[0] if isinstance(sort.default, list) and sort.default else {}
        default = {
            "field": mapping(whole).get("field", by.default),
            "order": mapping(whole).get("order", order.default),
        }
        if default["field"] is not None:
            found["default"] = {key: text(value) for key, value in default.items() if value is not None}
        return found

    def _includes(self, endpoint: Endpoint, request: Merged, record: Fields) -> None:
        """Sets what can be included: the request names some, the text of a record's fields others."""
        asked: list[str] = []
        if "includes" in request.properties:
            merged = self.schemas.merge(request.properties["includes"])
            listed = self.schemas.merge(merged.items).enum if merged.items else merged.enum
            names = listed or re.split(r"[\s,]+", str(merged.example or ""))
            asked = [text(name) for name in names] + re.findall(r"`([a-z_]+)`", merged.description)
        asked = [name for name in dict.fromkeys(asked) if name and name not in ("pagination", "includes")]
        for name in asked:
            if name in record and "needs_include" not in record[name]:
                record[name] = {**record[name], "needs_include": name}
        answered = sorted(set(needed(record)) - {"pagination"})
        endpoint["includes"] = sorted(set(asked) | set(answered))
        endpoint["includes_response_only"] = [name for name in answered if name not in asked]


def needed(fields: Fields) -> list[str]:
    """Returns the includes that any of the fields needs."""
    found: list[str] = []
    for value in fields.values():
        if "needs_include" in value:
            found.append(value["needs_include"])
        found += needed(value.get("fields", {}))
    return found
