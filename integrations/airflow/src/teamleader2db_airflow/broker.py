"""RabbitMQ as this package sees it: where it is, and under which names the worker listens."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import Any

import aio_pika
from aio_pika.abc import AbstractConnection

CONNECT_TIMEOUT = 15.0
"""Seconds that opening a connection may take."""

HEARTBEAT = 30
"""Seconds after which a connection without a sign of life is dropped; the broker waits for twice as many."""


@dataclass(frozen=True)
class Broker:
    """A virtual host of RabbitMQ, and the worker's names in it. The password shows in no text that is made of it."""

    host: str
    port: int
    login: str
    password: str = field(repr=False)
    vhost: str = "/"
    tls: bool = False
    ca_file: str | None = None
    prefix: str = "teamleader"
    account: str = "default"

    @property
    def requests_exchange(self) -> str:
        """Where requests are published, with the account as routing key."""
        return f"{self.prefix}.requests"

    @property
    def requests_queue(self) -> str:
        """Where the account's requests wait for the worker."""
        return f"{self.prefix}.requests.{self.account}"

    @property
    def events_exchange(self) -> str:
        """Where the worker publishes events."""
        return f"{self.prefix}.events"

    def reply_queue(self, request_id: str) -> str:
        """The queue of one request's answer. It has the same name whoever asks, so that one who comes later finds it."""
        return f"{self.prefix}.airflow.{request_id}"

    def __str__(self) -> str:
        return f"RabbitMQ at {self.host}:{self.port}, virtual host {self.vhost}, as {self.login}"

    async def connect(self) -> AbstractConnection:
        """Opens a connection that does not mend itself: whoever uses it asks again over a new one.

        ValueError says that `ca_file` cannot be used; else it is an AMQPError, OSError or TimeoutError.
        """
        secured: dict[str, Any] = {}
        if self.tls:
            try:
                context = ssl.create_default_context(cafile=self.ca_file)
            except OSError as error:
                raise ValueError(f"ca_file {self.ca_file}: {error}") from None
            secured = {"ssl": True, "ssl_context": context}
        connection: AbstractConnection = await aio_pika.connect(
            host=self.host,
            port=self.port,
            login=self.login,
            password=self.password,
            virtualhost=self.vhost,
            timeout=CONNECT_TIMEOUT,
            heartbeat=HEARTBEAT,
            client_properties={"connection_name": "airflow"},
            **secured,
        )
        return connection
