"""The event stream: notices as server-sent events, resumable, with signs of life, never buffered for a slow reader."""

import asyncio
from collections.abc import AsyncIterator

import structlog
from aiohttp import ClientConnectionResetError, web

from .control import ControlError, Notice
from .models import to_json
from .routing import Call

_HEADERS = {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_HEARTBEAT = ": still here\n\n"

logger = structlog.get_logger(__name__)


async def stream(call: Call) -> web.StreamResponse:
    """Tell the caller what happens until it leaves, reads too slowly, or the server ends.

    `Last-Event-ID` names the last notice that the caller has seen; ControlError `invalid` when it is no number.
    """
    notices = call.control.notices(_last_seen(call.request))
    with call.context.admission.stream(call.caller):
        return await _stream(call, notices)


async def _stream(call: Call, notices: AsyncIterator[Notice]) -> web.StreamResponse:
    response = web.StreamResponse(headers=_HEADERS)
    await response.prepare(call.request)
    try:
        await _tell(call, notices, response)
    except (ClientConnectionResetError, ConnectionError):
        logger.debug("event_stream_left", user=call.requested_by)
    except TimeoutError:
        logger.warning("event_stream_dropped", user=call.requested_by, reason="the reader is too slow")
        if call.request.transport is not None:
            call.request.transport.abort()
    return response


async def _tell(call: Call, notices: AsyncIterator[Notice], response: web.StreamResponse) -> None:
    """Write notices as they come, heartbeats between them; TimeoutError when the reader does not read."""
    closing = asyncio.create_task(call.context.closing.wait())
    upcoming = asyncio.create_task(_next(notices))
    try:
        # Once the first bytes arrive the caller knows that it misses nothing from here on.
        text: str | None = _HEARTBEAT
        while text is not None:
            async with asyncio.timeout(call.context.stall_seconds):
                await response.write(text.encode())
            await asyncio.wait(
                {upcoming, closing},
                timeout=call.context.heartbeat_seconds,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if closing.done():
                text = None
            elif upcoming.done():
                text = _as_text(upcoming.result())
                upcoming = asyncio.create_task(_next(notices))
            else:
                text = _HEARTBEAT
    finally:
        for task in (closing, upcoming):
            task.cancel()
        await asyncio.gather(closing, upcoming, return_exceptions=True)


async def _next(notices: AsyncIterator[Notice]) -> Notice | None:
    return await anext(notices, None)


def _as_text(notice: Notice | None) -> str | None:
    if notice is None:
        return None
    return f"id: {notice.id}\nevent: {notice.kind}\ndata: {to_json(notice)}\n\n"


def _last_seen(request: web.Request) -> int | None:
    text = request.headers.get("Last-Event-ID")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise ControlError("invalid", f"Last-Event-ID: {text!r} is not the number of an event")
    return int(text)
