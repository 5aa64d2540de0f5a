"""The worker's HTTP API, as far as this package uses it: ending a run."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx

ANSWER_TIMEOUT = 2.5
"""Seconds that the worker may take for an answer. Airflow kills a task 5 s after it has asked it to end."""


class WorkerError(Exception):
    """The worker did not do what it was asked for. The text says why, and holds no secret."""


@dataclass(frozen=True)
class Worker:
    """A worker's HTTP server. ValueError says what cannot be used. The token shows in no text that is made of it."""

    url: str
    token: str | None = field(default=None, repr=False)
    ca_file: str | None = None

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.username is not None or parts.password is not None:
            raise ValueError("worker_url has a login: put HTTP_API_TOKEN into api_token of the connection instead")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"worker_url is {self.url!r}, and can be http://host:port or https://host:port")
        if self.token is not None and not (self.token.isascii() and self.token.isprintable() and " " not in self.token):
            raise ValueError("api_token of the connection can be HTTP_API_TOKEN of the worker, which is visible ASCII")

    async def cancel(self, request_id: str) -> None:
        """Asks for the end of a run, or of a request that waits in the queue. It has ended within 5 s."""
        await self._call("POST", f"/sync/runs/{request_id}/cancel")

    async def account(self) -> str:
        """The account that the worker copies."""
        return str((await self._call("GET", "/sync/teamleader"))["account"])

    async def _call(self, method: str, path: str) -> dict[str, Any]:
        at = f"the worker at {self.url}"
        headers = {"Accept": "application/json"} | ({"Authorization": f"Bearer {self.token}"} if self.token else {})
        try:
            trusted = ssl.create_default_context()
            if self.ca_file:
                trusted.load_verify_locations(self.ca_file)
            async with asyncio.timeout(ANSWER_TIMEOUT), httpx.AsyncClient(verify=trusted) as client:
                answer = await client.request(method, self.url.rstrip("/") + path, headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise WorkerError(f"{at} does not answer: {type(error).__name__}: {error}") from None
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            raise WorkerError(f"{at} refuses the login: api_token of the connection has to be its HTTP_API_TOKEN")
        try:
            body = answer.json()
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise WorkerError(f"{at} answers {answer.status_code} without JSON: worker_url may name another server")
        if not answer.is_success:
            raise WorkerError(f"{at} answers {answer.status_code}: {body.get('detail') or body.get('title')}")
        return body
