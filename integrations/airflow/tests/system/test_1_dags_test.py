"""The example under `airflow dags test`, as one tries a DAG before it is put to work."""

from __future__ import annotations

import json

from conftest import CONNECTION, PASSWORD


def test_the_example_syncs_everything(stopped_airflow, copy):
    before = len(copy.runs())
    connection = json.dumps({key: value for key, value in CONNECTION.items() if key != "connection_id"})
    said = stopped_airflow.run("dags", "test", "teamleader_nightly", AIRFLOW_CONN_TEAMLEADER2DB_DEFAULT=connection)
    print("\n".join(line for line in said.splitlines() if "teamleader2db_airflow" in line)[:3000])
    assert "has ended as completed" in said
    assert PASSWORD not in said
    assert [status for _, status in copy.runs()[before:]] == ["completed"]
    assert copy.ask("select count(*) from teamleader.contacts") == [(400,)]
