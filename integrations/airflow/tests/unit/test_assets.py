"""Assets of tables."""

from __future__ import annotations

import pytest
from events import final, resource

from teamleader2db_airflow.assets import completed, table_asset, table_name


@pytest.mark.parametrize(
    ("resource", "table"),
    [
        ("contacts", "contacts"),
        ("timeTracking", "time_tracking"),
        ("projects-v2/projectGroups", "projects_v2_project_groups"),
        ("users.daysOff", "users_days_off"),
    ],
)
def test_a_table_is_named_after_its_resource(resource, table):
    assert table_name(resource) == table


def test_a_table_has_a_uri_that_airflow_takes():
    asset = table_asset("postgres://db.example.org:5432/copy/", "timeTracking")
    assert asset.uri == asset.name == "postgres://db.example.org:5432/copy/teamleader/time_tracking"


def test_only_what_completed_is_told():
    data = final("partial", {"a": resource(created=2), "b": resource("failed", "no"), "c": resource("skipped", "403")})["data"]
    assert list(completed(data)) == ["a"]
    assert completed(data)["a"]["created"] == 2
    assert completed(data)["a"]["request_id"] == data["request_id"]
