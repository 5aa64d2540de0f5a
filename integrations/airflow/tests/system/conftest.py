"""The world of a test: Airflow, a worker, its database, and the account that it copies."""

from __future__ import annotations

import json
import os
import shutil
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import psycopg2
import pytest
from airflow_servers import Airflow, await_

import teamleader2db_airflow

PREFIX = os.environ["AMQP_PREFIX"]
BROKER = urlsplit(os.environ["AIRFLOW_AMQP_URL"])
TOKEN = os.environ["TOKEN"]
PASSWORD = unquote(BROKER.password or "")

CONNECTION = {
    "connection_id": "teamleader2db_default",
    "conn_type": "teamleader2db",
    "host": BROKER.hostname,
    "port": BROKER.port,
    "schema": unquote(BROKER.path[1:]),
    "login": unquote(BROKER.username or ""),
    "password": PASSWORD,
    "extra": json.dumps({"prefix": PREFIX, "account": "default", "worker_url": os.environ["WORKER"], "api_token": TOKEN}),
}


class Copy:
    """The worker's database."""

    def __init__(self, url: str) -> None:
        self.connection = psycopg2.connect(url)
        self.connection.autocommit = True

    def ask(self, query: str, *values: Any) -> Any:
        """The rows of a query."""
        with self.connection.cursor() as cursor:
            cursor.execute(query, values)
            return cursor.fetchall()

    def runs(self) -> list[tuple[str, str]]:
        """Ids and states of all runs, the oldest first."""
        return self.ask("select id::text, status from teamleader2db.sync_run order by started_at")  # type: ignore[no-any-return]


class Account:
    """The simulated account."""

    def call(self, path: str, body: dict[str, Any] | None = None, method: str = "POST") -> Any:
        """A control route of the simulator."""
        request = urllib.request.Request(
            f"{os.environ['SIMULATOR']}/_simulator/{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read() or b"null")

    def mend(self) -> None:
        """Ends all faults."""
        self.call("faults", method="DELETE")


@pytest.fixture(scope="session")
def copy() -> Copy:
    """The worker's database."""
    return Copy(os.environ["COPY_URL"])


@pytest.fixture
def account() -> Iterator[Account]:
    """The simulated account, without faults afterwards."""
    account = Account()
    yield account
    account.mend()


@pytest.fixture(scope="session")
def stopped_airflow() -> Airflow:
    """Airflow with its database, of which nothing runs."""
    home = Path(os.environ["AIRFLOW_TEST_HOME"])
    shutil.rmtree(home, ignore_errors=True)
    dags = home / "dags"
    dags.mkdir(parents=True)
    examples = Path(teamleader2db_airflow.__file__).parent / "example_dags"
    for dag in (examples / "example_teamleader2db.py", Path(__file__).parent / "dags" / "stories.py"):
        shutil.copy(dag, dags)
    airflow = Airflow(home, os.environ["AIRFLOW_DATABASE"], dags)
    airflow.run("db", "migrate")
    return airflow


@pytest.fixture(scope="session")
def airflow(stopped_airflow: Airflow) -> Iterator[Airflow]:
    """All of Airflow, with the connection to the worker's broker."""
    airflow = stopped_airflow
    try:
        for name in ("api-server", "scheduler", "dag-processor", "triggerer"):
            airflow.start(name)
        await_("Airflow is healthy", airflow.healthy, 180)
        airflow.api("/api/v2/connections", CONNECTION)
        yield airflow
    finally:
        airflow.stop()
