"""Airflow as an operator runs it: scheduler, API server, DAG processor and triggerer, each a process of its own."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

AIRFLOW = str(Path(sys.executable).with_name("airflow"))


def await_(what: str, condition: Callable[[], Any], seconds: float = 120) -> Any:
    """What the condition gives, as soon as it is true."""
    until = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > until:
            raise AssertionError(f"waited {seconds:.0f} s in vain: {what}")
        time.sleep(0.1)
    return found


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Airflow:
    """One Airflow: its directory, its database, its processes, and its API."""

    def __init__(self, home: Path, database: str, dags: Path) -> None:
        self.home = home
        self.port = free_port()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("AIRFLOW")},
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(self.port),
            "AIRFLOW__API__SECRET_KEY": secrets.token_hex(32),
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{self.port}/execution/",
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__PARALLELISM": "4",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database,
            "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(free_port()),
            "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(free_port()),
            # A triggerer that was killed is missed soon.
            "AIRFLOW__SCHEDULER__TRIGGER_TIMEOUT_CHECK_INTERVAL": "2",
            "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "1",
            "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "4",
        }

    def run(self, *arguments: str, **environment: str) -> str:
        """Runs a command of Airflow; what it printed."""
        done = subprocess.run(
            [AIRFLOW, *arguments],
            env=self.environment | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=300,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-6000:]
        return done.stdout

    def start(self, name: str) -> None:
        """Starts a component; its output is added to a file of its name."""
        with (self.home / f"{name}.out").open("ab") as output:
            # In a group of its own, with all that it starts.
            self.processes[name] = subprocess.Popen(
                [AIRFLOW, name], env=self.environment, stdout=output, stderr=output, start_new_session=True
            )

    def kill(self, name: str) -> None:
        """Ends a component and all that it started at once, as when its machine goes away."""
        process = self.processes.pop(name)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def stop(self) -> None:
        """Ends all of it: nothing is asked for its leave, since the database goes as well."""
        for name in list(self.processes):
            self.kill(name)

    def api(self, path: str, body: dict[str, Any] | None = None, method: str | None = None) -> Any:
        """Asks the API; the JSON of its answer, None if there is no such thing."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
            method=method,
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            raise AssertionError(f"{path}: {error.code} {error.read().decode()[:2000]}") from None

    def healthy(self) -> bool:
        """Whether all components say that they live."""
        try:
            health = self.api("/api/v2/monitor/health")
        except (AssertionError, OSError):
            return False
        return all(health[part]["status"] == "healthy" for part in ("metadatabase", "scheduler", "triggerer", "dag_processor"))


class Run:
    """A run of a DAG with one task, `sync`."""

    def __init__(self, airflow: Airflow, dag: str, **conf: Any) -> None:
        self.airflow, self.dag = airflow, dag
        await_(f"the DAG {dag}", lambda: airflow.api(f"/api/v2/dags/{dag}"))
        airflow.api(f"/api/v2/dags/{dag}", {"is_paused": False}, "PATCH")
        self.id = airflow.api(f"/api/v2/dags/{dag}/dagRuns", {"logical_date": None, "conf": conf})["dag_run_id"]
        self.dag_run = f"/api/v2/dags/{dag}/dagRuns/{urllib.parse.quote(self.id)}"
        self.path = f"{self.dag_run}/taskInstances/sync"

    @property
    def task(self) -> dict[str, Any]:
        """The task instance."""
        found: dict[str, Any] = self.airflow.api(self.path)
        return found

    def reach(self, *states: str, tried: int = 1) -> dict[str, Any]:
        """The task instance, once it has one of these states, in that try or a later one."""

        def reached() -> dict[str, Any] | None:
            task = self.task
            return task if task["state"] in states and task["try_number"] >= tried else None

        try:
            return dict(await_(f"{self.dag} becomes {states}", reached))
        except AssertionError as error:
            raise AssertionError(f"{error}; it is {self.task['state']}:\n{self.log()[-4000:]}") from None

    def end(self, state: str) -> None:
        """Sets the state of the task, as an operator does in the browser."""
        self.airflow.api(self.path, {"new_state": state}, "PATCH")

    def clear(self, *, while_it_waits: bool = False) -> None:
        """Clears the task, as an operator does in the browser; once the run of the DAG has ended, unless the task waits."""
        if not while_it_waits:
            await_("the run of the DAG has ended", lambda: self.airflow.api(self.dag_run)["end_date"])
        body = {"dry_run": False, "only_failed": False, "dag_run_id": self.id, "task_ids": ["sync"]}
        self.airflow.api(f"/api/v2/dags/{self.dag}/clearTaskInstances", body)

    @property
    def returned(self) -> Any:
        """The task's XCom."""
        entry = self.airflow.api(f"{self.path}/xcomEntries/return_value?deserialize=true")
        return entry and entry["value"]

    def log(self, tried: int | None = None) -> str:
        """What the task has logged, in the worker and in triggerers, one line after another."""
        pattern = f"logs/dag_id={self.dag}/run_id={self.id}/task_id=sync/attempt={tried or '*'}.log*"
        return "".join(path.read_text() for path in sorted(self.airflow.home.glob(pattern)))

    def tell(self, *more: object) -> None:
        """Prints what the package has logged in this run, in order, and how the task stands."""
        lines = [json.loads(line) for line in self.log().splitlines() if line.startswith("{")]
        ours = [line for line in lines if "teamleader2db_airflow" in line.get("logger", "")]
        for line in sorted(ours, key=lambda line: line["timestamp"]):
            print(line["timestamp"][11:23], line["logger"].rpartition(".")[2], line["level"], line["event"][:220])
        print(f"{self.dag}: {self.task['state']}, try {self.task['try_number']};", *more)
