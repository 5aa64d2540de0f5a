"""Requests: what they ask for, and the id that they have."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid5

# Never another one: a retry after an upgrade has to find the id of the first try.
NAMESPACE = UUID("6849a48b-72e7-5e53-bb2d-453e62d968c3")
"""Of the ids of requests. It must never change: a task that is cleared after an upgrade has to find its sync again."""

EVENTS = UUID("6f1d4a9c-3b52-5c0e-9d3a-7e6142b8c0d5")
"""The worker's namespace of the ids of events."""

MAX_IDS = 1000
"""As many ids a request takes."""

MODES = ("incremental", "full", "audit")

CORRELATION_BYTES = 200
"""AMQP allows 255."""


@dataclass(frozen=True)
class SyncRequest:
    """A request of one task instance.

    `origin` says whose it is: names that are the same on every try. `parameters` is the body without the id.
    """

    origin: tuple[str, ...]
    parameters: Mapping[str, Any]

    def id(self, attempt: int) -> str:
        """The id of the attempt, counted from 0: a UUID made from the task instance, what it asks for, and the attempt.

        The number of the try is no part of it: a retry asks with the id of the first try, and so joins its sync. What is
        asked for is, since the worker refuses an id that it knows with other parameters.
        """
        name = json.dumps([self.origin, self.parameters, attempt], sort_keys=True, separators=(",", ":"))
        return str(uuid5(NAMESPACE, name))

    def body(self, attempt: int) -> bytes:
        """The message's body: JSON as docs/schemas/request.json has it."""
        return json.dumps({"request_id": self.id(attempt), **self.parameters}).encode()

    def final_ids(self, account: str, attempt: int) -> frozenset[str]:
        """The ids that the final event of the attempt can have: that of its run, or that of a refusal of this very body.

        A refusal of a message with an id that a run has is about an id made from the message. An event of another id is the answer to somebody
        else's message, whatever its subject says.
        """
        asked = self.id(attempt)
        message = str(uuid5(EVENTS, f"{account}/{self.body(attempt).decode()}"))
        names = (f"{asked}/final", f"{asked}/refused/{message}", f"{message}/refused/{message}")
        return frozenset(str(uuid5(EVENTS, f"{account}/{name}")) for name in names)

    @property
    def correlation_id(self) -> str:
        """The task instance in words, for those who read events."""
        words = "/".join(word for word in ("airflow", *self.origin) if word)
        return words.encode()[:CORRELATION_BYTES].decode(errors="ignore")


def parameters(
    *,
    resources: str | Iterable[str] | None,
    mode: str,
    refetch: str | bool,
    allow_deletions: str | bool,
    repair: str | bool,
    sample: str | int | None,
    ids: str | Iterable[str] | None = None,
) -> dict[str, Any]:
    """The keys of a request, those that have their default left out. Templates give text, so text is taken everywhere.

    ValueError says what cannot be: the worker would refuse it as well, but only when its turn comes.
    """
    names = _list("resources", resources)
    if mode not in MODES:
        raise ValueError(f"mode is {mode!r}, and can be {', '.join(MODES)}")
    asked: dict[str, Any] = {"mode": mode}
    if names is not None:
        asked["resources"] = names
    for key, value in (("refetch", refetch), ("allow_deletions", allow_deletions), ("repair", repair)):
        if truth(key, value):
            asked[key] = True
    if sample not in (None, "", "None"):
        asked["sample"] = int(str(sample))
        if asked["sample"] < 1:
            raise ValueError("sample can be 1 or more; leave it out to compare everything")
    of_ids = _list("ids", None if ids == "None" else ids)
    if of_ids is not None:
        if len(of_ids) > MAX_IDS:
            raise ValueError(f"{len(of_ids)} ids: a request takes 1 to {MAX_IDS}")
        if names is None or len(names) != 1 or mode != "incremental" or "refetch" in asked:
            raise ValueError("ids go with exactly one resource, with mode incremental and without refetch")
        asked["ids"] = sorted({str(_uuid(text)) for text in of_ids})
    if mode != "audit" and ("repair" in asked or "sample" in asked):
        raise ValueError("repair and sample are of audits: with them, mode has to be audit")
    if mode == "audit" and "refetch" in asked:
        raise ValueError("an audit asks for every detail: with it, refetch can be left out")
    return asked


def _list(what: str, given: str | Iterable[str] | None) -> list[str] | None:
    """The elements in one order, each once, since the id is made of them too; None: none are given. A list that is empty is an error: it is
    more often one that was computed than one that means everything.
    """
    if given is None or (isinstance(given, str) and not given.strip()):
        return None
    if isinstance(given, str):
        if given.lstrip().startswith("["):
            # A template that gives a list gives its text.
            try:
                given = ast.literal_eval(given.strip())
            except (SyntaxError, ValueError):
                raise ValueError(f"the {what} are {given!r}, and can be separated by commas, or a list of them") from None
        else:
            given = given.split(",")
    elements = sorted({str(element).strip() for element in given or ()} - {""})
    if not elements:
        raise ValueError(f"the list of {what} is empty: it can be left out")
    return elements


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise ValueError(f"{text!r} among the ids is no UUID") from None


def truth(key: str, value: str | bool) -> bool:
    """What an argument says that may be text; ValueError if it says neither."""
    word = str(value).strip().lower()
    if word in ("true", "1", "yes"):
        return True
    if word in ("false", "0", "no", "", "none"):
        return False
    raise ValueError(f"{key} is {value!r}, and can be true or false")
