"""The daemon's API as plain calls, wherever it answers; what goes wrong is one line that says what to do."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import quote

from .endpoint import Endpoint

if TYPE_CHECKING:
    import aiohttp

Record: TypeAlias = dict[str, Any]
"""A JSON object of the API's contract."""
_TLS_PARTING_SECONDS = 0.01
"""A TLS connection that was left in the middle of a stream needs some rounds of the loop to be closed."""
_EXIT_CODES = {"refused": 3, "conflict": 3, "unexpected": 1}


@dataclass(slots=True)
class ApiError(Exception):
    """The daemon said no, or cannot be spoken to. `text` is one line."""

    code: str
    text: str
    reasons: tuple[Record, ...] = ()

    @property
    def exit_code(self) -> int:
        """3 when it was refused, 1 when the daemon failed, else 2."""
        return _EXIT_CODES.get(self.code, 2)

    def as_dict(self) -> Record:
        """The contract's form."""
        return {"error": {"code": self.code, "message": self.text, "reasons": list(self.reasons)}}


class Api:
    """A daemon. Each call connects anew; all raise ApiError."""

    def __init__(self, endpoint: Endpoint, patience_seconds: float | None = None) -> None:
        self._endpoint = endpoint
        self._patience_seconds = patience_seconds
        """How long a call may take; None: as long as it does, such as a VM's start on a slow host."""

    def get(self, path: str, **query: object) -> Record:
        """What is there; a query value of None is left out."""
        return asyncio.run(self._call("GET", path, query={k: str(v) for k, v in query.items() if v is not None}))

    def post(self, path: str, body: Record | None = None) -> Record:
        """Have something done."""
        return asyncio.run(self._call("POST", path, body=body))

    def delete(self, path: str) -> Record:
        """Have something ended."""
        return asyncio.run(self._call("DELETE", path))

    async def notices(self, after: int, *, quiet_seconds: float | None = None) -> AsyncIterator[Record]:
        """Notices after the one numbered `after`, as they come; ends when nothing came for `quiet_seconds`."""
        async with (
            self._session() as session,
            session.get("/v1/events", headers={"Last-Event-ID": str(after)}) as answer,
        ):
            if answer.status >= 400:
                raise _error(answer.status, await answer.read())
            while True:
                try:
                    async with asyncio.timeout(quiet_seconds):
                        notice = await _next_notice(answer.content)
                except TimeoutError:
                    return
                yield notice

    async def _call(
        self, method: str, path: str, *, query: Mapping[str, str] | None = None, body: Record | None = None
    ) -> Record:
        async with self._session() as session, session.request(method, path, params=query, json=body) as answer:
            content = await answer.read()
            if answer.status >= 400:
                raise _error(answer.status, content)
            record: Record = json.loads(content)
            return record

    @asynccontextmanager
    async def _session(self) -> "AsyncIterator[aiohttp.ClientSession]":
        import aiohttp

        # A daemon that is gone is noticed by the socket.
        timeout = aiohttp.ClientTimeout(total=self._patience_seconds, sock_connect=10)
        endpoint = self._endpoint
        headers = endpoint.headers()
        try:
            async with aiohttp.ClientSession(
                endpoint.url, connector=endpoint.connector(), headers=headers, timeout=timeout
            ) as session:
                yield session
            if endpoint.url.startswith("https:"):
                await asyncio.sleep(_TLS_PARTING_SECONDS)
        except aiohttp.ClientConnectorCertificateError as error:
            raise ApiError("unavailable", endpoint.why_not(_os_error(error.certificate_error))) from None
        except aiohttp.ClientConnectorError as error:
            raise ApiError("unavailable", endpoint.why_not(error.os_error)) from None
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ApiError(
                "unavailable", f"the daemon at {endpoint} broke off: {str(error) or 'no answer came'}"
            ) from None
        except json.JSONDecodeError:
            raise ApiError("unavailable", f"what answers at {endpoint} is no virt-scheduler") from None


def _os_error(error: Exception) -> OSError:
    return error if isinstance(error, OSError) else OSError(str(error))


async def _next_notice(stream: "aiohttp.StreamReader") -> Record:
    """The data of the next server-sent event; heartbeats and the other fields are passed over."""
    while line := await stream.readline():
        if line.startswith(b"data:"):
            notice: Record = json.loads(line.removeprefix(b"data:"))
            return notice
    raise ApiError("unavailable", "the daemon ended the stream")


def at(*parts: object) -> str:
    """A path below /v1, with names quoted."""
    return "/v1/" + "/".join(quote(str(part), safe="") for part in parts)


def _error(status: int, content: bytes) -> ApiError:
    try:
        error = json.loads(content)["error"]
        return ApiError(error["code"], error["message"], tuple(error.get("reasons", ())))
    except (ValueError, KeyError, TypeError):
        return ApiError("unexpected", f"the daemon answered {status}")
