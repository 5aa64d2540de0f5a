"""The connection to the broker of a teamleader2db worker."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import aiormq
from airflow.sdk import BaseHook

from teamleader2db_airflow.broker import Broker
from teamleader2db_airflow.request import truth

if TYPE_CHECKING:
    from airflow.sdk import Connection


class TeamleaderHook(BaseHook):
    """Reads a connection of type `teamleader2db`.

    Host, port, login and password are those of RabbitMQ, the schema is the virtual host (`/` if it is empty). The extra has `account`
    and `prefix` (of the worker: `TEAMLEADER_ACCOUNT` and `AMQP_PREFIX`), `tls` and `ca_file`.
    """

    conn_name_attr = "teamleader2db_conn_id"
    default_conn_name = "teamleader2db_default"
    conn_type = "teamleader2db"
    hook_name = "teamleader2db"

    def __init__(self, teamleader2db_conn_id: str = default_conn_name, account: str | None = None, prefix: str | None = None) -> None:
        super().__init__()
        self.conn_id = teamleader2db_conn_id
        self.account = account
        self.prefix = prefix

    def get_conn(self) -> Broker:
        """Where the broker is; nothing is connected yet."""
        return self._broker(self.get_connection(self.conn_id))

    async def aget_conn(self) -> Broker:
        """The same for triggers, whose event loop must not be held up."""
        return self._broker(await self.aget_connection(self.conn_id))

    def test_connection(self) -> tuple[bool, str]:
        """Logs in, and looks whether the account has a queue. Returns whether it does, and a sentence on it."""
        try:
            broker = self.get_conn()
        except ValueError as error:
            return False, str(error)
        try:
            return asyncio.run(_look(broker))
        except aiormq.exceptions.ChannelNotFoundEntity:
            return (
                False,
                f"there is no queue {broker.requests_queue}: no worker of the account {broker.account} has ever started, or the names are wrong",
            )
        except (TimeoutError, aiormq.exceptions.AMQPError, OSError, ValueError) as error:
            return False, f"{broker}: {type(error).__name__}: {error}"

    def _broker(self, connection: Connection) -> Broker:
        extra: dict[str, Any] = connection.extra_dejson
        # What is neither yes nor no must not mean that the password goes out in the clear.
        tls = truth("tls of the connection", extra.get("tls") or False)
        if extra.get("ca_file") and not tls:
            raise ValueError("the connection has a ca_file, and no tls")
        return Broker(
            host=connection.host or "localhost",
            port=connection.port or (5671 if tls else 5672),
            login=connection.login or "guest",
            password=connection.password or "guest",
            vhost=connection.schema or "/",
            tls=tls,
            ca_file=extra.get("ca_file") or None,
            prefix=self.prefix or extra.get("prefix") or "teamleader",
            account=self.account or extra.get("account") or "default",
        )


async def _look(broker: Broker) -> tuple[bool, str]:
    async with await broker.connect() as connection, connection.channel() as channel:
        queue = await channel.declare_queue(broker.requests_queue, passive=True)
        found = queue.declaration_result
        if not found.consumer_count:
            return (
                True,
                f"{queue.name} has {found.message_count} requests, and nobody reads it: no worker runs, or the account is not authorized",
            )
        return True, f"{queue.name} has {found.message_count} requests, and a worker reads it"
