"""What becomes of a sync when its task is ended from outside."""

from __future__ import annotations

import asyncio
import logging
import time

import pytest
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

from teamleader2db_airflow import kill as module
from teamleader2db_airflow.kill import end_sync
from teamleader2db_airflow.request import SyncRequest
from teamleader2db_airflow.worker import WorkerError


class Worker:
    """A worker that notes what it cancels."""

    def __init__(self, error=None):
        self.cancelled, self.error = [], error

    async def cancel(self, request_id):
        """Notes it, or refuses."""
        self.cancelled.append(request_id)
        if self.error:
            raise WorkerError(self.error)


def ends(monkeypatch, state, *, worker=None, cancel=True, index="-1"):
    """Whether the sync is cancelled of a task instance of this state."""

    def get_task_states(*, dag_id, task_ids, run_ids, map_index):
        assert (dag_id, task_ids, run_ids, map_index) == ("nightly", ["sync"], ["r1"], int(index))
        if isinstance(state, Exception):
            raise state
        return {"r1": {"sync" if index == "-1" else f"sync_{index}": state}} if state != "deleted" else {}

    monkeypatch.setattr(RuntimeTaskInstance, "get_task_states", staticmethod(get_task_states))
    request = SyncRequest(("nightly", "sync", "r1", index, "default", ""), {"mode": "full"})
    return asyncio.run(end_sync(request, "the-id", worker, cancel=cancel, log=logging.getLogger("test")))


@pytest.fixture(autouse=True)
def _log(caplog):
    caplog.set_level(logging.INFO)


@pytest.mark.parametrize("state", ["failed", "success", "skipped"])
@pytest.mark.parametrize("index", ["-1", "3"])
def test_the_sync_of_a_task_that_somebody_ended_is_cancelled(monkeypatch, caplog, state, index):
    worker = Worker()
    assert ends(monkeypatch, state, worker=worker, index=index)
    assert worker.cancelled == ["the-id"]
    assert f"The task instance is {state}: the sync the-id was cancelled" in caplog.text


@pytest.mark.parametrize("state", ["running", "restarting", "deferred", "scheduled", "up_for_retry", None, "deleted"])
def test_the_sync_of_a_task_that_goes_on_is_not(monkeypatch, caplog, state):
    worker = Worker()
    assert not ends(monkeypatch, state, worker=worker)
    assert worker.cancelled == []
    assert "the next try waits for it" in caplog.text


def test_where_the_state_is_not_known_nothing_is_cancelled(monkeypatch, caplog):
    worker = Worker()
    assert not ends(monkeypatch, RuntimeError("no API server"), worker=worker)
    assert worker.cancelled == []
    assert "not known (RuntimeError('no API server')); `teamleader2db cancel the-id` ends it" in caplog.text


def test_an_api_server_that_does_not_answer_is_not_waited_for(monkeypatch, caplog):
    monkeypatch.setattr(module, "STATE_TIMEOUT", 0.05)
    monkeypatch.setattr(module, "_state", lambda _: time.sleep(0.2))
    log = logging.getLogger("test")
    assert not asyncio.run(end_sync(SyncRequest((), {}), "the-id", Worker(), cancel=True, log=log))
    assert "TimeoutError" in caplog.text


def test_who_does_not_want_it_is_not_served(monkeypatch, caplog):
    worker = Worker()
    assert not ends(monkeypatch, "failed", worker=worker, cancel=False)
    assert worker.cancelled == []
    assert "cancel_on_kill is off; `teamleader2db cancel the-id` ends it" in caplog.text


def test_without_the_workers_address_the_log_says_how(monkeypatch, caplog):
    assert not ends(monkeypatch, "failed")
    assert "neither the task nor its connection has a worker_url; `teamleader2db cancel the-id` ends it" in caplog.text


def test_a_worker_that_refuses_is_a_warning(monkeypatch, caplog):
    assert not ends(monkeypatch, "failed", worker=Worker("the worker at http://w answers 409: it has ended"))
    assert "The sync the-id may go on: the worker at http://w answers 409: it has ended" in caplog.text
