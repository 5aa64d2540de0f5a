"""Airflow assets for the tables that a sync writes."""

from __future__ import annotations

import re
from typing import Any

from airflow.sdk import Asset

ALIAS = "teamleader2db"
"""The alias through which all events of tables come, unless a task has one of its own."""


def table_name(resource: str) -> str:
    """`timeTracking` is `time_tracking`, `projects-v2/tasks` is `projects_v2_tasks`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", re.sub(r"[/.-]", "_", resource)).lower()


def table_asset(database: str, resource: str) -> Asset:
    """The asset of a resource's table. `database` is `postgres://host:port/name`: Airflow wants the port in such a URI, and no login."""
    return Asset(uri=f"{database.rstrip('/')}/teamleader/{table_name(resource)}")


def completed(data: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """By resource, what the event of its table tells: only of those that the run completed."""
    run = {key: data[key] for key in ("request_id", "account", "mode", "finished_at")}
    return {
        name: run | {key: resource[key] for key in ("listed", "created", "updated", "unchanged", "deleted", "detailed", "verified")}
        for name, resource in data["resources"].items()
        if resource["status"] == "completed"
    }
