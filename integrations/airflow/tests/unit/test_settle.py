"""Which sync a try of a task stands for."""

from __future__ import annotations

import asyncio
import logging

import pytest
from events import final

from teamleader2db_airflow import settle as module
from teamleader2db_airflow.broker import Broker
from teamleader2db_airflow.request import SyncRequest

BEFORE, SINCE, AFTER = "2026-11-22T10:00:00.123456789Z", 1795345200.0, "2026-11-22T12:00:00Z"
"""`SINCE` is 2026-11-22T11:00:00Z."""


@pytest.fixture
def settle(monkeypatch):
    """Calls `settle` with a worker that answers as told, and returns the event and the attempts asked for."""

    def call(answers, *, tries, partial_fails=True):
        asked = []

        async def ask(_broker, _request, attempt, **_):
            asked.append(attempt)
            return answers[attempt]

        monkeypatch.setattr(module, "ask", ask)
        call.asked = []
        event = asyncio.run(
            module.settle(
                Broker("mq", 5672, "me", "secret"),
                SyncRequest(("dag",), {}),
                tries=tries,
                since=SINCE,
                partial_fails=partial_fails,
                deadline=0,
                log=logging.getLogger(),
                asking=call.asked.append,
            )
        )
        return event, asked

    return call


def test_the_first_try_asks_once(settle):
    failed = final("failed", finished_at=AFTER)
    assert settle([failed], tries=1) == (failed, [0])


def test_a_cleared_task_gets_the_event_of_the_sync_that_completed(settle):
    completed = final("completed", finished_at=BEFORE)
    assert settle([completed], tries=2) == (completed, [0])


def test_a_retry_after_a_failure_is_another_sync(settle):
    failed, completed = final("failed", finished_at=BEFORE), final("completed", finished_at=AFTER)
    assert settle([failed, completed], tries=2) == (completed, [0, 1])


def test_a_retry_after_a_cancelled_sync_is_another_sync(settle):
    cancelled, completed = final("cancelled", finished_at=BEFORE), final("completed", finished_at=AFTER)
    assert settle([cancelled, completed], tries=2) == (completed, [0, 1])
    ids = [SyncRequest(("dag",), {}).id(attempt) for attempt in (0, 1)]
    assert settle.asked == ids
    assert ids[0] != ids[1]


def test_a_sync_that_is_cancelled_while_the_task_waits_is_not_asked_for_again(settle):
    cancelled = final("cancelled", finished_at=AFTER)
    assert settle([cancelled], tries=5) == (cancelled, [0])


def test_a_retry_that_joins_a_sync_which_then_fails_has_failed(settle):
    failed = final("failed", finished_at=AFTER)
    assert settle([failed], tries=2) == (failed, [0])


def test_each_failed_attempt_is_passed_over(settle):
    failed, completed = final("failed", finished_at=BEFORE), final("completed", finished_at=BEFORE)
    assert settle([failed, failed, completed], tries=9) == (completed, [0, 1, 2])


def test_a_partial_one_is_passed_over_only_where_it_fails_the_task(settle):
    partial, completed = final("partial", finished_at=BEFORE), final("completed", finished_at=AFTER)
    assert settle([partial, completed], tries=2)[1] == [0, 1]
    assert settle([partial, completed], tries=2, partial_fails=False)[1] == [0]


def test_a_worker_whose_clock_is_behind_is_not_asked_for_ever(settle):
    failed = final("failed", finished_at=BEFORE)
    assert settle([failed, failed, failed], tries=2) == (failed, [0, 1])
