"""Stories under scheduler, API server, DAG processor and triggerer."""

from __future__ import annotations

import json
import os
import signal
import urllib.parse
import urllib.request

import pytest
from airflow_servers import Airflow, Run, await_
from conftest import CONNECTION, PASSWORD, TOKEN

from teamleader2db_airflow.assets import table_name


def ended(copy, since):
    """The states of the runs after the first `since`, once none goes on."""
    return await_("all runs have ended", lambda: all(status != "running" for _, status in copy.runs()[since:]) and copy.runs()[since:])


def asset_events(airflow, run):
    """The extras of the asset events of a run, with the table."""
    query = urllib.parse.urlencode({"source_dag_id": run.dag, "source_run_id": run.id, "limit": 100})
    found = airflow.api(f"/api/v2/assets/events?{query}")
    return [(event["uri"].rpartition("/")[2], event["extra"]) for event in found["asset_events"]]


def test_a_lost_triggerer_and_a_cleared_task_make_no_second_sync(airflow: Airflow, copy, account):
    before = len(copy.runs())
    # Each contact takes a second, until the fault is cleared: the sync is sure to be under way.
    account.call("faults", {"kind": "latency", "milliseconds": 1000, "endpoint": "contacts.info"})
    run = Run(airflow, "deferred", resources="contacts", refetch=True)
    run.reach("deferred")
    await_("the sync has begun", lambda: "The sync has begun" in run.log())
    await_("progress in the log", lambda: "The sync goes on" in run.log())

    airflow.kill("triggerer")
    account.mend()
    # The sync ends while nobody waits for it.
    ((request, status),) = ended(copy, before)
    assert (status, run.task["state"]) == ("completed", "deferred")
    airflow.start("triggerer")
    assert run.reach("success")["try_number"] == 1

    told = run.returned
    assert told == copy.ask("select event from teamleader2db.sync_run where id = %s", request)[0][0]
    assert (told["request_id"], told["resources"]["contacts"]["detailed"]) == (request, 400)
    assert len(copy.runs()) == before + 1

    run.clear()
    run.reach("success", tried=2)
    assert run.returned == told
    assert len(copy.runs()) == before + 1
    run.tell("runs of the worker:", copy.runs()[before:], "XCom:", told["status"], told["api_requests"], "requests")

    # Once for each time that the task succeeded.
    events = asset_events(airflow, run)
    assert [table for table, _ in events] == ["contacts", "contacts"]
    assert {(extra["request_id"], extra["detailed"]) for _, extra in events} == {(request, 400)}
    # And the DAG that waits for the table has run.
    airflow.api("/api/v2/dags/after_contacts", {"is_paused": False}, "PATCH")
    again = Run(airflow, "tolerant", resources="contacts", mode="incremental")
    again.reach("success")
    await_(
        "the DAG that is scheduled by the asset",
        lambda: any(found["state"] == "success" for found in airflow.api("/api/v2/dags/after_contacts/dagRuns")["dag_runs"]),
    )


def test_a_triggerer_that_comes_while_the_sync_runs_joins_it(airflow: Airflow, copy, account):
    before = len(copy.runs())
    account.call("faults", {"kind": "latency", "milliseconds": 1000, "endpoint": "contacts.info"})
    run = Run(airflow, "deferred", resources="contacts", refetch=True)
    await_("the sync has begun", lambda: "The sync has begun" in run.log())
    airflow.kill("triggerer")
    airflow.start("triggerer")
    await_("the new one has asked", lambda: run.log().count("is in the queue") == 2)
    assert [status for _, status in copy.runs()[before:]] == ["running"]
    account.mend()
    run.reach("success")
    run.tell("runs of the worker:", copy.runs()[before:])
    assert [status for _, status in copy.runs()[before:]] == ["completed"]


def test_a_task_that_is_killed_joins_its_sync_when_it_is_tried_again(airflow: Airflow, copy, account):
    before = len(copy.runs())
    account.call("faults", {"kind": "latency", "milliseconds": 1000, "endpoint": "contacts.info"})
    run = Run(airflow, "retried", resources="contacts", refetch=True)
    run.reach("running")
    await_("the sync has begun", lambda: "The sync has begun" in run.log())
    os.kill(run.task["pid"], signal.SIGKILL)
    run.reach("running", tried=2)
    await_("the second try has asked", lambda: "is in the queue" in run.log(2))
    account.mend()
    assert run.reach("success", "failed", tried=2)["state"] == "success"
    run.tell("runs of the worker:", copy.runs()[before:])
    assert [status for _, status in copy.runs()[before:]] == ["completed"]


@pytest.mark.parametrize("dag", ["in_a_slot", "deferred"])
@pytest.mark.parametrize("state", ["failed", "success"])
def test_a_task_that_an_operator_ends_cancels_its_sync(airflow: Airflow, copy, account, dag, state):
    before = len(copy.runs())
    account.call("faults", {"kind": "latency", "milliseconds": 1000, "endpoint": "contacts.info"})
    run = Run(airflow, dag, resources="contacts", refetch=True)
    await_("the sync has started", lambda: "The sync has begun" in run.log())
    run.end(state)
    await_("the sync is cancelled", lambda: [status for _, status in copy.runs()[before:]] == ["cancelled"], 30)
    await_("the log says so", lambda: f"The task instance is {state}: the sync {copy.runs()[-1][0]} was cancelled" in run.log())
    account.mend()
    assert run.task["state"] == state
    # The cancelled run counts as an attempt.
    run.clear()
    run.reach("success", tried=2)
    assert "ended as cancelled before this try: asking for another" in run.log(2)
    run.tell("runs of the worker:", copy.runs()[before:])
    assert [status for _, status in copy.runs()[before:]] == ["cancelled", "completed"]


def test_a_sync_that_is_cancelled_at_the_worker_fails_its_task(airflow: Airflow, copy, account):
    account.call("faults", {"kind": "latency", "milliseconds": 1000, "endpoint": "contacts.info"})
    run = Run(airflow, "deferred", resources="contacts", refetch=True)
    await_("the sync has started", lambda: "The sync has begun" in run.log())
    request = copy.runs()[-1][0]
    cancel = f"{os.environ['WORKER']}/sync/runs/{request}/cancel"
    headers = {"Authorization": f"Bearer {TOKEN}"}
    urllib.request.urlopen(urllib.request.Request(cancel, headers=headers, method="POST"), timeout=30).close()
    run.reach("failed")
    assert f"the sync {request} was cancelled; rows that it had written stay" in run.log()
    run.tell()


def test_a_process_that_is_asked_to_end_leaves_its_sync_to_the_next_try(airflow: Airflow, copy, account):
    before = len(copy.runs())
    account.call("faults", {"kind": "latency", "milliseconds": 1000, "endpoint": "contacts.info"})
    run = Run(airflow, "retried", resources="contacts", refetch=True)
    run.reach("running")
    await_("the sync has started", lambda: "The sync has begun" in run.log())
    # As where its pod is evicted.
    os.kill(run.task["pid"], signal.SIGTERM)
    run.reach("running", tried=2)
    assert "goes on, since the task instance is running: the next try waits for it" in run.log(1)
    await_("the second try has asked", lambda: "is in the queue" in run.log(2))
    account.mend()
    run.reach("success", tried=2)
    run.tell("runs of the worker:", copy.runs()[before:])
    assert [status for _, status in copy.runs()[before:]] == ["completed"]


@pytest.mark.parametrize("dag", ["in_a_slot", "deferred"])
def test_a_task_that_is_cleared_while_it_waits_joins_its_sync(airflow: Airflow, copy, account, dag):
    before = len(copy.runs())
    account.call("faults", {"kind": "latency", "milliseconds": 1000, "endpoint": "contacts.info"})
    run = Run(airflow, dag, resources="contacts", refetch=True)
    await_("the sync has started", lambda: "The sync has begun" in run.log())
    run.clear(while_it_waits=True)
    await_("the second try has asked", lambda: "is in the queue" in run.log(2))
    account.mend()
    run.reach("success", tried=2)
    run.tell("runs of the worker:", copy.runs()[before:])
    assert [status for _, status in copy.runs()[before:]] == ["completed"]


def test_a_sync_that_failed_is_done_anew_when_the_task_is_cleared_and_once_only(airflow: Airflow, copy, account):
    before = len(copy.runs())
    account.call("faults", {"kind": "forbidden", "endpoint": "deals.info"})
    run = Run(airflow, "in_a_slot", resources="deals", refetch=True)
    run.reach("failed")
    assert "failed: deals: not every detail could be fetched" in run.log()
    assert run.returned is None
    assert [status for _, status in copy.runs()[before:]] == ["failed"]

    account.mend()
    run.clear()
    run.reach("success", tried=2)
    assert "ended as failed before this try: asking for another" in run.log(2)
    run.clear()
    run.reach("success", tried=3)
    run.tell("runs of the worker:", copy.runs()[before:])
    assert [status for _, status in copy.runs()[before:]] == ["failed", "completed"]
    assert run.returned["request_id"] == copy.runs()[-1][0]


def test_a_partial_sync_fails_the_task_or_warns(airflow: Airflow, account):
    account.call("faults", {"kind": "forbidden", "endpoint": "deals.info"})
    strict = Run(airflow, "deferred", resources="departments,deals", refetch=True)
    tolerant = Run(airflow, "tolerant", resources="departments,deals", refetch=True)
    strict.reach("failed")
    assert "is partial: deals: not every detail" in strict.log()
    strict.tell()
    assert asset_events(airflow, strict) == []
    tolerant.reach("success")
    assert (tolerant.returned["status"], tolerant.returned["resources"]["deals"]["status"]) == ("partial", "failed")
    assert [table for table, _ in asset_events(airflow, tolerant)] == ["departments"]


def test_the_log_says_that_a_person_has_to_authorize(airflow: Airflow, account):
    account.call("tokens/revoke")
    account.call("tokens/expire")
    run = Run(airflow, "deferred")
    await_("the log says what to do", lambda: "open the worker's /sync/authorize" in run.log())
    # The event of the lost authorization does not come again: one who asks now sees that nobody reads the queue.
    later = Run(airflow, "in_a_slot")
    await_("the log says that nobody reads", lambda: "Nobody reads the queue" in later.log())
    assert (run.task["state"], later.task["state"]) == ("deferred", "running")
    token = {"Authorization": f"Bearer {TOKEN}"}
    urllib.request.urlopen(urllib.request.Request(f"{os.environ['WORKER']}/sync/authorize", headers=token), timeout=30).close()
    run.reach("success")
    later.reach("success")
    run.tell()
    later.tell()


def test_a_mapped_task_is_a_sync_for_each_of_its_instances(airflow: Airflow, copy):
    before = len(copy.runs())
    run = Run(airflow, "mapped")
    await_("the run of the DAG has ended", lambda: airflow.api(run.dag_run)["end_date"])
    assert airflow.api(run.dag_run)["state"] == "success"
    assert [status for _, status in copy.runs()[before:]] == ["completed", "completed"]
    assert sorted(table for table, _ in asset_events(airflow, run)) == ["departments", "teams", "users"]


def test_an_account_that_nobody_serves_is_said_at_once(airflow: Airflow):
    for dag in ("deferred", "in_a_slot"):
        run = Run(airflow, dag, account="nobody")
        run.reach("failed")
        assert "the account nobody has no queue at RabbitMQ" in run.log()


def test_the_connection_has_a_type_and_can_be_tested(airflow: Airflow):
    types = {found["connection_type"]: found for found in airflow.api("/ui/connections/hook_meta")}
    assert list(types["teamleader2db"]["extra_fields"]) == ["account", "prefix", "tls", "ca_file", "worker_url", "api_token"]
    good = airflow.api("/api/v2/connections/test", CONNECTION | {"connection_id": "good"})
    assert good["status"] is True
    assert f"a worker reads it; the worker at {os.environ['WORKER']} takes the token" in good["message"]
    extra = json.dumps(json.loads(CONNECTION["extra"]) | {"api_token": "open-sesame"})
    bad = airflow.api("/api/v2/connections/test", CONNECTION | {"connection_id": "worse", "extra": extra})
    assert (bad["status"], "has to be its HTTP_API_TOKEN" in bad["message"], "open-sesame" in bad["message"]) == (False, True, False)
    bad = airflow.api("/api/v2/connections/test", CONNECTION | {"connection_id": "bad", "password": "open-sesame"})
    assert (bad["status"], "ACCESS_REFUSED" in bad["message"], "open-sesame" in bad["message"]) == (False, True, False)


def test_each_table_is_named_as_the_worker_does(copy):
    rows = copy.ask(
        "select c.relname, pg_get_expr(c.relpartbound, c.oid) from pg_inherits i join pg_class c on c.oid = i.inhrelid "
        "where i.inhparent = 'teamleader.record'::regclass"
    )
    assert len(rows) > 50
    assert {table_name(bound.split("'")[1]): table for table, bound in rows} == {table: table for table, _ in rows}


def test_no_file_of_airflow_has_a_secret(airflow: Airflow):
    files = [path for path in airflow.home.rglob("*") if path.is_file()]
    assert any(path.suffix == ".log" for path in files)
    for secret in (PASSWORD, TOKEN):
        assert [path for path in files if secret.encode() in path.read_bytes()] == []
