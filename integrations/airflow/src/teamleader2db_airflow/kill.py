"""What becomes of a sync when the task that waits for it is ended from outside."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from teamleader2db_airflow.request import SyncRequest
from teamleader2db_airflow.worker import Worker, WorkerError

if TYPE_CHECKING:
    from airflow.sdk.types import Logger

ENDED = ("failed", "success", "skipped")
"""States of a task instance that has no further try: nobody waits for its sync."""

STATE_TIMEOUT = 2.0
"""Seconds that Airflow's API server may take to say how the task instance is."""


async def end_sync(request: SyncRequest, request_id: str, worker: Worker | None, *, cancel: bool, log: Logger) -> bool:
    """Cancels the sync where Airflow says that the task instance has ended. Returns whether it did; the log says why
    not.

    A process gets the same signal where its pod is evicted or its machine stops: the task instance is `running` then,
    and the next try waits for the same sync. So does one that was cleared. A triggerer that was believed lost drops a
    trigger that another one has taken over, and whose task instance is `deferred`. Where the state is not known,
    nothing is cancelled.
    """
    by_hand = f"`teamleader2db cancel {request_id}` ends it"
    if not cancel:
        log.info("The sync %s goes on, since cancel_on_kill is off; %s", request_id, by_hand)
        return False
    try:
        # It blocks, and not only for as long as the API server takes.
        state = await asyncio.wait_for(asyncio.to_thread(_state, request), STATE_TIMEOUT)
    except Exception as error:
        why = f"the state of the task instance is not known ({error!r})"
        log.warning("The sync %s goes on, since %s; %s", request_id, why, by_hand)
        return False
    if state not in ENDED:
        why = f"the task instance is {state or 'cleared'}"
        log.info("The sync %s goes on, since %s: the next try waits for it", request_id, why)
        return False
    if worker is None:
        why = "neither the task nor its connection has a worker_url"
        log.warning("The sync %s goes on, since %s; %s", request_id, why, by_hand)
        return False
    try:
        await worker.cancel(request_id)
    except WorkerError as error:
        log.warning("The sync %s may go on: %s; %s", request_id, error, by_hand)
        return False
    log.info("The task instance is %s: the sync %s was cancelled", state, request_id)
    return True


def _state(request: SyncRequest) -> str | None:
    """The state of the task instance, as the API server has it; None: it has been deleted or waits to be scheduled."""
    # Not for each process that reads a DAG.
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    dag_id, task_id, run_id, index = request.origin[:4]
    get = RuntimeTaskInstance.get_task_states
    found = get(dag_id=dag_id, task_ids=[task_id], run_ids=[run_id], map_index=int(index))
    state = found.get(run_id, {}).get(task_id if int(index) < 0 else f"{task_id}_{index}")
    return None if state is None else str(state)
