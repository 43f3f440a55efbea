"""How a call that fails is answered: one JSON shape, the mistake named, nothing of the daemon's inside shown."""

import math
from collections.abc import Awaitable, Callable, Sequence

import structlog
from aiohttp import hdrs, web
from pydantic import ValidationError

from ..cluster.reason import Reason
from .control import ControlError
from .models import Failure, FailureAnswer, to_json

STATUS_OF_KIND = {
    "invalid": 400,
    "unauthorized": 401,
    "forbidden": 403,
    "not_found": 404,
    "too_slow": 408,
    "refused": 409,
    "conflict": 409,
    "too_many": 429,
    "unavailable": 503,
}
_CODE_OF_STATUS = {404: "not_found", 405: "method_not_allowed"}

logger = structlog.get_logger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class TooManyError(ControlError):
    """A caller asks for more than one is given; he may try again after `wait_seconds`."""

    def __init__(self, what: str, wait_seconds: float) -> None:
        self.retry_after_seconds = max(1, math.ceil(wait_seconds))
        super().__init__("too_many", f"{what}: try again in {self.retry_after_seconds} s")


@web.middleware
async def errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer every failure in the shape of `FailureAnswer`."""
    try:
        return await handler(request)
    except ControlError as error:
        # A kind that the contract does not know is the daemon's mistake, not the caller's.
        answer = failure(STATUS_OF_KIND.get(error.kind, 500), error.kind, error.text, error.reasons)
        if isinstance(error, TooManyError):
            answer.headers[hdrs.RETRY_AFTER] = str(error.retry_after_seconds)
        elif error.kind == "unauthorized":
            answer.headers[hdrs.WWW_AUTHENTICATE] = "Bearer"
        return answer
    except web.HTTPRequestEntityTooLarge:
        limit = f"{request.client_max_size / (1 << 20):g} MiB"
        return failure(413, "too_large", f"the body is larger than {limit}: ask for less at a time")
    except web.HTTPException as error:
        answer = failure(error.status, _CODE_OF_STATUS.get(error.status, "invalid"), error.reason.lower())
        if hdrs.ALLOW in error.headers:
            answer.headers[hdrs.ALLOW] = error.headers[hdrs.ALLOW]
        return answer
    except Exception:
        logger.exception("api_request_crashed", method=request.method, path=request.path)
        return failure(500, "unexpected", "internal error; the daemon's log has the details")


def failure(status: int, code: str, message: str, reasons: Sequence[Reason] = ()) -> web.Response:
    """The answer of a call that was not done."""
    answer = FailureAnswer(Failure(code, message, tuple(reasons)))
    return web.json_response(answer, status=status, dumps=to_json)


def invalid(error: ValidationError, where: str) -> ControlError:
    """A request that does not fit its model; names each field. `where` stands for a mistake in the whole of it."""
    mistakes = []
    for detail in error.errors(include_url=False, include_input=False, include_context=False):
        field = ".".join(str(part) for part in detail["loc"]) or where
        mistakes.append(Reason("invalid_field", f"{field}: {detail['msg'].removeprefix('Value error, ')}"))
    return ControlError("invalid", "; ".join(str(mistake.text) for mistake in mistakes), mistakes)
