"""Links, anchors, names and snippets of all Markdown pages are what they claim to be."""

from __future__ import annotations

import ast
import builtins
import json
import re
import shutil
import sys
import unittest
from pathlib import Path
from urllib.parse import unquote, urlsplit

sys.path.insert(0, str(Path(__file__).parent))

from pages import ROOT, Block, anchors, blocks, lines, links, output, pages, prose

COUNTS: dict[str, int] = {}
"""What was looked at, printed at the end."""

HOSTS = {
    # Placeholders and this machine.
    "127.0.0.1",
    "example.org",
    "localhost",
    # Teamleader, and what the pages cite.
    "api.focus.teamleader.eu",
    "crates.io",
    "developer.focus.teamleader.eu",
    "docs.getdbt.com",
    "docs.withampersand.com",
    "focus.teamleader.eu",
    "keepachangelog.com",
    "marketplace.focus.teamleader.eu",
    "semver.org",
    "www.apache.org",
    "www.teamleader.eu",
    "www.w3.org",
}
"""The hosts that links may name. A new one is added by hand, after somebody has opened the address."""

LONGEST = 120
"""Columns of a line of prose. Rows of tables, code and a line that is one address have no other way."""

NO_SETTINGS = {
    # Codes of the broker, and constants and columns of others.
    "ACCESS_REFUSED",
    "PRECONDITION_FAILED",
    "NOT_ALLOWED",
    "SQL_ASCII",
}
"""Names that look like settings and are none."""


def tearDownModule() -> None:
    """Prints what was looked at."""
    print("tests/docs: " + ", ".join(f"{count} {what}" for what, count in COUNTS.items()), file=sys.stderr)


def found_in_code(pattern: str) -> set[str]:
    """What a pattern finds in all files of the repository that are no pages."""
    return set(output(["git", "grep", "-hoIE", pattern, "--", ":!*.md", ":!tests/docs"]).split())


def code(*languages: str) -> list[Block]:
    """The blocks of all pages in one of these languages that have to hold as they stand."""
    all_blocks = [block for page in pages() for block in blocks(page) if block.language in languages]
    return [block for block in all_blocks if block.reason is None]


class Links(unittest.TestCase):
    """Where links lead."""

    def test_every_relative_link_and_anchor_exists(self) -> None:
        """In this repository, and as GitHub and mdBook name anchors."""
        missing = []
        count = 0
        for page in pages():
            for line, target in links(page):
                address = urlsplit(target)
                if address.scheme or target.startswith("//"):
                    continue
                count += 1
                path = (page.parent / unquote(address.path)).resolve() if address.path else page
                anchor = unquote(address.fragment)
                is_missing = not path.exists() or not path.is_relative_to(ROOT)
                if is_missing or (anchor and path.suffix == ".md" and anchor not in anchors(path)):
                    missing.append(f"{page.relative_to(ROOT)}:{line}: {target}")
        COUNTS["pages"] = len(pages())
        COUNTS["relative links"] = count
        self.assertEqual(missing, [])

    def test_links_to_other_hosts_are_to_known_ones(self) -> None:
        """No address that somebody made up."""
        unknown = []
        count = 0
        for page in pages():
            for line, target in links(page):
                host = urlsplit(target).hostname
                count += host is not None
                if host is not None and host not in HOSTS:
                    unknown.append(f"{page.relative_to(ROOT)}:{line}: {target}")
        COUNTS["links to other hosts"] = count
        self.assertEqual(unknown, [])

    def test_links_of_other_files_to_pages_exist(self) -> None:
        """Comments, error texts and alerts name pages, some with an anchor."""
        names = sorted(found_in_code(r"\b(docs|integrations/(airflow|dbt)|simulator)/[A-Za-z-]+\.md(#[a-z0-9-]+)?"))
        missing = []
        for name in names:
            path, _, anchor = name.partition("#")
            if not (ROOT / path).exists() or (anchor and anchor not in anchors(ROOT / path)):
                missing.append(name)
        COUNTS["pages that code names"] = len(names)
        self.assertEqual(missing, [])

    def test_files_of_the_source_that_pages_name_exist(self) -> None:
        """As `src/…` in code, and in rooms of the map without that; not in the history of changes."""
        found = re.compile(
            r"`((?:src/|(?:broker|worker|sync|store|http|app|process|messages|api_client)/)[a-z_/]+\.rs)`"
        )
        names = {
            (page, name)
            for page in pages()
            if page.name != "CHANGELOG.md"
            for name in found.findall(page.read_text(encoding="utf-8"))
        }
        COUNTS["source files that pages name"] = len(names)
        missing = [
            f"{page.relative_to(ROOT)}: {name}"
            for page, name in sorted(names)
            if not (ROOT / name).exists() and not (ROOT / "src" / name).exists()
        ]
        self.assertEqual(missing, [])

    def test_the_index_has_every_page(self) -> None:
        """docs/README.md names each page beside it."""
        index = ROOT / "docs" / "README.md"
        named = {(index.parent / urlsplit(target).path).resolve() for _, target in links(index)}
        own = {page for page in pages() if page.parent == index.parent and page != index}
        self.assertEqual(own - named, set())


class Prose(unittest.TestCase):
    """What the pages say."""

    def test_the_first_page_is_one(self) -> None:
        """Not a manual, and not a stub."""
        count = len(lines(ROOT / "README.md"))
        COUNTS["lines of README.md"] = count
        self.assertTrue(120 <= count <= 150, count)

    def test_lines_of_prose_are_short(self) -> None:
        """Rows of tables, code, and a line that is one address have no other way."""
        long = []
        for page in pages():
            for number, line, is_code in lines(page):
                free = is_code or line.lstrip().startswith(("|", "<img", "[")) or " " not in line.strip()
                if not free and len(line) > LONGEST:
                    long.append(f"{page.relative_to(ROOT)}:{number}: {len(line)} columns")
        self.assertEqual(long, [])

    def test_every_setting_that_is_named_exists(self) -> None:
        """A name like a variable stands in a file that is no page."""
        known = found_in_code(r"\b[A-Z][A-Z0-9]*(_[A-Z0-9]+)+\b")
        missing = []
        names = set()
        for page in pages():
            for number, line, _ in lines(page):
                for name in re.findall(r"(?<![\w.…-])[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+(?!\w)", line):
                    names.add(name)
                    if name not in known and name not in NO_SETTINGS:
                        missing.append(f"{page.relative_to(ROOT)}:{number}: {name}")
        COUNTS["names of settings"] = len(names)
        self.assertEqual(missing, [])

    def test_every_alert_is_explained(self) -> None:
        """Each rule has a row, and each row a rule."""
        rules = (ROOT / "ops/prometheus/alerts.yml").read_text(encoding="utf-8")
        alerts = set(re.findall(r"- alert: (\w+)", rules))
        page = prose(ROOT / "docs/troubleshooting.md")
        named = set(re.findall(r"^\| (Teamleader[A-Z]\w+) \|", page, re.MULTILINE))
        COUNTS["alerts"] = len(alerts)
        self.assertEqual(alerts, named)


def unbound(module: ast.Module) -> set[str]:
    """Names that are used in a module, and that nothing in it makes or imports."""
    used, made = set(), set(dir(builtins))
    for node in ast.walk(module):
        if isinstance(node, ast.Name):
            (used if isinstance(node.ctx, ast.Load) else made).add(node.id)
        elif isinstance(node, ast.alias):
            made.add((node.asname or node.name).split(".")[0])
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            made.add(node.name)
        elif isinstance(node, ast.arg):
            made.add(node.arg)
    return used - made


class Snippets(unittest.TestCase):
    """Blocks of code."""

    def test_every_block_has_a_language(self) -> None:
        """Else nothing here knows how to check it."""
        bare = [str(block) for page in pages() for block in blocks(page) if not block.language]
        self.assertEqual(bare, [])

    def test_python_compiles(self) -> None:
        """And makes or imports each name that it uses, so that it can be pasted. integrations/ runs those that can run."""
        found = code("python")
        for block in found:
            with self.subTest(str(block)):
                self.assertEqual(unbound(ast.parse(block.text, str(block))), set())
        COUNTS["Python blocks"] = len(found)

    def test_json_parses(self) -> None:
        """Shortened ones, with an ellipsis, are left out."""
        found = [block for block in code("json") if "…" not in block.text]
        for block in found:
            with self.subTest(str(block)):
                json.loads(block.text)
        COUNTS["JSON blocks"] = len(found)

    def test_shell_parses(self) -> None:
        """By bash, and those of several lines by shellcheck, if it is there."""
        scripts = code("sh", "bash")
        for block in code("console"):
            commands = [line[2:] for line in block.text.splitlines() if line.startswith("$ ")]
            scripts += [Block(block.page, block.line, "sh", command + "\n", None) for command in commands]
        checker = shutil.which("shellcheck")
        for block in scripts:
            with self.subTest(str(block)):
                self.assertEqual(output(["bash", "-n"], block.text), "")
                if checker and block.text.count("\n") > 1:
                    # What a reader's shell has set, and addresses with … in them, are no mistakes.
                    ignored = "--exclude=SC2148,SC2154,SC2086,SC1091,SC2155,SC2153,SC1090,SC2046,SC2164"
                    self.assertEqual(output([checker, "--shell=bash", ignored, "-"], block.text), "")
        COUNTS["shell snippets"] = len(scripts)


if __name__ == "__main__":
    unittest.main()
