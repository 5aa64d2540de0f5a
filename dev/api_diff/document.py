"""Reads an OpenAPI 3.0 or 3.1 file, YAML or JSON, and follows its references."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

# The specification of 2026 has 1.4 MB.
MAX_BYTES = 64 * 1024 * 1024

# Following each `$ref` of a file must end.
MAX_REFERENCES = 32


class UnreadableError(Exception):
    """A file that cannot be used; the message says what is wrong with it and what to do."""


def mapping(value: Any) -> dict[str, Any]:
    """Returns an object as it is, and an empty one for everything else: OpenAPI 3.1 allows `true` for a schema."""
    return value if isinstance(value, dict) else {}


def sequence(value: Any) -> list[Any]:
    """Returns a list of the file as it is, and an empty one for everything else."""
    return value if isinstance(value, list) else []


def read_text(path: Path) -> str:
    """Reads a text file in UTF-8, with or without a byte order mark."""
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise UnreadableError(f"{path} has {size} bytes, and at most {MAX_BYTES} are read: is it the right file?")
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UnreadableError(f"{path} cannot be read: {error.strerror}. Check the path and its permissions") from error
    except UnicodeDecodeError as error:
        raise UnreadableError(f"{path} is not UTF-8 text (byte {error.start}): save it as UTF-8") from error


def read_json(path: Path, text: str | None = None) -> Any:
    """Reads a JSON file."""
    try:
        return json.loads(read_text(path) if text is None else text)
    except json.JSONDecodeError as error:
        problem = f"{error.msg} at line {error.lineno}, column {error.colno}"
        raise UnreadableError(f"{path} is not valid JSON: {problem}. Fix it, or get the file again") from error
    except RecursionError as error:
        raise UnreadableError(f"{path} is nested too deeply to be an OpenAPI file") from error


def read_yaml(path: Path, text: str) -> Any:
    """Reads a YAML file by the rules of YAML 1.2: `NO` is a text (Norway), and so are dates and `12:30`."""
    try:
        import yaml
    except ImportError as error:
        advice = "install it with `apt-get install python3-yaml` or `pip install pyyaml`, or give the file as JSON"
        raise UnreadableError(f"reading YAML takes PyYAML: {advice}") from error

    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
        yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own interface

    plain = {
        "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
        "null": (r"null|Null|NULL|~|", ["n", "N", "~", ""]),
        "int": (r"[-+]?(?:0|[1-9][0-9]*)", "-+0123456789"),
        "float": (r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?", "-+.0123456789"),
        "merge": (r"<<", "<"),
    }
    for tag, (pattern, first) in plain.items():
        Loader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(f"^(?:{pattern})$"), list(first))
    try:
        return yaml.load(text, Loader)  # noqa: S506 - a safe loader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise UnreadableError(f"{path} is not valid YAML: {problem}{place}. Fix it, or get the file again") from error
    except (RecursionError, ValueError) as error:
        raise UnreadableError(f"{path} is not usable YAML: {error}. Get the file again") from error


class Document:
    """An OpenAPI file."""

    def __init__(self, path: Path) -> None:
        """Reads it. Raises `UnreadableError` if it is no OpenAPI 3.0 or 3.1 file with paths."""
        text = read_text(path)
        as_json = path.suffix.lower() == ".json" or text.lstrip().startswith("{")
        root = read_json(path, text) if as_json else read_yaml(path, text)
        if not isinstance(root, dict):
            advice = "give the YAML or JSON of the specification"
            raise UnreadableError(f"{path} is no OpenAPI file: it holds no object; {advice}")
        version = str(root.get("openapi", ""))
        if not re.match(r"3\.[01](\.|$)", version):
            found = f"openapi: {version}" if version else ("swagger: 2" if "swagger" in root else "no key `openapi`")
            advice = "convert it, or give another file"
            raise UnreadableError(f"{path} has {found}, and OpenAPI 3.0 or 3.1 is needed: {advice}")
        if not mapping(root.get("paths")):
            raise UnreadableError(f"{path} has no paths: is it a bundled file, and complete?")
        self.path = path
        self.root = root

    @property
    def version(self) -> str | None:
        """The version of the specification, such as `1.221.0`."""
        version = mapping(self.root.get("info")).get("version")
        return None if version is None else str(version)

    def resolve(self, node: Any) -> dict[str, Any]:
        """Returns the object itself, or what its `$ref` names; beside a `$ref` nothing of it is kept."""
        for _ in range(MAX_REFERENCES):
            if not isinstance(node, dict) or not isinstance(node.get("$ref"), str):
                return mapping(node)
            node = self.target(node["$ref"])
        raise UnreadableError(f"{self.path}: a $ref leads to itself. Get a bundled or dereferenced file")

    def target(self, reference: str) -> Any:
        """Returns what a reference such as `#/components/schemas/Money` names."""
        if not reference.startswith("#"):
            advice = "give the bundled or the dereferenced file of the specification, which is one file"
            raise UnreadableError(f"{self.path}: the $ref {reference!r} names another file: {advice}")
        node: Any = self.root
        for token in reference[1:].lstrip("/").split("/") if reference != "#" else []:
            name = token.replace("%7B", "{").replace("%7D", "}").replace("~1", "/").replace("~0", "~")
            if isinstance(node, list) and name.isdigit() and int(name) < len(node):
                node = node[int(name)]
            elif isinstance(node, dict) and name in node:
                node = node[name]
            else:
                advice = "the file is not complete; get it again"
                raise UnreadableError(f"{self.path}: the $ref {reference!r} names nothing: {advice}")
        return node
