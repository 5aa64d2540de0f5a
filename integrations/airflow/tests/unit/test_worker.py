"""The worker's HTTP API."""

from __future__ import annotations

import asyncio
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from teamleader2db_airflow.worker import Worker, WorkerError

TOKEN = "open-sesame-0123456789"
ID = "9d3ecbd9-ebed-448c-a8d7-af8efb49cd8d"


@pytest.fixture
def server():
    """An HTTP server that gives one answer to all, and notes what it was asked for."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self):
            self.server.asked.append((self.command, self.path, self.headers.get("Authorization")))
            status, body = self.server.answer
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = _answer  # noqa: N815

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    server.asked, server.answer = [], (202, b"{}")
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def test_a_run_is_cancelled_with_the_token(server):
    asyncio.run(Worker(server.url + "/", TOKEN).cancel(ID))
    asyncio.run(Worker(server.url).cancel(ID))
    path = f"/sync/runs/{ID}/cancel"
    assert server.asked == [("POST", path, f"Bearer {TOKEN}"), ("POST", path, None)]


def test_the_account_of_a_worker_is_read(server):
    server.answer = (200, b'{"account": "acme"}')
    assert asyncio.run(Worker(server.url, TOKEN).account()) == "acme"
    assert server.asked == [("GET", "/sync/teamleader", f"Bearer {TOKEN}")]


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (401, {"title": "Unauthorized"}, "api_token of the connection has to be its HTTP_API_TOKEN"),
        (
            403,
            {"title": "Forbidden", "detail": "this server answers to localhost only"},
            "answers 403: this server answers to localhost only",
        ),
        (409, {"detail": "the run has ended already"}, "answers 409: the run has ended already"),
        (404, None, "answers 404 without JSON: worker_url may name another server"),
        (302, None, "answers 302 without JSON"),
    ],
)
def test_a_refusal_says_why_and_shows_no_token(server, status, body, said):
    server.answer = (status, json.dumps(body).encode() if body else b"<html>")
    with pytest.raises(WorkerError, match=said) as caught:
        asyncio.run(Worker(server.url, TOKEN).cancel(ID))
    assert TOKEN not in str(caught.value)


def test_a_worker_that_is_away_is_no_surprise():
    with pytest.raises(WorkerError, match=r"the worker at http://127\.0\.0\.1:9 does not answer: ConnectError"):
        asyncio.run(Worker("http://127.0.0.1:9", TOKEN).cancel(ID))


def test_a_worker_shows_no_token():
    assert TOKEN not in repr(Worker("http://worker:8080", TOKEN))


@pytest.mark.parametrize(
    ("url", "token", "said"),
    [
        ("worker:8080", None, "worker_url is 'worker:8080', and can be http://host:port"),
        ("http://", None, "worker_url is"),
        ("http://me:hunter2@worker:8080", None, "worker_url has a login"),
        ("http://worker:8080", "two\nlines", "api_token of the connection can be HTTP_API_TOKEN"),
        ("http://worker:8080", "tokén", "api_token of the connection can be HTTP_API_TOKEN"),
    ],
)
def test_what_cannot_be_used_is_refused_and_shows_no_secret(url, token, said):
    with pytest.raises(ValueError, match=said) as caught:
        Worker(url, token)
    assert "hunter2" not in str(caught.value)
    assert not token or token not in str(caught.value)
