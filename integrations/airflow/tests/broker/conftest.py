"""A RabbitMQ (AMQP_URL), and a worker that answers as the test says."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import ssl
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import unquote, urlsplit

import aio_pika
import pytest

from teamleader2db_airflow.broker import Broker
from teamleader2db_airflow.request import SyncRequest


class Worker:
    """The worker's exchanges and the account's queue, and what it was asked."""

    def __init__(self, broker: Broker, channel: aio_pika.abc.AbstractChannel) -> None:
        self.broker, self.channel = broker, channel

    async def declare(self) -> None:
        """What the worker declares when it starts."""
        self.requests = await self.channel.declare_exchange(self.broker.requests_exchange, "direct")
        self.events = await self.channel.declare_exchange(self.broker.events_exchange, "topic")
        self.queue = await self.channel.declare_queue(self.broker.requests_queue)
        await self.queue.bind(self.requests, self.broker.account)

    async def next(self) -> aio_pika.abc.AbstractIncomingMessage:
        """The next request."""
        async with asyncio.timeout(20):
            async with self.queue.iterator(no_ack=True) as requests:
                async for request in requests:
                    return request
        raise AssertionError("no request came")

    async def answer(self, request: aio_pika.abc.AbstractIncomingMessage, event: dict[str, Any]) -> None:
        """Sends the event to whoever asked."""
        message = aio_pika.Message(json.dumps(event).encode(), correlation_id=request.correlation_id)
        await self.channel.default_exchange.publish(message, routing_key=request.reply_to or "")

    async def tell(self, key: str, event: dict[str, Any]) -> None:
        """Sends the event to all."""
        await self.events.publish(aio_pika.Message(json.dumps(event).encode()), routing_key=key)


@pytest.fixture
def broker() -> Broker:
    """Names of its own in the broker of AMQP_URL."""
    url = urlsplit(os.environ["AMQP_URL"])
    return Broker(
        host=url.hostname or "",
        port=url.port or 5672,
        login=unquote(url.username or ""),
        password=unquote(url.password or ""),
        vhost=unquote(url.path[1:]) or "/",
        prefix=f"airflow_{uuid.uuid4().hex[:8]}",
    )


@pytest.fixture
def request_() -> SyncRequest:
    """Some request."""
    return SyncRequest(("dag", "task", uuid.uuid4().hex), {"mode": "full", "resources": ["contacts"]})


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> logging.Logger:
    """What `caplog` catches."""
    caplog.set_level(logging.INFO)
    return logging.getLogger("test")


@asynccontextmanager
async def worker(broker: Broker) -> AsyncIterator[Worker]:
    """A worker for as long as the block lasts."""
    async with await broker.connect() as connection:
        played = Worker(broker, await connection.channel())
        await played.declare()
        try:
            yield played
        finally:
            await played.channel.exchange_delete(broker.events_exchange)
            await played.queue.delete(if_unused=False, if_empty=False)
            await played.requests.delete()


class Cable:
    """A way to the broker that can be cut, or wrapped in TLS."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.port = 0
        self.writers: list[asyncio.StreamWriter] = []

    def cut(self) -> None:
        """Breaks all connections, without a goodbye."""
        for writer in self.writers:
            # One of TLS that is closing already may have nothing left to abort, and fails.
            if not writer.is_closing():
                writer.transport.abort()
        self.writers.clear()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(65536):
                writer.write(chunk)
        writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inward, outward = await asyncio.open_connection(self.broker.host, self.broker.port)
        self.writers += writer, outward
        await asyncio.gather(self._pump(reader, outward), self._pump(inward, writer))


@asynccontextmanager
async def cable(broker: Broker, context: ssl.SSLContext | None = None) -> AsyncIterator[Cable]:
    """A cable for as long as the block lasts."""
    way = Cable(broker)
    server = await asyncio.start_server(way._serve, "127.0.0.1", 0, ssl=context)
    way.port = server.sockets[0].getsockname()[1]
    try:
        yield way
    finally:
        server.close()
        way.cut()


def other_login(broker: Broker, password: str) -> Broker:
    """The same with another password."""
    return replace(broker, password=password)
