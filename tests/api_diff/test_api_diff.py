"""`dev/api-diff` on a small specification and a small catalog that differ in every way it knows."""

from __future__ import annotations

import contextlib
import io
import json
import sys
import tempfile
import unittest
from pathlib import Path
from typing import Any
from unittest import mock

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "dev"))

from api_diff.command import CATALOG, main  # noqa: E402
from api_diff.difference import TABLES  # noqa: E402
from api_diff.document import Document, mapping  # noqa: E402

SPECIFICATION = HERE / "specification.yaml"
SMALL = HERE / "catalog.json"

# All that differs between the two files beside this one: kind, change, endpoint, path.
EXPECTED = """
endpoint            added    orders.list
endpoint            removed  gone.list
delete endpoint     added    contacts.delete
delete endpoint     removed  calls.delete
deprecated          changed  contacts.list
method              changed  contacts.info
scopes              changed  contacts.list
unwrapped           changed  contacts.info
parameter           added    contacts.info   language
parameter           removed  contacts.info   format
filter              added    contacts.list   term
filter              removed  contacts.list   email
filter required     changed  contacts.list
sort                added    contacts.list   added_at
sort                removed  contacts.list   title
sort                removed  workTypes.list
sort orders         changed  contacts.list
default sort        changed  contacts.list
include             added    contacts.list   price_list
include             added    contacts.list   estimated_time
include             removed  contacts.list   late_fees
include undeclared  added    contacts.list   estimated_time
paging              changed  contacts.list
meta                added    contacts.list   page
meta                added    tags.list       default
matches             added    contacts.list   matches
matches             removed  workTypes.list  matches
field               added    contacts.list   nickname
field               added    contacts.list   email
field               added    contacts.list   estimated_time
field               removed  contacts.list   fax
renamed             changed  contacts.list   customer_meeting_room
undeclared          changed  contacts.list   deal_id
type                changed  contacts.list   age
type                changed  contacts.list   priority
type                changed  contacts.list   custom_fields[].value
nullable            changed  contacts.list   company_id
nullable            changed  contacts.list   birthdate
nullable            changed  contacts.list   name
items nullable      changed  contacts.list   assignee_ids
required            changed  contacts.list   subject
required            changed  contacts.info   id
enum                changed  contacts.list   subject.type
enum                changed  contacts.list   status
enum                changed  contacts.list   country
enum                changed  contacts.list   level
format              changed  contacts.list   score
format              changed  contacts.list   paid_at
needs include       changed  contacts.list   price_list
needs include       changed  contacts.list   rate
webhook type        added    -               receipt.added
webhook type        removed  -               contact.moved
enumeration         changed  -               Currency
"""


def expected() -> set[tuple[str, str, str, str]]:
    """Returns the table above; its columns are two or more blanks apart."""
    rows = [[cell for cell in line.split("  ") if cell.strip()] for line in EXPECTED.strip().splitlines()]
    cells = [[cell.strip() for cell in row] for row in rows]
    return {(row[0], row[1], "" if row[2] == "-" else row[2], "".join(row[3:])) for row in cells}


class ApiDiff(unittest.TestCase):
    """Runs the command as a user does, in this process."""

    def setUp(self) -> None:
        """Makes a directory of its own."""
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.dir = Path(directory.name)

    def run_it(self, *arguments: object) -> tuple[int, str, str]:
        """Returns the exit status and both outputs."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = main([str(argument) for argument in arguments])
        return status, out.getvalue(), err.getvalue()

    def differences(self, specification: object = SPECIFICATION, catalog: object = SMALL) -> list[dict[str, Any]]:
        """Returns the differences that `--json` prints."""
        _, out, _ = self.run_it(specification, "--catalog", catalog, "--json")
        found: list[dict[str, Any]] = json.loads(out)["differences"]
        return found

    def file(self, name: str, content: object) -> Path:
        """Writes a file: text as it is, everything else as JSON."""
        path = self.dir / name
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return path

    def endpoint(
        self, schema: dict[str, Any], request: dict[str, Any] | None = None, openapi: str = "3.0.0", **components: Any
    ) -> dict[str, Any]:
        """Returns what a list with this schema of its items, and of its request, becomes in an updated catalog."""
        data = {"type": "object", "properties": {"data": {"type": "array", "items": schema}}}
        operation = {
            "requestBody": {"content": {"application/json": {"schema": request or {}}}},
            "responses": {"200": {"description": "", "content": {"application/json": {"schema": data}}}},
        }
        specification = {
            "openapi": openapi,
            "paths": {"/things.list": {"post": operation}},
            "components": {"schemas": components},
        }
        path, empty, target = (
            self.file("in.json", specification),
            self.file("empty", {"endpoints": {}}),
            self.dir / "out",
        )
        status, _, err = self.run_it(path, "--catalog", empty, "--update", target)
        self.assertEqual(status, 0, err)
        endpoint: dict[str, Any] = json.loads(target.read_text())["endpoints"]["things.list"]
        return endpoint

    def record(self, schema: dict[str, Any], **options: Any) -> dict[str, Any]:
        """Returns what a schema of a list's items becomes in an updated catalog."""
        record: dict[str, Any] = self.endpoint(schema, **options)["record"]
        return record

    def test_every_kind_of_difference_is_found_and_no_other(self) -> None:
        """The list above is complete, and has every kind that the tool knows."""
        found = {(one["kind"], one["change"], one["endpoint"], one["path"]) for one in self.differences()}
        self.assertEqual(found, expected())
        self.assertEqual({kind for kind, *_ in found}, {kind for kinds in TABLES.values() for kind in kinds})
        self.assertEqual(len(self.differences()), len(expected()))

    def test_what_both_sides_have_is_said(self) -> None:
        """Enumerations name the members that the other side lacks; fields are written as the catalog writes them."""
        found = {(one["kind"], one["path"]): (one["catalog"], one["specification"]) for one in self.differences()}
        self.assertEqual(found["enum", "status"], (["deactivated"], ["archived"]))
        self.assertEqual(found["enum", "country"], ("any", ["BE", "NO"]))
        self.assertEqual(found["renamed", "customer_meeting_room"], ("online_meeting_room", "customer_meeting_room"))
        self.assertEqual(found["sort orders", ""], (["asc", "desc"], ["desc"]))
        self.assertEqual(found["nullable", "birthdate"], (False, True))
        self.assertEqual(found["field", "nickname"], (None, {"type": "string", "example": "Ed"}))
        self.assertEqual(found["meta", "page"][1]["needs_include"], "pagination")

    def test_tables_have_a_row_for_each_difference(self) -> None:
        """Rows are as wide as each other, and the last line counts."""
        status, out, _ = self.run_it(SPECIFICATION, "--catalog", SMALL)
        self.assertEqual(status, 1)
        rows = [line for line in out.splitlines() if line.startswith("| ") and not line.startswith("| endpoint ")]
        headers = [line for line in out.splitlines() if line.startswith("| endpoint ") and "| what" in line]
        self.assertEqual(len(headers), len(TABLES))
        self.assertEqual(
            len(rows) + sum(line.startswith("| endpoint ") for line in out.splitlines()), len(expected()) + len(headers)
        )
        self.assertRegex(out, r"\| contacts\.list +\| enum +\| status +\| deactivated +\| archived +\|")
        self.assertRegex(out, r"\| orders\.list +\| endpoint +\| - +\| - +\| POST /orders\.list \{id, total\} +\|")
        self.assertRegex(
            out.splitlines()[-1],
            rf"^Specification 9\.9\.0: 5 reading endpoints; the catalog: 5\. {len(expected())} diff",
        )

    def test_json_has_the_documented_shape(self) -> None:
        """Its keys are in docs/new-specification.md."""
        status, out, _ = self.run_it(SPECIFICATION, "--catalog", SMALL, "--json")
        document = json.loads(out)
        self.assertEqual(status, 1)
        self.assertEqual(
            list(document),
            ["catalog", "specification", "version", "endpoints", "other_writes", "counts", "differences"],
        )
        self.assertEqual((document["version"], document["endpoints"], document["other_writes"]), ("9.9.0", 5, 2))
        self.assertEqual(sum(document["counts"].values()), len(document["differences"]))
        keys = {"kind", "change", "endpoint", "part", "path", "catalog", "specification"}
        self.assertTrue(all(set(one) == keys for one in document["differences"]))
        docs = (HERE.parents[1] / "docs" / "new-specification.md").read_text(encoding="utf-8")
        for word in [*document, *keys, *(kind for kinds in TABLES.values() for kind in kinds)]:
            self.assertIn(f"`{word}`", docs)

    def test_an_update_makes_the_differences_disappear(self) -> None:
        """And a second one changes nothing."""
        target = self.dir / "new.json"
        status, _, err = self.run_it(SPECIFICATION, "--catalog", SMALL, "--update", target)
        self.assertEqual(status, 0)
        self.assertIn("orders.list is a new list", err)
        self.assertIn("gone.list is no longer in the specification", err)
        before = target.read_text()
        status, out, _ = self.run_it(SPECIFICATION, "--catalog", target, "--write")
        self.assertEqual((status, out.count("\n")), (0, 1), out)
        self.assertEqual(target.read_text(), before)
        self.assertEqual(self.differences(catalog=target), [])

    def test_an_update_takes_over_what_is_said_and_keeps_the_rest(self) -> None:
        """Facts that are in no specification stay; what answers lack is kept, what requests lack is removed."""
        target = self.dir / "new.json"
        self.run_it(SPECIFICATION, "--catalog", SMALL, "--update", target)
        catalog = json.loads(target.read_text())
        contacts = catalog["endpoints"]["contacts.list"]
        record, filters = contacts["record"], contacts["filter"]
        self.assertEqual(
            record["status"], {"type": "enum[string]", "enum": ["active", "archived"], "enum_live": ["new"]}
        )
        self.assertEqual(record["fax"], {"type": "string", "example": "1", "kept": ["field"]})
        self.assertEqual(record["name"]["kept"], ["nullable"])
        self.assertEqual(record["level"]["kept"], ["enum"])
        self.assertEqual(record["source"]["enum"], ["web", "fair", "phone"])
        self.assertEqual(record["age"], {"type": "string", "example": "7"})
        self.assertEqual(record["rate"]["type"], "Money")
        self.assertEqual(record["customer_meeting_room"]["renamed_from"], "online_meeting_room")
        self.assertNotIn("online_meeting_room", record)
        self.assertEqual(list(record)[:4], ["id", "name", "nickname", "birthdate"])
        self.assertEqual(record["nickname"]["since"], "9.9.0")
        self.assertEqual(
            record["custom_fields"]["fields"]["value"]["one_of"],
            ["string", "number", "array[string]", "boolean", "object"],
        )
        self.assertNotIn("email", filters)
        self.assertEqual(filters["deal_id"]["since"], "2026-03-27")
        self.assertNotIn("undeclared", filters["deal_id"])
        self.assertEqual(filters["company_id"], {"type": "string", "nullable": True})
        self.assertEqual(
            contacts["sort"],
            {"fields": ["name", "added_at"], "default": {"field": "added_at", "order": "desc"}, "orders": ["desc"]},
        )
        self.assertEqual((contacts["matches"], contacts["paged"], contacts["deprecated"]), ("declared", True, True))
        self.assertEqual(
            catalog["endpoints"]["workTypes.list"],
            {
                "method": "POST",
                "path": "/workTypes.list",
                "record": {"id": {"type": "string"}},
                "matches": "undeclared",
            },
        )
        self.assertEqual(catalog["endpoints"]["gone.list"]["kept"], ["endpoint"])
        self.assertEqual(catalog["endpoints"]["orders.list"]["record"]["total"]["type"], "Money")
        self.assertEqual(catalog["webhook_types"], ["contact.added", "receipt.added"])
        self.assertEqual(catalog["enums"]["Currency"], ["EUR", "SEK"])
        self.assertEqual((catalog["api_version"], catalog["specification"]), ("2023-09-26", "9.9.0"))

    def test_equal_inputs_end_with_0(self) -> None:
        """Also for the same specification as JSON, and in the format of April 2025, which has fewer keys."""
        as_json = self.file("specification.json", Document(SPECIFICATION).root)
        target = self.dir / "new.json"
        self.run_it(SPECIFICATION, "--catalog", SMALL, "--update", target)
        status, out, _ = self.run_it(as_json, "--catalog", target)
        self.assertEqual(status, 0)
        self.assertIn("0 differences.", out)
        old = {
            key: value for key, value in json.loads(target.read_text()).items() if key in ("endpoints", "webhook_types")
        }
        self.assertEqual(self.differences(as_json, self.file("old.json", old)), [])

    def test_the_catalog_that_is_compiled_in_can_be_compared_and_updated(self) -> None:
        """The update of the real file by a small specification is stable, too."""
        target = self.dir / "new.json"
        status, _, _ = self.run_it(SPECIFICATION, "--update", target)
        self.assertEqual(status, 0)
        self.assertEqual(self.differences(catalog=target), [])
        known, new = (json.loads(path.read_text())["endpoints"] for path in (CATALOG, target))
        self.assertEqual(set(new), set(known) | {"orders.list"})

    def test_files_that_cannot_be_read_end_with_2_and_advice(self) -> None:
        """Each message says what is wrong with which file, and what to do."""
        paths: dict[str, Any] = {
            "/things.list": {"post": {"responses": {"200": {"content": {"application/json": {"schema": {}}}}}}}
        }
        broken = {
            "missing.yaml": (None, r"missing\.yaml cannot be read: No such file.*Check"),
            "tab.yaml": ("openapi: 3.0.0\npaths:\n\t/x: {}", r"tab\.yaml is not valid YAML: .* at line 3, column 1"),
            "cut.json": ('{"openapi": "3.0.0", "paths": {', r"cut\.json is not valid JSON: .* at line 1, column"),
            "text.yaml": ("Hello", r"text\.yaml is no OpenAPI file"),
            "swagger.json": ({"swagger": "2.0", "paths": paths}, r"swagger: 2, and OpenAPI 3\.0 or 3\.1 is needed"),
            "future.json": ({"openapi": "4.0.0", "paths": paths}, r"openapi: 4\.0\.0"),
            "empty.json": ({"openapi": "3.0.0", "paths": {}}, r"has no paths"),
            "other.json": (
                {"openapi": "3.0.0", "paths": {"/x": {"post": {"responses": {"204": {}}}}}},
                r"no endpoint that reads",
            ),
            "nothing.json": (
                {"openapi": "3.0.0", "paths": {"/x": {"$ref": "#/components/y"}}},
                r"'#/components/y' names nothing",
            ),
            "away.json": (
                {"openapi": "3.0.0", "paths": {"/x": {"$ref": "other.yaml#/y"}}},
                r"names another file: give the bundled",
            ),
            "circle.json": ({"openapi": "3.0.0", "paths": {"/x": {"$ref": "#/paths/~1x"}}}, r"leads to itself"),
            "deep.json": ('{"a":' * 100_000, r"nested too deeply"),
        }
        for name, (content, message) in broken.items():
            with self.subTest(name):
                path = self.dir / name if content is None else self.file(name, content)
                status, out, err = self.run_it(path, "--catalog", SMALL)
                self.assertEqual((status, out), (2, ""))
                self.assertRegex(err, rf"^api-diff: .*{message}")
        latin = self.dir / "latin.yaml"
        latin.write_bytes(b"openapi: 3.0.0 # \xe9")
        self.assertRegex(self.run_it(latin)[2], "latin.yaml is not UTF-8 text")
        self.assertRegex(
            self.run_it(SPECIFICATION, "--catalog", self.file("list.json", []))[2], r"list\.json is no catalog"
        )
        self.assertEqual(self.run_it(SPECIFICATION, "--catalog", SMALL, "--update", self.dir / "no" / "file")[0], 2)

    def test_yaml_without_pyyaml_says_how_to_get_it(self) -> None:
        """JSON needs no package."""
        as_json = self.file("specification.json", Document(SPECIFICATION).root)
        with mock.patch.dict(sys.modules, {"yaml": None}):
            status, _, err = self.run_it(SPECIFICATION, "--catalog", SMALL)
            self.assertEqual(status, 2)
            self.assertIn("apt-get install python3-yaml", err)
            self.assertEqual(self.run_it(as_json, "--catalog", SMALL)[0], 1)

    def test_yaml_is_read_by_the_rules_of_1_2(self) -> None:
        """`NO` is Norway, a date is a text, `010` and `12:30` are no octal or sexagesimal numbers."""
        path = self.file(
            "values.yaml", "openapi: 3.0.0\npaths: {x: [NO, yes, 2024-01-31, 010, 12:30, true, 12, 1.5, null, ~]}\n"
        )
        self.assertEqual(
            mapping(Document(path).root["paths"])["x"],
            ["NO", "yes", "2024-01-31", "010", "12:30", True, 12, 1.5, None, None],
        )

    def test_openapi_3_1_writes_types_in_other_ways(self) -> None:
        """Lists of types, `const`, `examples`, a null type among alternatives, and keys beside a `$ref`."""
        money = {"type": "object", "properties": {"amount": {"type": ["number", "null"]}}}
        record = self.record(
            {
                "properties": {
                    "name": {"type": ["string", "null"], "examples": ["Erlich"]},
                    "kind": {"const": "contact"},
                    "value": {"type": ["string", "integer"]},
                    "price": {"anyOf": [{"$ref": "#/components/schemas/Money"}, {"type": "null"}]},
                    "cost": {
                        "$ref": "#/components/schemas/Money",
                        "description": "Only included with request parameter `includes=costs`",
                    },
                    "state": {"enum": ["a", None]},
                    "level": {"type": "integer", "enum": [1, 2]},
                    "anything": True,
                }
            },
            openapi="3.1.0",
            Money=money,
        )
        self.assertEqual(record["name"], {"type": "string", "nullable": True, "example": "Erlich"})
        self.assertEqual(record["kind"], {"type": "enum", "enum": ["contact"]})
        self.assertEqual((record["value"]["type"], record["value"]["one_of"]), ("string", ["string", "number"]))
        self.assertEqual(
            record["price"],
            {"type": "object", "nullable": True, "fields": {"amount": {"type": "number", "nullable": True}}},
        )
        self.assertEqual(record["cost"]["needs_include"], "costs")
        self.assertEqual(record["state"], {"type": "enum", "nullable": True, "enum": ["a"]})
        self.assertEqual(record["level"], {"type": "enum[number]", "enum": ["1", "2"], "integer": True})
        self.assertEqual(record["anything"], {})

    def test_recursion_ends(self) -> None:
        """A schema within itself, through `$ref`, `allOf` or YAML's anchors, becomes an object without fields."""
        node: dict[str, Any] = {
            "type": "object",
            "properties": {
                "id": {"type": "string"},
                "left": {"$ref": "#/components/schemas/Node"},
                "right": {"allOf": [{"$ref": "#/components/schemas/Node"}, {"nullable": True}]},
                "all": {"type": "array", "items": {"$ref": "#/components/schemas/Node"}},
            },
        }
        record = self.record({"$ref": "#/components/schemas/Node"}, Node=node)
        self.assertEqual(record["left"], {"type": "object"})
        self.assertEqual(record["right"], {"type": "object", "nullable": True})
        self.assertEqual(record["all"], {"type": "array"})
        anchored = SPECIFICATION.read_text().replace(
            "&type_and_id", "&type_and_id\n                              allOf: [*type_and_id]"
        )
        self.assertNotEqual(anchored, SPECIFICATION.read_text())
        found = {
            (one["kind"], one["change"], one["endpoint"], one["path"])
            for one in self.differences(self.file("anchored.yaml", anchored))
        }
        self.assertEqual(found, expected())

    def test_alternatives_of_objects_are_merged(self) -> None:
        """Fields of all forms; `type` is an enumeration of what each form names, though only by an example."""
        record = self.record(
            {
                "properties": {
                    "place": {
                        "oneOf": [
                            {
                                "type": "object",
                                "required": ["type", "url"],
                                "properties": {
                                    "type": {"type": "string", "example": "virtual"},
                                    "url": {"type": "string"},
                                },
                            },
                            {
                                "type": "object",
                                "required": ["type"],
                                "properties": {"type": {"type": "string", "enum": ["contact", "company"]}, "id": {}},
                            },
                        ]
                    }
                }
            }
        )
        self.assertEqual(list(record["place"]["fields"]), ["type", "url", "id"])
        self.assertEqual(record["place"]["fields"]["url"], {"type": "string"})
        self.assertTrue(record["place"]["fields"]["type"]["required"])
        self.assertEqual(record["place"]["fields"]["type"]["enum"], ["virtual", "contact", "company"])

    def test_a_request_can_have_several_forms(self) -> None:
        """What each form requires is required, the rest is not."""
        one_of = [
            {
                "type": "object",
                "required": ["id", "language"],
                "properties": {"id": {"type": "string"}, "language": {"type": "string"}},
            },
            {
                "type": "object",
                "required": ["language"],
                "properties": {"source": {"type": "string"}, "language": {"type": "string"}},
            },
        ]
        endpoint = self.endpoint(
            {"properties": {"id": {}}}, {"type": "object", "properties": {"page": {"type": "object"}}, "oneOf": one_of}
        )
        self.assertEqual(
            endpoint["parameters"],
            {"id": {"type": "string"}, "language": {"type": "string", "required": True}, "source": {"type": "string"}},
        )
        self.assertTrue(endpoint["paged"])


if __name__ == "__main__":
    unittest.main()
