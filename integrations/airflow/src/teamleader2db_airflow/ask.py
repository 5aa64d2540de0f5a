"""Asking for a sync over RabbitMQ, and waiting for its final event: the same for the operator and the trigger.

All of it can be interrupted at any moment and done anew: the request has the same id, so the worker joins its run or sends its event
again.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import time
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, TypeAlias

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage
from aiormq.exceptions import (
    AMQPError,
    AuthenticationError,
    ChannelAccessRefused,
    ChannelInvalidStateError,
    ChannelLockedResource,
    ChannelNotFoundEntity,
    ConnectionNotAllowed,
    ProbableAuthenticationError,
    PublishError,
)
from airflow.sdk import timezone

from teamleader2db_airflow import wording
from teamleader2db_airflow.broker import Broker
from teamleader2db_airflow.request import SyncRequest

if TYPE_CHECKING:
    from airflow.sdk.types import Logger

Event: TypeAlias = dict[str, Any]
"""A CloudEvent of the worker."""

FINAL = tuple(f"teamleader2db.sync.{status}" for status in ("completed", "partial", "failed", "cancelled"))

ANSWER_TIMEOUT = 20.0
"""Seconds that the broker may take for anything."""

PATIENCE = 300.0
"""Seconds without the broker after which a wait is given up. Airflow's retries go on from there."""

DELAYS = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0)
"""Seconds between attempts to reach the broker; the last one again and again."""

LAST_WORD = 1.0
"""Seconds after a `cancelled` event in which another final event of the same run may follow. A failover of the database
can lose a cancellation whose event is out already: the last event by `finished_at` counts.
"""

TAKEN_DELAY = 2.0
"""Seconds between looks whether another process that waits for the same answer is gone."""

QUIET = 15.0
"""Seconds without a word from the worker after which the queues are looked at."""

REPLY_EXPIRES = 3_600_000
"""Milliseconds that the queue of an answer stays with nobody reading it. An answer that goes with it comes again when it is asked for."""


class NoAnswerError(Exception):
    """The request could not be sent, or no answer came. The text says what to do, and holds no secret."""


class _BrokenError(Exception):
    """The conversation broke off, and may work the next time."""


class _TakenError(Exception):
    """Another process reads the queue of the answer."""


async def ask(broker: Broker, request: SyncRequest, attempt: int, *, deadline: float, log: Logger, traceparent: str | None) -> Event:
    """Publishes the request, and returns its final event.

    `deadline` is a Unix time. Connections that break are made anew, until the broker has been away for `PATIENCE`. NoAnswerError where it is
    of no use, or the deadline has passed: the sync itself goes on, whatever becomes of the one who waits.
    """
    away_since: float | None = None
    asked = False
    tries = 0
    taken = False
    while True:
        conversation = _Conversation(broker, request, attempt, log, traceparent)
        began = time.monotonic()
        try:
            return await asyncio.wait_for(conversation.run(), timeout=max(0.0, deadline - time.time()))
        except TimeoutError:
            if not (asked or conversation.asked):
                raise NoAnswerError(f"the request {request.id(attempt)} could not be sent to {broker} in time") from None
            raise NoAnswerError(
                f"the request {request.id(attempt)} was not answered in time. It is still worked on: a retry of this task waits for the same "
                "sync. If nothing moves, ask `teamleader2db doctor` and `teamleader2db status`"
            ) from None
        except _TakenError:
            # It ends: with the answer, which then comes again for us, or when the broker misses its heartbeat.
            if not taken:
                log.info("Another process still waits for the answer of %s: waiting until it is gone", request.id(attempt))
            taken, away_since = True, None
            await asyncio.sleep(TAKEN_DELAY)
        except _BrokenError as broken:
            now = time.monotonic()
            asked |= conversation.asked
            if conversation.asked or away_since is None:
                away_since = now
            if now - began > PATIENCE:
                tries = 0
            delay = DELAYS[min(tries, len(DELAYS) - 1)]
            tries += 1
            if now + delay > away_since + PATIENCE:
                raise NoAnswerError(f"{broker} is away: {broken}") from None
            log.warning("%s; trying again in %s s: %s", broker, delay, broken)
            await asyncio.sleep(delay)


class _Conversation:
    """One connection: the request goes out, the answer comes in."""

    def __init__(self, broker: Broker, request: SyncRequest, attempt: int, log: Logger, traceparent: str | None) -> None:
        self.broker = broker
        self.request = request
        self.attempt = attempt
        self.id = request.id(attempt)
        self.final_ids = request.final_ids(broker.account, attempt)
        self.log = log
        self.traceparent = traceparent
        self.asked = False
        self.unread = False
        self.inbox: asyncio.Queue[Event | None] = asyncio.Queue()

    async def run(self) -> Event:
        """The final event. _BrokenError if it broke off, _TakenError if it is another's, NoAnswerError if it cannot be had."""
        try:
            connection = await self.broker.connect()
        except (AuthenticationError, ProbableAuthenticationError, ConnectionNotAllowed) as error:
            raise NoAnswerError(f"{self.broker}: the broker refuses the login: {error}") from None
        except ValueError as error:
            raise NoAnswerError(f"{self.broker}: {error}") from None
        except Exception as error:
            if isinstance(error.__cause__, ssl.SSLCertVerificationError):
                raise NoAnswerError(f"{self.broker}: {error}") from None
            # Whatever stands between: a name that is not known yet, TLS, a proxy. None of these has the password in its text.
            raise _BrokenError(_say(error)) from None
        try:
            return await self._talk(connection)
        except (NoAnswerError, _BrokenError, _TakenError):
            raise
        except ChannelAccessRefused as error:
            if "in exclusive use" in str(error):
                raise _TakenError from None
            raise NoAnswerError(f"{self.broker}: {error}: see the rights that the README names") from None
        except ChannelLockedResource:
            raise _TakenError from None
        except (TimeoutError, AMQPError, ChannelInvalidStateError, OSError) as error:
            raise _BrokenError(_say(error)) from None
        finally:
            await _quietly(connection.close())

    async def _talk(self, connection: AbstractConnection) -> Event:
        connection.close_callbacks.add(lambda *_: self.inbox.put_nowait(None))
        await self._follow(connection)
        channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        replies = await channel.declare_queue(
            self.broker.reply_queue(self.id),
            durable=True,
            arguments={"x-expires": REPLY_EXPIRES},
            timeout=ANSWER_TIMEOUT,
        )
        # Alone, so that no forgotten process takes the answer away; and before the request goes out, so that what it brings is ours.
        await replies.consume(self._hear, no_ack=True, exclusive=True, timeout=ANSWER_TIMEOUT)
        await self._publish(channel)
        self.asked = True
        while True:
            try:
                event = await asyncio.wait_for(self.inbox.get(), timeout=QUIET)
            except TimeoutError:
                await self._look(connection)
                continue
            if event is None:
                raise _BrokenError("the connection was lost")
            if event["type"] in FINAL:
                event = await self._last_word(event)
                # With its consumer, in one step: another process may wait for the queue to be free.
                await _quietly(replies.delete(if_unused=False, if_empty=False, timeout=ANSWER_TIMEOUT))
                return event
            try:
                self._tell(event)
            except (AttributeError, KeyError, TypeError) as error:
                # What is only shown must not end the wait.
                self.log.warning("An event of the type %s cannot be shown: %r", event["type"], error)

    async def _last_word(self, event: Event) -> Event:
        """The final event itself, or after `cancelled` one that ended later."""
        until = time.monotonic() + LAST_WORD
        while event["type"].endswith(".cancelled") and (left := until - time.monotonic()) > 0:
            try:
                other = await asyncio.wait_for(self.inbox.get(), timeout=left)
            except TimeoutError:
                break
            if other is None:
                break
            if other["type"] in FINAL and _ended(other) >= _ended(event):
                event = other
        return event

    async def _publish(self, channel: AbstractChannel) -> None:
        exchange = await channel.get_exchange(self.broker.requests_exchange, ensure=False)
        message = aio_pika.Message(
            self.request.body(self.attempt),
            content_type="application/json",
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            message_id=self.id,
            correlation_id=self.request.correlation_id,
            reply_to=self.broker.reply_queue(self.id),
            app_id="airflow",
            headers={"traceparent": self.traceparent} if self.traceparent else {},
        )
        try:
            await exchange.publish(message, routing_key=self.broker.account, mandatory=True, timeout=ANSWER_TIMEOUT)
        except (PublishError, ChannelNotFoundEntity):
            raise NoAnswerError(
                f"the account {self.broker.account} has no queue at {self.broker}, exchange {self.broker.requests_exchange}: no worker of "
                "it has ever started, or the account or the prefix is wrong"
            ) from None
        self.log.info("The request %s is in the queue %s", self.id, self.broker.requests_queue)

    async def _follow(self, connection: AbstractConnection) -> None:
        """Listens to how the run goes on, if the broker's user may. A final event comes as the reply, and `cancelled`
        by this as well.
        """
        channel = await connection.channel(publisher_confirms=False)
        account = self.broker.account
        try:
            queue = await channel.declare_queue(exclusive=True, auto_delete=True, timeout=ANSWER_TIMEOUT)
            # A request that is cancelled in the queue is answered only when a worker reads it: the event is sooner.
            about = (f"sync.{account}.{word}" for word in ("started", "progress", "cancelled"))
            for key in (*about, f"authorization.{account}.required"):
                await queue.bind(self.broker.events_exchange, key, timeout=ANSWER_TIMEOUT)
            await queue.consume(self._hear, no_ack=True, timeout=ANSWER_TIMEOUT)
        except (ChannelAccessRefused, ChannelNotFoundEntity) as error:
            self.log.info("No progress will be shown: %s", error)

    async def _hear(self, message: AbstractIncomingMessage) -> None:
        try:
            event = json.loads(message.body)
            event_id, about, kind = event["id"], event["subject"], event["type"]
        except (ValueError, KeyError, TypeError):
            self.log.warning("A message that is no event came, and is ignored")
            return
        # Another sender who knows the id of the request can have a message refused in its name: the id of a final event says whose it is.
        mine = event_id in self.final_ids if kind in FINAL else about == self.id
        if mine or kind == "teamleader2db.authorization.required":
            self.inbox.put_nowait(event)

    def _tell(self, event: Event) -> None:
        kind, data = event["type"].rpartition(".")[2], event["data"]
        if kind == "required":
            self.log.warning(
                "The account %s is not authorized (%s). The request waits in the queue: open the worker's /sync/authorize in a browser, and it goes on "
                "by itself",
                self.broker.account,
                data.get("reason"),
            )
        else:
            self.log.info("The sync %s: %s", "has begun" if kind == "started" else "goes on", wording.progress(data))

    async def _look(self, connection: AbstractConnection) -> None:
        """Nothing was heard for a while. Is the queue of the answer still ours, and does anybody read the requests?"""
        async with connection.channel() as channel:
            replies = await channel.declare_queue(self.broker.reply_queue(self.id), passive=True, timeout=ANSWER_TIMEOUT)
            if not replies.declaration_result.consumer_count:
                raise _BrokenError("the queue of the answer was lost")
            requests = await channel.declare_queue(self.broker.requests_queue, passive=True, timeout=ANSWER_TIMEOUT)
        unread = not requests.declaration_result.consumer_count
        if unread and not self.unread:
            self.log.warning(
                "Nobody reads the queue %s: no worker of the account runs, or it waits for a person to open its /sync/authorize. `teamleader2db doctor` tells which",
                requests.name,
            )
        self.unread = unread


def _ended(event: Event) -> float:
    """When its run ended, as a Unix time."""
    ended = event["data"].get("finished_at")
    return timezone.parse(ended).timestamp() if ended else 0.0


def _say(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


async def _quietly(ending: Awaitable[Any]) -> None:
    """What ends a conversation may fail: then the broker ends it by itself."""
    with contextlib.suppress(Exception):
        await asyncio.wait_for(ending, timeout=ANSWER_TIMEOUT)
