"""Before a call is looked at: who asks, and whether he asks too often."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog
from aiohttp import web

from ..operations.access import Access
from .caller import Caller, caller_of
from .control import ControlError
from .errors import TooManyError
from .limits import ApiLimits, Pace

CALLER = web.RequestKey("CALLER", Caller)

logger = structlog.get_logger(__name__)


class Admission:
    """Lets callers in. `access` is asked at each call, so that a reload is heeded at once."""

    def __init__(self, access: Callable[[], Access], limits: ApiLimits) -> None:
        self._access = access
        self._limits = limits
        self._calls = Pace(limits.calls_per_second, limits.calls_at_once)
        self._failures = Pace(limits.failed_logins_per_second, limits.failed_logins_at_once)
        self._streams: Counter[str] = Counter()

    async def admit(self, request: web.Request) -> None:
        """Note who asks; ControlError when it is nobody, or somebody who has to wait."""
        address = request.remote or "socket"
        if wait_s := self._failures.wait_seconds(address):
            raise TooManyError("too many calls without a valid token or certificate", wait_s)
        try:
            caller = await caller_of(request, self._access())
        except ControlError as error:
            if error.kind == "unauthorized":
                self._failures.take(address)
            logger.warning("api_caller_refused", address=address, path=request.path, reason=error.text)
            raise
        if wait_s := self._calls.wait_seconds(caller.name):
            raise TooManyError(f"more than {self._limits.calls_per_second:g} calls a second", wait_s)
        self._calls.take(caller.name)
        request[CALLER] = caller

    @contextmanager
    def stream(self, caller: Caller) -> Iterator[None]:
        """While he follows the events; TooManyError when he does so too often already."""
        if self._streams[caller.name] >= self._limits.streams:
            raise TooManyError(f"more than {self._limits.streams} event streams at the same time", 1.0)
        self._streams[caller.name] += 1
        try:
            yield
        finally:
            self._streams[caller.name] -= 1
            if not self._streams[caller.name]:
                del self._streams[caller.name]
