"""Waiting for a sync in the triggerer, where it holds no worker's slot."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from teamleader2db_airflow.ask import NoAnswerError
from teamleader2db_airflow.hook import TeamleaderHook
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
            )
        except (NoAnswerError, ValueError) as error:
            yield TriggerEvent({"error": str(error)})  # type: ignore[no-untyped-call]
            return
        yield TriggerEvent({"event": event})  # type: ignore[no-untyped-call]
