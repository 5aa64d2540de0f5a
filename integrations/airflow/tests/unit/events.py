"""Final events, as the worker makes them."""

from __future__ import annotations

from typing import Any


def resource(status: str = "completed", error: str | None = None, **counts: int) -> dict[str, Any]:
    """What became of one resource."""
    zero = dict.fromkeys(("listed", "created", "updated", "unchanged", "deleted", "detailed"), 0)
    return {"status": status, **zero, **counts, "matches": None, "verified": True, "error": error, "drift": []}


def final(
    status: str,
    resources: dict[str, dict[str, Any]] | None = None,
    *,
    error: str | None = None,
    finished_at: str = "2026-11-22T15:29:16.311823Z",
    request_id: str = "9d3ecbd9-ebed-448c-a8d7-af8efb49cd8d",
    mode: str | None = "incremental",
) -> dict[str, Any]:
    """A final event."""
    data = {
        "request_id": request_id,
        "account": "default",
        "mode": mode,
        "status": status,
        "started_at": "2026-11-22T15:29:11.179174Z",
        "finished_at": finished_at,
        "api_requests": 7,
        "resources": resources or {},
        "error": error,
    }
    return {"type": f"teamleader2db.sync.{status}", "subject": request_id, "data": data}
