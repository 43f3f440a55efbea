"""One connection: what is no proper HTTP is answered like every other mistake, and fills no log."""

import asyncio

from aiohttp import hdrs, web

from .errors import failure
from .limits import ConnectionLimits

SERVER = "virt-scheduler"
"""All that an answer tells of what made it."""


class Connection(web.RequestHandler):
    """aiohttp's, within limits."""

    def __init__(self, server: web.Server, limits: ConnectionLimits) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=limits.idle_seconds,
            access_log=None,  # type: ignore[arg-type] # as its own documentation says
        )

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what the parser could not read; all else has been answered before it gets here."""
        if status >= 500:
            return super().handle_error(request, status, exc, message)
        self.keep_alive(val=False)
        # Behind the colon stands what was sent.
        mistake = (message or "no HTTP").partition(":")[0].strip()
        answer = failure(status, "invalid", f"not understood: {mistake}")
        answer.headers[hdrs.SERVER] = SERVER
        answer.force_close()
        return answer


async def name_nobody(_request: web.Request, response: web.StreamResponse) -> None:
    """Python's and aiohttp's versions are nobody's business."""
    response.headers[hdrs.SERVER] = SERVER
