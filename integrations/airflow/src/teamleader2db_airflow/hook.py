"""The connection to the broker of a teamleader2db worker."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import aiormq
from airflow.sdk import BaseHook

from teamleader2db_airflow.broker import Broker
from teamleader2db_airflow.request import truth
from teamleader2db_airflow.worker import Worker, WorkerError

if TYPE_CHECKING:
    from airflow.sdk import Connection


class TeamleaderHook(BaseHook):
    """Reads a connection of type `teamleader2db`.

    Host, port, login and password are those of RabbitMQ, the schema is the virtual host (`/` if it is empty). The extra has `account`
    and `prefix` (of the worker: `TEAMLEADER_ACCOUNT` and `AMQP_PREFIX`), `tls` and `ca_file`; and, to cancel
    syncs over HTTP, `worker_url` and `api_token` (`HTTP_API_TOKEN` of the worker).
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

    def get_worker(self, url: str | None = None) -> Worker | None:
        """The worker's HTTP server, at `url` or at that of the connection; None: it is not known."""
        return self._worker(self.get_connection(self.conn_id), url)

    async def aget_worker(self, url: str | None = None) -> Worker | None:
        """The same for triggers."""
        return self._worker(await self.aget_connection(self.conn_id), url)

    def test_connection(self) -> tuple[bool, str]:
        """Logs in, and looks whether the account has a queue and its worker answers at `worker_url`. Returns whether
        both are so, and a sentence on it.
        """
        try:
            broker, worker = self.get_conn(), self.get_worker()
        except ValueError as error:
            return False, str(error)
        try:
            good, text = asyncio.run(_look(broker))
            return (good, f"{text}; {asyncio.run(_visit(worker, broker))}") if worker else (good, text)
        except WorkerError as error:
            return False, str(error)
        except aiormq.exceptions.ChannelNotFoundEntity:
            return (
                False,
                f"there is no queue {broker.requests_queue}: no worker of the account {broker.account} has ever started, or the names are wrong",
            )
        except (TimeoutError, aiormq.exceptions.AMQPError, OSError, ValueError) as error:
            return False, f"{broker}: {type(error).__name__}: {error}"

    def _worker(self, connection: Connection, url: str | None) -> Worker | None:
        extra: dict[str, Any] = connection.extra_dejson
        broker = self._broker(connection)
        # A task that names another account or prefix talks to another worker than that of the connection.
        named = (extra.get("account") or "default", extra.get("prefix") or "teamleader")
        same = (broker.account, broker.prefix) == named
        url = url or (extra.get("worker_url") if same else None)
        return Worker(url, extra.get("api_token") or None, broker.ca_file) if url else None

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


async def _visit(worker: Worker, broker: Broker) -> str:
    account = await worker.account()
    if account != broker.account:
        raise WorkerError(f"the worker at {worker.url} copies the account {account}, and not {broker.account}")
    return f"the worker at {worker.url} takes the token"


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
