"""Waiting for a sync in the triggerer, where it holds no worker's slot."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from teamleader2db_airflow.ask import NoAnswerError
from teamleader2db_airflow.hook import TeamleaderHook
from teamleader2db_airflow.kill import end_sync
from teamleader2db_airflow.request import SyncRequest
from teamleader2db_airflow.settle import settle


class TeamleaderSyncTrigger(BaseTrigger):
    """Asks for a sync, and fires with `{"event": …}`, its final event, or `{"error": …}`, why there is none.

    It may be lost at any moment. Whoever runs it next asks again with the same id, which joins the sync or brings its event again. The
    arguments are those of `settle`, and have no secret: the connection is read where it runs.
    """

    def __init__(
        self,
        *,
        conn_id: str,
        account: str,
        prefix: str,
        origin: list[str],
        parameters: dict[str, Any],
        tries: int,
        since: float,
        partial_fails: bool,
        deadline: float,
        traceparent: str | None,
        cancel_on_kill: bool = True,
        worker_url: str | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.conn_id = conn_id
        self.account = account
        self.prefix = prefix
        self.origin = origin
        self.parameters = parameters
        self.tries = tries
        self.since = since
        self.partial_fails = partial_fails
        self.deadline = deadline
        self.traceparent = traceparent
        self.cancel_on_kill = cancel_on_kill
        self.worker_url = worker_url
        self._asked: str | None = None

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """The class, and what makes it again in another process."""
        return f"{type(self).__module__}.{type(self).__qualname__}", {
            "conn_id": self.conn_id,
            "account": self.account,
            "prefix": self.prefix,
            "origin": list(self.origin),
            "parameters": self.parameters,
            "tries": self.tries,
            "since": self.since,
            "partial_fails": self.partial_fails,
            "deadline": self.deadline,
            "traceparent": self.traceparent,
            "cancel_on_kill": self.cancel_on_kill,
            "worker_url": self.worker_url,
        }

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Fires once."""
        try:
            broker = await TeamleaderHook(self.conn_id, self.account, self.prefix).aget_conn()
            event = await settle(
                broker,
                SyncRequest(tuple(self.origin), self.parameters),
                tries=self.tries,
                since=self.since,
                partial_fails=self.partial_fails,
                deadline=self.deadline,
                log=self.log,
                traceparent=self.traceparent,
                asking=self._note,
            )
        except (NoAnswerError, ValueError) as error:
            yield TriggerEvent({"error": str(error)})  # type: ignore[no-untyped-call]
            return
        yield TriggerEvent({"event": event})  # type: ignore[no-untyped-call]

    def _note(self, request_id: str) -> None:
        self._asked = request_id

    async def on_kill(self) -> None:
        """Cancels the sync. Airflow calls it where the task instance waits no more; not where a triggerer stops, nor
        at a timeout.
        """
        if self._asked is None:
            return
        worker = None
        if self.cancel_on_kill:
            try:
                worker = await TeamleaderHook(self.conn_id, self.account, self.prefix).aget_worker(self.worker_url)
            except Exception as error:
                self.log.warning("The connection %s cannot be used to cancel the sync: %r", self.conn_id, error)
        request = SyncRequest(tuple(self.origin), self.parameters)
        await end_sync(request, self._asked, worker, cancel=self.cancel_on_kill, log=self.log)
