"""A copy of Teamleader that is never much older than an hour: changes every hour, and a complete pass with deletions every night.

A third DAG runs whenever the table of contacts was synced, whichever of the two did it.
"""

from __future__ import annotations

from datetime import timedelta

import pendulum
from airflow.sdk import DAG, task

from teamleader2db_airflow.assets import table_asset
from teamleader2db_airflow.operator import TeamleaderSyncOperator

COPY = "postgres://db.example.org:5432/copy"
"""Where the copy is, as the names of its assets. Nothing connects to it."""

DEFAULTS = {
    # One retry: a lost triggerer or broker is worth it, and what fails for good, such as a missing right, fails again.
    "retries": 1,
    "retry_delay": timedelta(minutes=5),
    "deferrable": True,
    "asset_database": COPY,
}

with DAG(
    "teamleader_nightly",
    schedule="30 2 * * *",
    start_date=pendulum.datetime(2026, 1, 1, tz="Europe/Brussels"),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULTS,
    tags=["teamleader"],
):
    TeamleaderSyncOperator(task_id="full", mode="full")

with DAG(
    "teamleader_hourly",
    schedule="0 * * * *",
    start_date=pendulum.datetime(2026, 1, 1, tz="Europe/Brussels"),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULTS,
    tags=["teamleader"],
):
    # What failed stays as it was and is read by the next sync; the tables that completed are worth an event.
    TeamleaderSyncOperator(task_id="incremental", on_partial="warn")

with DAG("teamleader_contacts", schedule=table_asset(COPY, "contacts"), catchup=False, tags=["teamleader"]):

    @task
    def tell(triggering_asset_events=None):  # type: ignore[no-untyped-def]
        """Prints what each sync has changed since this DAG ran last."""
        for events in triggering_asset_events.values():
            for event in events:
                print(
                    "contacts:",
                    event.extra["created"],
                    "created,",
                    event.extra["updated"],
                    "updated,",
                    event.extra["deleted"],
                    "deleted",
                )

    tell()
