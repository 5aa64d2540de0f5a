"""Events in words, for the task's log and its failure."""

from __future__ import annotations

from typing import Any

FAILURES_TOLD = 10
"""Resources whose errors stand in an exception; the log and the XCom of the event have all."""


def progress(data: dict[str, Any]) -> str:
    """How far a run is, from the `data` of `started` or `progress`."""
    resources: dict[str, dict[str, Any]] = data.get("resources") or {}
    done = sum(1 for resource in resources.values() if resource["status"] != "running")
    text = f"{done} of {len(resources)} resources done, {data.get('api_requests', 0)}"
    if forecast := data.get("forecast"):
        text += f" of about {forecast['api_requests']}"
    text += " requests"
    if forecast:
        text += f", until about {forecast['done_at'][:19]}Z"
    under_way = [
        f"{name} ({resource['listed']}{f' of {matches}' if (matches := resource['matches']) is not None else ''} listed, "
        f"{resource['detailed']} details)"
        for name, resource in resources.items()
        if resource["status"] == "running" and (resource["listed"] or resource["detailed"])
    ]
    return text + (f"; now {', '.join(under_way)}" if under_way else "")


def counts(data: dict[str, Any]) -> str:
    """What a run has done, from the `data` of its final event."""
    resources = (data.get("resources") or {}).values()
    total = {key: sum(resource[key] for resource in resources) for key in ("created", "updated", "deleted", "detailed")}
    return (
        f"{data['api_requests']} requests, {total['created']} created, {total['updated']} updated, {total['deleted']} deleted, "
        f"{total['detailed']} details"
    )


def failures(data: dict[str, Any]) -> str:
    """Why a run failed, in whole or in part."""
    reasons = [data["error"]] if data.get("error") else []
    failed = [(name, resource) for name, resource in (data.get("resources") or {}).items() if resource["status"] == "failed"]
    reasons += [f"{name}: {resource['error']}" for name, resource in failed[:FAILURES_TOLD]]
    if len(failed) > FAILURES_TOLD:
        reasons.append(f"and {len(failed) - FAILURES_TOLD} more resources")
    rejected = {name: n for name, resource in (data.get("resources") or {}).items() if (n := resource.get("rejected"))}
    reasons += [f"{name}: {n} records could not be read or stored" for name, n in list(rejected.items())[:FAILURES_TOLD]]
    if len(rejected) > FAILURES_TOLD:
        reasons.append(f"and of {len(rejected) - FAILURES_TOLD} more resources")
    return "; ".join(reasons) or "the event does not say why"
