"""A task that is a sync."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from airflow.sdk import AssetAlias, BaseOperator, conf
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from teamleader2db_airflow import assets, wording
from teamleader2db_airflow.ask import Event, NoAnswerError
from teamleader2db_airflow.broker import Broker
from teamleader2db_airflow.hook import TeamleaderHook
from teamleader2db_airflow.kill import end_sync
from teamleader2db_airflow.request import SyncRequest, parameters, truth
from teamleader2db_airflow.settle import settle
from teamleader2db_airflow.trigger import TeamleaderSyncTrigger
from teamleader2db_airflow.worker import Worker

if TYPE_CHECKING:
    from airflow.sdk import Context

DEFERRAL_MARGIN = timedelta(minutes=5)
"""How much later than the trigger itself Airflow ends a wait: the trigger has more to say."""


class TeamleaderSyncOperator(BaseOperator):
    """Asks teamleader2db for a sync, waits for its end, and returns the `data` of its final event.

    :param sync_resources: names, as a list or separated by commas; without any, what the worker is configured for. (Every operator
        of Airflow has a `resources` of its own, which no template may fill.)
    :param mode: `incremental`, `full` or `audit`
    :param refetch: fetch every detail again
    :param allow_deletions: mark deletions that the worker's guard would stop
    :param repair: of an audit: mend what differs
    :param sample: of an audit: compare so many records of each resource
    :param ids: exactly these records of the one resource that is named, 1 to 1,000
    :param account: of the worker, instead of the connection's
    :param prefix: of the worker's names at the broker, instead of the connection's
    :param teamleader2db_conn_id: the connection
    :param timeout: how long to wait for the end. The sync goes on; a retry waits for the same one
    :param on_partial: what becomes of the task if some resources failed: `fail`, or `warn` and succeed
    :param deferrable: wait in the triggerer; the default is `[operators] default_deferrable`
    :param asset_database: `postgres://host:port/name` of the copy: each table of a resource that completed gets an asset event
    :param asset_alias: the alias through which those come
    :param cancel_on_kill: cancel the sync where the task is set to failed, success or skipped while it waits
    :param worker_url: `http://host:port` of the worker's HTTP server, instead of the connection's; without any,
        nothing is cancelled
    :param salt: any text; another one makes another request of the same task instance
    """

    template_fields = (
        "sync_resources",
        "mode",
        "refetch",
        "allow_deletions",
        "repair",
        "sample",
        "ids",
        "account",
        "prefix",
        "asset_database",
        "worker_url",
        "salt",
    )
    ui_color = "#dff0ea"

    def __init__(
        self,
        *,
        sync_resources: str | Sequence[str] | None = None,
        mode: str = "incremental",
        refetch: str | bool = False,
        allow_deletions: str | bool = False,
        repair: str | bool = False,
        sample: str | int | None = None,
        ids: str | Sequence[str] | None = None,
        account: str | None = None,
        prefix: str | None = None,
        teamleader2db_conn_id: str = TeamleaderHook.default_conn_name,
        timeout: timedelta = timedelta(hours=24),
        on_partial: Literal["fail", "warn"] = "fail",
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        asset_database: str | None = None,
        asset_alias: str = assets.ALIAS,
        cancel_on_kill: bool = True,
        worker_url: str | None = None,
        salt: str = "",
        **kwargs: Any,
    ) -> None:
        if on_partial not in ("fail", "warn"):
            raise ValueError(f"on_partial is {on_partial!r}, and can be fail or warn")
        super().__init__(**kwargs)
        alias = AssetAlias(asset_alias)
        if asset_database and alias not in self.outlets:
            self.add_outlets([alias])
        self._waiting: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None
        self.sync_resources = sync_resources
        self.mode = mode
        self.refetch = refetch
        self.allow_deletions = allow_deletions
        self.repair = repair
        self.sample = sample
        self.ids = ids
        self.account = account
        self.prefix = prefix
        self.teamleader2db_conn_id = teamleader2db_conn_id
        self.timeout = timeout
        self.on_partial = on_partial
        self.deferrable = deferrable
        self.asset_database = asset_database
        self.asset_alias = asset_alias
        self.cancel_on_kill = cancel_on_kill
        self.worker_url = worker_url
        self.salt = salt

    def execute(self, context: Context) -> dict[str, Any]:
        """Waits here, or hands over to the trigger."""
        ti = context["ti"]
        try:
            hook = TeamleaderHook(self.teamleader2db_conn_id, self.account, self.prefix)
            broker = hook.get_conn()
            worker = hook.get_worker(self.worker_url) if self.cancel_on_kill else None
            asked = parameters(
                resources=self.sync_resources,
                mode=self.mode,
                refetch=self.refetch,
                allow_deletions=self.allow_deletions,
                repair=self.repair,
                sample=self.sample,
                ids=self.ids,
            )
        except ValueError as error:
            raise AirflowFailException(str(error)) from None
        map_index = ti.map_index if ti.map_index is not None else -1
        request = SyncRequest((ti.dag_id, ti.task_id, ti.run_id, str(map_index), broker.account, self.salt), asked)
        wait: dict[str, Any] = {
            "tries": ti.try_number,
            "since": ti.start_date.timestamp(),
            "partial_fails": self.on_partial == "fail",
            "deadline": time.time() + self.timeout.total_seconds(),
            "traceparent": _traceparent(),
        }
        if self.deferrable:
            self.defer(
                trigger=TeamleaderSyncTrigger(
                    conn_id=self.teamleader2db_conn_id,
                    account=broker.account,
                    prefix=broker.prefix,
                    origin=list(request.origin),
                    parameters=asked,
                    cancel_on_kill=self.cancel_on_kill,
                    worker_url=self.worker_url,
                    **wait,
                ),
                method_name="execute_complete",
                timeout=self.timeout + DEFERRAL_MARGIN,
            )
        try:
            event = asyncio.run(self._wait(broker, request, worker, wait))
        except NoAnswerError as error:
            raise AirflowException(str(error)) from None
        return self._conclude(context, event)

    async def _wait(self, broker: Broker, request: SyncRequest, worker: Worker | None, wait: dict[str, Any]) -> Event:
        asked: list[str] = []
        killed = asyncio.Event()
        answer = asyncio.ensure_future(settle(broker, request, log=self.log, asking=asked.append, **wait))
        kill = asyncio.ensure_future(killed.wait())
        self._waiting = (asyncio.get_running_loop(), killed)
        try:
            await asyncio.wait((answer, kill), return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                return answer.result()
            answer.cancel()
            # Both at once: a broker that does not answer must not take up the time.
            asked_last = asked[-1] if asked else request.id(0)
            ending = end_sync(request, asked_last, worker, cancel=self.cancel_on_kill, log=self.log)
            cancelled, _ = await asyncio.gather(ending, asyncio.wait((answer,)))
            became = "was cancelled" if cancelled else "goes on"
            raise AirflowException(f"the wait for {asked_last} was ended from outside; the sync {became}")
        finally:
            self._waiting = None
            kill.cancel()

    def on_kill(self) -> None:
        """Ends the wait, so that the slot is free at once, and the queue of the answer for the next one who waits; and
        cancels the sync where the task instance has ended in Airflow.

        It runs in a signal handler, so the rest happens where the task waits.
        """
        if self._waiting:
            loop, killed = self._waiting
            loop.call_soon_threadsafe(killed.set)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Goes on after the trigger has fired."""
        if error := event.get("error"):
            raise AirflowException(error)
        return self._conclude(context, event["event"])

    def _conclude(self, context: Context, event: Event) -> dict[str, Any]:
        data: dict[str, Any] = event["data"]
        status, run = data["status"], f"the sync {data['request_id']}"
        if status == "cancelled":
            raise AirflowException(f"{run} was cancelled; rows that it had written stay. A retry, or clearing the task, asks for another")
        if data["mode"] is None:
            # It never became a run: the same request would be refused again.
            raise AirflowFailException(f"the request {data['request_id']} was refused: {data['error']}")
        if status == "failed":
            raise AirflowException(f"{run} failed: {wording.failures(data)}")
        if status == "partial":
            why = f"{run} is partial: {wording.failures(data)}"
            if self.on_partial == "fail":
                raise AirflowException(why)
            self.log.warning("%s", why)
        self.log.info("The sync %s has ended as %s: %s", data["request_id"], status, wording.counts(data))
        # An audit writes nothing, unless it repairs.
        if self.asset_database and (data["mode"] != "audit" or truth("repair", self.repair)):
            events = context["outlet_events"][AssetAlias(self.asset_alias)]
            for resource, told in assets.completed(data).items():
                events.add(assets.table_asset(self.asset_database, resource), extra=told)
        return data


def _traceparent() -> str | None:
    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get("traceparent")
