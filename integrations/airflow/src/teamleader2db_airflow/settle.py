"""Which sync a task waits for: one that ended well is never repeated, one that failed before this try is."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from airflow.sdk import timezone

from teamleader2db_airflow.ask import Event, ask
from teamleader2db_airflow.broker import Broker
from teamleader2db_airflow.request import SyncRequest

if TYPE_CHECKING:
    from airflow.sdk.types import Logger


async def settle(
    broker: Broker,
    request: SyncRequest,
    *,
    tries: int,
    since: float,
    partial_fails: bool,
    deadline: float,
    log: Logger,
    traceparent: str | None = None,
    asking: Callable[[str], None] = lambda _: None,
) -> Event:
    """Returns the final event that this try of the task stands for.

    `tries` is the number of the try, from 1; `since` the Unix time when it began. `asking` gets the id of each request
    before it is sent.

    The first attempt at the sync has the number 0, for whichever try asks. The worker answers an id that has ended with
    the same event for ever; so if an attempt failed or was cancelled before this try started, the next number is asked
    for. There can be no more such attempts than there were tries: that bounds the count, should the worker's clock be
    behind Airflow's.
    """
    attempt = 0
    while True:
        asking(request.id(attempt))
        event = await ask(broker, request, attempt, deadline=deadline, log=log, traceparent=traceparent)
        if not _failed_before(event, since, partial_fails):
            return event
        if attempt + 1 >= tries:
            log.warning(
                "The sync %s ended as %s before this try began, and no other is asked for: it is that of an earlier run of the same name, or the "
                "clocks of the worker and of Airflow differ. Another `salt` makes another sync",
                request.id(attempt),
                event["data"]["status"],
            )
            return event
        log.info("The sync %s ended as %s before this try: asking for another", request.id(attempt), event["data"]["status"])
        attempt += 1


def _failed_before(event: Event, since: float, partial_fails: bool) -> bool:
    data = event["data"]
    if data["status"] == "completed" or (data["status"] == "partial" and not partial_fails):
        return False
    ended = data.get("finished_at")
    return ended is not None and timezone.parse(ended).timestamp() < since
