"""The Markdown pages of the repository: their headings, links, blocks of code and prose."""

from __future__ import annotations

import re
import subprocess
import unicodedata
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

FENCE = re.compile(r"^( *)(```+|~~~+) *([\w-]*)")
COMMENT = re.compile(r"<!--(.*?)-->", re.DOTALL)
REASON = re.compile(r"<!-- Not run: (.+?) -->", re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A block of code."""

    page: Path
    line: int
    language: str
    text: str
    reason: str | None
    """Why it cannot run as it stands, from the HTML comment before it."""

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def output(command: list[str], text: str = "") -> str:
    """What a command prints, on either stream."""
    run = subprocess.run(command, cwd=ROOT, input=text, capture_output=True, text=True, check=False)
    return run.stdout + run.stderr


@cache
def pages() -> list[Path]:
    """Every page that is part of the repository."""
    found = output(["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"])
    return sorted(path for name in found.splitlines() if (path := ROOT / name).exists())


@cache
def lines(page: Path) -> list[tuple[int, str, bool]]:
    """`(number, line, is code)` of a page; fences count as code."""
    result = []
    fence = None
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        match = FENCE.match(line)
        if fence is None and match:
            fence = match.group(2)
            result.append((number, line, True))
        elif fence is not None:
            result.append((number, line, True))
            if line.strip() == fence:
                fence = None
        else:
            result.append((number, line, False))
    if fence is not None:
        raise ValueError(f"{page}: a block of code has no end")
    return result


@cache
def prose(page: Path) -> str:
    """A page without its code; spans of code in lines stay."""
    return "\n".join("" if code else line for _, line, code in lines(page))


@cache
def blocks(page: Path) -> list[Block]:
    """Its blocks of code."""
    result: list[Block] = []
    opened: tuple[int, str, int, str | None] | None = None
    inside: list[str] = []
    before = ""
    for number, line, code in lines(page):
        if not code:
            before = before + "\n" + line if line.strip() else before
            if line.strip() and not line.strip().endswith("-->") and "<!--" not in before:
                before = ""
            continue
        match = FENCE.match(line)
        if opened is None and match:
            reasons = REASON.findall(before)
            ends_so = before.rstrip().endswith("-->")
            opened = (number, match.group(3), len(match.group(1)), reasons[-1] if reasons and ends_so else None)
            inside, before = [], ""
        elif opened is not None and line.strip() in ("```", "~~~", "````"):
            number, language, indent, reason = opened
            text = "\n".join(one[indent:] if one[:indent].isspace() else one for one in inside) + "\n"
            result.append(Block(page, number, language, text, reason))
            opened = None
        else:
            inside.append(line)
    return result


def _anchor(heading: str) -> str:
    """The anchor that GitHub and mdBook give a heading."""
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    text = re.sub(r"<[^>]*>", "", text).replace("`", "").replace("*", "").strip().lower()
    letters = (c for c in text if c in " -_" or unicodedata.category(c)[0] in "LN")
    return "".join(letters).replace(" ", "-")


@cache
def anchors(page: Path) -> set[str]:
    """What a link to a part of the page may name."""
    found: set[str] = set()
    for line in prose(page).splitlines():
        if match := re.match(r"#{1,6} +(.+?)\s*#*$", line):
            name, number = _anchor(match.group(1)), 0
            while (f"{name}-{number}" if number else name) in found:
                number += 1
            found.add(f"{name}-{number}" if number else name)
        found.update(re.findall(r'<a (?:id|name)="([^"]+)"', line))
    return found


@cache
def links(page: Path) -> list[tuple[int, str]]:
    """`(line, target)` of each link, image and address of a page."""
    text = COMMENT.sub(lambda match: re.sub(r"[^\n]", " ", match.group()), prose(page))
    text = re.sub(r"`[^`\n]*`(?!\])", lambda match: "`" + " " * (len(match.group()) - 2) + "`", text)
    patterns = (
        r"\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)",
        r"^\[[^\]]+\]:\s*(\S+)",
        r"(?:src|href)=\"([^\"]+)\"",
        r"<(https?://[^>\s]+)>",
    )
    found = []
    for pattern in patterns:
        for match in re.finditer(pattern, text, re.MULTILINE):
            found.append((text.count("\n", 0, match.start()) + 1, match.group(1)))
    return sorted(found)
