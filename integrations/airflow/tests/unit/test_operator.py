"""What becomes of a task, given an event."""

from __future__ import annotations

import asyncio
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from airflow.sdk import Asset, AssetAlias
from airflow.sdk.exceptions import AirflowException, AirflowFailException, TaskDeferred
from airflow.sdk.execution_time.context import OutletEventAccessors
from events import final, resource

from teamleader2db_airflow.hook import TeamleaderHook
from teamleader2db_airflow.operator import TeamleaderSyncOperator
from teamleader2db_airflow.request import SyncRequest
from teamleader2db_airflow.trigger import TeamleaderSyncTrigger
from teamleader2db_airflow.worker import Worker

PASSWORD = "hunter2-of-the-broker"
TOKEN = "token-of-the-worker"
WITH_WORKER = {
    "conn_type": "teamleader2db",
    "host": "mq",
    "extra": json.dumps({"account": "acme", "worker_url": "http://worker:8080", "api_token": TOKEN}),
}
COPY = "postgres://db.example.org:5432/copy"


@pytest.fixture(autouse=True)
def _connection(monkeypatch):
    monkeypatch.setenv(
        "AIRFLOW_CONN_TEAMLEADER2DB_DEFAULT",
        f'{{"conn_type": "teamleader2db", "host": "mq", "login": "me", "password": "{PASSWORD}", "extra": {{"account": "acme", "tls": "true"}}}}',
    )


def context(try_number=1):
    ti = SimpleNamespace(
        dag_id="nightly",
        task_id="sync",
        run_id="r1",
        map_index=-1,
        try_number=try_number,
        start_date=datetime.now(UTC),
    )
    return {"ti": ti, "outlet_events": OutletEventAccessors()}


def deferred(task, try_number=1) -> TeamleaderSyncTrigger:
    with pytest.raises(TaskDeferred) as caught:
        task.execute(context(try_number))
    assert caught.value.method_name == "execute_complete"
    return caught.value.trigger


def test_the_hook_reads_the_connection_and_shows_no_password():
    broker = TeamleaderHook().get_conn()
    assert (broker.host, broker.port, broker.vhost, broker.tls) == ("mq", 5671, "/", True)
    assert (broker.prefix, broker.account, broker.password) == ("teamleader", "acme", PASSWORD)
    assert PASSWORD not in repr(broker) + str(broker)


def test_the_connection_can_be_a_uri(monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_OTHER", "teamleader2db://me:p%40ss@mq:5673/%2Fsync?prefix=tl&tls=false")
    broker = TeamleaderHook("other").get_conn()
    assert (broker.password, broker.port, broker.vhost, broker.prefix, broker.tls) == (
        "p@ss",
        5673,
        "/sync",
        "tl",
        False,
    )


def test_the_trigger_is_made_again_from_what_it_stores_and_stores_no_password():
    trigger = deferred(TeamleaderSyncOperator(task_id="sync", deferrable=True, sync_resources=["contacts"]))
    path, stored = trigger.serialize()
    assert path == "teamleader2db_airflow.trigger.TeamleaderSyncTrigger"
    assert TeamleaderSyncTrigger(**stored).serialize() == (path, stored)
    assert PASSWORD not in repr(stored)


def test_a_retry_asks_with_the_same_id_and_another_task_does_not():
    def origin(try_number, **changes):
        trigger = deferred(TeamleaderSyncOperator(**{"task_id": "sync", "deferrable": True, **changes}), try_number)
        return trigger.origin, trigger.parameters

    assert origin(1) == origin(2)
    assert origin(1) != origin(1, salt="again")
    assert origin(1) != origin(1, account="other")
    assert origin(1) != origin(1, mode="full")


def test_what_cannot_be_is_not_tried_again():
    with pytest.raises(AirflowFailException, match="mode is 'ful', and can be"):
        TeamleaderSyncOperator(task_id="sync", mode="ful").execute(context())
    with pytest.raises(ValueError, match="on_partial"):
        TeamleaderSyncOperator(task_id="sync", on_partial="ignore")


def test_a_completed_sync_is_what_the_task_returns():
    event = final("completed", {"users": resource(created=3)})
    assert TeamleaderSyncOperator(task_id="sync").execute_complete(context(), {"event": event}) == event["data"]


def test_a_failed_sync_fails_with_the_reason():
    event = final("failed", error="the API was down for 9 hours")
    with pytest.raises(AirflowException, match="failed: the API was down for 9 hours"):
        TeamleaderSyncOperator(task_id="sync").execute_complete(context(), {"event": event})
    with pytest.raises(AirflowException, match="is away"):
        TeamleaderSyncOperator(task_id="sync").execute_complete(context(), {"error": "the broker is away"})


def test_a_partial_sync_fails_unless_told_otherwise():
    event = final("partial", {"users": resource(), "deals": resource("failed", "403")})
    with pytest.raises(AirflowException, match="is partial: deals: 403"):
        TeamleaderSyncOperator(task_id="sync").execute_complete(context(), {"event": event})
    assert TeamleaderSyncOperator(task_id="sync", on_partial="warn").execute_complete(context(), {"event": event}) == event["data"]


def test_each_table_that_completed_has_an_asset_event():
    task = TeamleaderSyncOperator(task_id="sync", on_partial="warn", asset_database=COPY)
    assert task.outlets == [AssetAlias("teamleader2db")]
    at = context()
    event = final("partial", {"timeTracking": resource(updated=1), "deals": resource("failed", "403")})
    task.execute_complete(at, {"event": event})
    (told,) = at["outlet_events"][AssetAlias("teamleader2db")].asset_alias_events
    assert told.dest_asset_key.uri == f"{COPY}/teamleader/time_tracking"
    assert told.extra["updated"] == 1


def test_an_audit_has_asset_events_only_if_it_repairs():
    for repair, expected in ((False, 0), (True, 1)):
        task = TeamleaderSyncOperator(task_id="sync", mode="audit", repair=repair, asset_database=COPY)
        at = context()
        task.execute_complete(at, {"event": final("completed", {"users": resource()}, mode="audit")})
        assert len(at["outlet_events"][AssetAlias("teamleader2db")].asset_alias_events) == expected


def test_the_time_to_wait_is_counted_from_the_try():
    trigger = deferred(TeamleaderSyncOperator(task_id="sync", deferrable=True, timeout=timedelta(minutes=1)))
    assert trigger.deadline == pytest.approx(datetime.now(UTC).timestamp() + 60, abs=20)


def test_templates_fill_what_is_no_field_of_every_operator():
    task = TeamleaderSyncOperator(task_id="sync", sync_resources="{{ names }}", mode="{{ mode }}")
    task.render_template_fields({"names": "contacts,deals", "mode": "full"})
    assert (task.sync_resources, task.mode) == ("contacts,deals", "full")


def test_a_request_that_is_refused_is_not_tried_again():
    event = final("failed", error="unknown resource", mode=None)
    with pytest.raises(AirflowFailException, match="refused: unknown resource"):
        TeamleaderSyncOperator(task_id="sync").execute_complete(context(), {"event": event})


def killed(monkeypatch, became, **arguments):
    """The exception of a task that is ended from outside, and what `end_sync` was called with."""
    began, called = threading.Event(), []

    async def never(*_, asking, **__):
        asking("id-0")
        asking("id-1")
        began.set()
        await asyncio.Event().wait()

    async def end_sync(_request, request_id, worker, *, cancel, **_):
        called.append((request_id, worker, cancel))
        return became

    monkeypatch.setattr("teamleader2db_airflow.operator.settle", never)
    monkeypatch.setattr("teamleader2db_airflow.operator.end_sync", end_sync)
    task = TeamleaderSyncOperator(task_id="sync", **arguments)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(task.execute, context())
        assert began.wait(30)
        # A signal may come more than once.
        task.on_kill()
        task.on_kill()
        with pytest.raises(AirflowException) as caught:
            waiting.result(timeout=30)
    task.on_kill()
    return str(caught.value), called


def test_a_task_that_is_ended_from_outside_waits_no_more(monkeypatch):
    said, called = killed(monkeypatch, False)
    assert said == "the wait for id-1 was ended from outside; the sync goes on"
    assert called == [("id-1", None, True)]


def test_a_task_that_is_ended_from_outside_cancels_the_sync_that_it_asked_for_last(monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_TEAMLEADER2DB_DEFAULT", json.dumps(WITH_WORKER))
    said, called = killed(monkeypatch, True)
    assert said == "the wait for id-1 was ended from outside; the sync was cancelled"
    assert called == [("id-1", Worker("http://worker:8080", TOKEN), True)]
    assert killed(monkeypatch, False, cancel_on_kill=False)[1] == [("id-1", None, False)]


def test_a_trigger_that_is_killed_cancels_the_sync_that_it_asked_for_last(monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_TEAMLEADER2DB_DEFAULT", json.dumps(WITH_WORKER))
    called, waiting = [], []

    async def settle(*_, asking, **__):
        asking("id-0")
        asking("id-1")
        waiting.append(True)
        await asyncio.Event().wait()

    async def end_sync(request, request_id, worker, *, cancel, **_):
        called.append((request.id(0), request_id, worker, cancel))
        return True

    monkeypatch.setattr("teamleader2db_airflow.trigger.settle", settle)
    monkeypatch.setattr("teamleader2db_airflow.trigger.end_sync", end_sync)

    async def kill(trigger, *, at_once=False):
        running = asyncio.ensure_future(anext(trigger.run()))
        if not at_once:
            async with asyncio.timeout(30):
                while not waiting:  # noqa: ASYNC110
                    await asyncio.sleep(0)
        waiting.clear()
        running.cancel("why")
        with pytest.raises(asyncio.CancelledError, match="why"):
            await running
        await trigger.on_kill()

    trigger = deferred(TeamleaderSyncOperator(task_id="sync", deferrable=True))
    asyncio.run(kill(trigger))
    first = SyncRequest(tuple(trigger.origin), trigger.parameters).id(0)
    assert called == [(first, "id-1", Worker("http://worker:8080", TOKEN), True)]
    called.clear()
    asyncio.run(kill(deferred(TeamleaderSyncOperator(task_id="sync", deferrable=True, cancel_on_kill=False))))
    assert [(worker, cancel) for _, _, worker, cancel in called] == [(None, False)]
    called.clear()
    asyncio.run(kill(deferred(TeamleaderSyncOperator(task_id="sync", deferrable=True)), at_once=True))
    assert called == []


def test_the_worker_of_a_connection_is_that_of_its_account(monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_TEAMLEADER2DB_DEFAULT", json.dumps(WITH_WORKER))
    mine = Worker("http://worker:8080", TOKEN)
    assert TeamleaderHook().get_worker() == TeamleaderHook(account="acme").get_worker() == mine
    assert TeamleaderHook(account="other").get_worker() is None
    assert TeamleaderHook(prefix="other").get_worker() is None
    assert TeamleaderHook(account="other").get_worker("https://other") == Worker("https://other", TOKEN)
    monkeypatch.setenv("AIRFLOW_CONN_TEAMLEADER2DB_DEFAULT", json.dumps(WITH_WORKER | {"extra": "{}"}))
    assert TeamleaderHook().get_worker() is None


def test_a_worker_url_that_cannot_be_fails_the_task_for_good():
    for deferrable in (True, False):
        with pytest.raises(AirflowFailException, match="worker_url is 'worker'"):
            TeamleaderSyncOperator(task_id="sync", worker_url="worker", deferrable=deferrable).execute(context())


@pytest.mark.parametrize("mode", ["incremental", None])
def test_a_cancelled_sync_fails_and_says_so(mode):
    """Without a mode where the request was cancelled in the queue."""
    event = final("cancelled", mode=mode)
    for on_partial in ("fail", "warn"):
        with pytest.raises(AirflowException, match="was cancelled; rows that it had written stay") as caught:
            TeamleaderSyncOperator(task_id="sync", on_partial=on_partial).execute_complete(context(), {"event": event})
        assert not isinstance(caught.value, AirflowFailException)


def test_the_outlets_of_the_dag_stay():
    mine = Asset("mine")
    task = TeamleaderSyncOperator(task_id="sync", asset_database=COPY, outlets=[mine])
    assert task.outlets == [mine, AssetAlias("teamleader2db")]


@pytest.mark.parametrize("extra", ['{"tls": "required"}', '{"ca_file": "/ca.pem"}'])
def test_a_connection_that_may_mean_tls_is_not_used_without(monkeypatch, extra):
    monkeypatch.setenv("AIRFLOW_CONN_TEAMLEADER2DB_DEFAULT", json.dumps({"conn_type": "teamleader2db", "host": "mq", "extra": extra}))
    with pytest.raises(AirflowFailException, match="tls"):
        TeamleaderSyncOperator(task_id="sync").execute(context())
