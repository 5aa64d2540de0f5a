"""A conversation over a real RabbitMQ, with a worker that answers as told."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace
from uuid import uuid5

import aio_pika
import pytest
from aiormq.exceptions import ChannelNotFoundEntity
from conftest import cable, other_login, worker

from teamleader2db_airflow import ask as module
from teamleader2db_airflow.ask import NoAnswerError, ask
from teamleader2db_airflow.request import EVENTS


def completed(request):
    """The final event of the request's run."""
    event = str(uuid5(EVENTS, f"default/{request.id(0)}/final"))
    return {"id": event, "type": "teamleader2db.sync.completed", "subject": request.id(0), "data": {"status": "completed"}}


def ended(request, status, minute):
    """The final event of a run that ended in that minute."""
    data = {"status": status, "finished_at": f"2026-11-22T10:0{minute}:00.123456789Z"}
    return completed(request) | {"type": f"teamleader2db.sync.{status}", "data": data}


def asking(broker, request, log, *, seconds=30.0, traceparent=None):
    return asyncio.create_task(ask(broker, request, 0, deadline=time.time() + seconds, log=log, traceparent=traceparent))


async def until(condition):
    """Waits for what is about to become true."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def exists(broker, queue):
    async with await broker.connect() as connection, connection.channel() as channel:
        try:
            await channel.declare_queue(queue, passive=True)
        except ChannelNotFoundEntity:
            return False
        return True


def test_the_request_is_kept_by_the_broker_and_the_answer_is_returned(broker, request_, log):
    async def story():
        async with worker(broker) as it:
            asked = asking(broker, request_, log, traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
            request = await it.next()
            assert request.delivery_mode == aio_pika.DeliveryMode.PERSISTENT
            assert request.message_id == request_.id(0)
            assert request.correlation_id == request_.correlation_id
            assert json.loads(request.body) == {"request_id": request_.id(0), "mode": "full", "resources": ["contacts"]}
            assert request.headers["traceparent"].endswith("-01")
            assert await exists(broker, request.reply_to)
            event = completed(request_)
            await it.answer(request, event)
            assert await asked == event
            assert not await exists(broker, request.reply_to)

    asyncio.run(story())


def test_how_it_goes_on_stands_in_the_log_but_nothing_of_others(broker, request_, log, caplog):
    async def story():
        async with worker(broker) as it:
            asked = asking(broker, request_, log)
            request = await it.next()
            data = {"resources": {}, "api_requests": 3}
            for subject, requests in ((request_.id(0), 3), ("another", 4)):
                await it.tell(
                    "sync.default.progress",
                    {"id": "1", "type": "teamleader2db.sync.progress", "subject": subject, "data": data | {"api_requests": requests}},
                )
            await it.tell(
                "authorization.default.required",
                {"id": "2", "type": "teamleader2db.authorization.required", "subject": "default", "data": {"reason": "invalid token"}},
            )
            await it.tell(
                "sync.default.progress", {"id": "3", "type": "teamleader2db.sync.progress", "subject": request_.id(0), "data": None}
            )
            await until(lambda: "/sync/authorize" in caplog.text and "cannot be shown" in caplog.text)
            await it.answer(request, completed(request_))
            await asked

    asyncio.run(story())
    assert "The sync goes on: 0 of 0 resources done, 3 requests" in caplog.text
    assert "4 requests" not in caplog.text
    assert "not authorized (invalid token)" in caplog.text


def test_a_request_that_is_cancelled_in_the_queue_ends_the_wait(broker, request_, log, monkeypatch):
    monkeypatch.setattr(module, "LAST_WORD", 0.1)

    async def story():
        async with worker(broker) as it:
            asked = asking(broker, request_, log)
            request = await it.next()
            # No worker has read the request: its event has no reply.
            event = ended(request_, "cancelled", 1)
            await it.tell("sync.default.cancelled", event | {"id": "of another run"})
            await it.tell("sync.default.cancelled", event)
            assert await asked == event
            assert not await exists(broker, request.reply_to)

    asyncio.run(story())


@pytest.mark.parametrize(("other", "minute", "counts"), [("completed", 2, "completed"), ("completed", 0, "cancelled")])
def test_the_last_event_counts_where_a_cancellation_was_lost(broker, request_, log, other, minute, counts):
    async def story():
        async with worker(broker) as it:
            asked = asking(broker, request_, log)
            request = await it.next()
            await it.answer(request, ended(request_, "cancelled", 1))
            await it.answer(request, ended(request_, other, minute))
            assert (await asked)["data"]["status"] == counts

    asyncio.run(story())


def test_one_who_comes_after_a_lost_one_asks_again_with_the_same_id(broker, request_, log):
    async def story():
        async with worker(broker) as it:
            lost = asking(broker, request_, log)
            first = await it.next()
            lost.cancel()
            await asyncio.wait([lost])
            # The answer comes while nobody is there, and stays.
            await it.answer(first, completed(request_))
            assert (await asking(broker, request_, log))["type"] == "teamleader2db.sync.completed"
            second = await it.next()
            assert (second.body, second.reply_to, second.correlation_id) == (first.body, first.reply_to, first.correlation_id)

    asyncio.run(story())


def test_an_event_that_answers_somebody_elses_message_ends_nothing(broker, request_, log):
    async def story():
        async with worker(broker) as it:
            asked = asking(broker, request_, log)
            request = await it.next()
            # Somebody who knows the id has had a message refused, with this task's queue as the address of the reply.
            forged = uuid5(EVENTS, f"default/{request_.id(0)}/refused/{uuid5(EVENTS, 'default/no JSON')}")
            await it.answer(request, completed(request_) | {"id": str(forged), "type": "teamleader2db.sync.failed"})
            await it.answer(request, completed(request_))
            assert (await asked)["type"] == "teamleader2db.sync.completed"

    asyncio.run(story())


def test_two_who_wait_for_the_same_answer_both_get_it(broker, request_, log, caplog):
    async def story():
        async with worker(broker) as it:
            one = asking(broker, request_, log)
            request = await it.next()
            other = asking(broker, request_, log)
            await until(lambda: "Another process still waits" in caplog.text)
            await it.answer(request, completed(request_))
            assert (await one)["subject"] == request_.id(0)
            await it.answer(await it.next(), completed(request_))
            assert (await other)["subject"] == request_.id(0)

    asyncio.run(story())


def test_a_queue_that_is_gone_is_made_again(broker, request_, log, monkeypatch):
    monkeypatch.setattr(module, "QUIET", 0.2)

    async def story():
        async with worker(broker) as it:
            asked = asking(broker, request_, log)
            request = await it.next()
            await it.channel.queue_delete(request.reply_to)
            again = await it.next()
            assert again.body == request.body
            await it.answer(again, completed(request_))
            await asked

    asyncio.run(story())


def test_a_connection_that_breaks_is_made_anew_and_asks_again(broker, request_, log, caplog):
    async def story():
        async with worker(broker) as it, cable(broker) as way:
            asked = asking(replace(broker, port=way.port), request_, log)
            request = await it.next()
            way.cut()
            again = await it.next()
            assert (again.body, again.reply_to) == (request.body, request.reply_to)
            await it.answer(again, completed(request_))
            await asked

    asyncio.run(story())
    assert "trying again in 0.5 s" in caplog.text


def test_one_who_may_not_listen_to_events_gets_the_answer_all_the_same(broker, request_, log, caplog):
    async def story():
        async with worker(broker) as it:
            await it.channel.exchange_delete(broker.events_exchange)
            asked = asking(broker, request_, log)
            await it.answer(await it.next(), completed(request_))
            await asked

    asyncio.run(story())
    assert "No progress will be shown" in caplog.text


def test_where_nobody_reads_the_requests_the_log_says_so_once(broker, request_, log, caplog, monkeypatch):
    monkeypatch.setattr(module, "QUIET", 0.1)

    async def story():
        async with worker(broker):
            with pytest.raises(NoAnswerError, match="was not answered in time"):
                await asking(broker, request_, log, seconds=2)

    asyncio.run(story())
    assert caplog.text.count("Nobody reads the queue") == 1


def test_an_account_without_a_queue_is_an_error_at_once(broker, request_, log):
    async def story():
        with pytest.raises(NoAnswerError, match="no worker of it has ever started"):
            await asking(broker, request_, log)
        async with worker(broker) as it:
            await it.queue.unbind(broker.requests_exchange, broker.account)
            with pytest.raises(NoAnswerError, match="the account default has no queue"):
                await asking(broker, request_, log)

    asyncio.run(story())


def test_a_refused_login_is_an_error_at_once_and_tells_no_password(broker, request_, log, caplog):
    with pytest.raises(NoAnswerError, match="refuses the login") as caught:
        asyncio.run(ask(other_login(broker, "open-sesame"), request_, 0, deadline=time.time() + 30, log=log, traceparent=None))
    assert "open-sesame" not in str(caught.value) + caplog.text


def test_a_broker_that_is_away_is_waited_for_but_not_for_ever(broker, request_, log, caplog, monkeypatch):
    monkeypatch.setattr(module, "PATIENCE", 0.5)
    monkeypatch.setattr(module, "DELAYS", (0.1,))
    away = type(broker)("127.0.0.1", 9, broker.login, "open-sesame")
    with pytest.raises(NoAnswerError, match=r"RabbitMQ at 127\.0\.0\.1:9.* is away"):
        asyncio.run(ask(away, request_, 0, deadline=time.time() + 30, log=log, traceparent=None))
    assert "trying again in 0.1 s" in caplog.text
    assert "open-sesame" not in caplog.text
