"""The DAGs of the tests: what is asked for comes with each run."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, AssetAlias, Param, task

from teamleader2db_airflow.assets import table_asset
from teamleader2db_airflow.operator import TeamleaderSyncOperator

COPY = "postgres://db.example.org:5432/stories"

PARAMS = {
    "resources": Param("departments", type="string"),
    "mode": Param("full", enum=["incremental", "full", "audit"]),
    "refetch": Param(False, type="boolean"),
    "account": Param("", type="string"),
}

ASKED = {
    "sync_resources": "{{ params.resources }}",
    "mode": "{{ params.mode }}",
    "refetch": "{{ params.refetch }}",
    "account": "{{ params.account }}",
    "asset_database": COPY,
}

for name, arguments in {
    "deferred": {"deferrable": True},
    "in_a_slot": {"deferrable": False},
    "retried": {"deferrable": False, "retries": 1, "retry_delay": timedelta(seconds=1)},
    "tolerant": {"deferrable": True, "on_partial": "warn"},
}.items():
    with DAG(name, schedule=None, params=PARAMS):
        TeamleaderSyncOperator(task_id="sync", **ASKED, **arguments)

with DAG("mapped", schedule=None):
    TeamleaderSyncOperator.partial(
        task_id="sync",
        deferrable=True,
        asset_database=COPY,
        asset_alias="mapped",
        outlets=[AssetAlias("mapped")],
    ).expand(sync_resources=["departments", ["users", "teams"]])

with DAG("after_contacts", schedule=table_asset(COPY, "contacts")):

    @task
    def read(triggering_asset_events=None):
        """What the events of the table told."""
        return [event.extra for events in triggering_asset_events.values() for event in events]

    read()
