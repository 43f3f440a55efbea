"""The event loop of a replay: what is handed to threads is done at once, so that their speed decides nothing."""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import Any, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class ReplayLoop(asyncio.SelectorEventLoop):
    """A loop without executors: plans are made on its own thread, where nothing competes with them."""

    def run_in_executor(
        self,
        executor: Executor | None,  # noqa: ARG002 - asyncio's signature
        func: Callable[[*Ts], T],
        *args: *Ts,
    ) -> asyncio.Future[T]:
        """Call `func` now; a done future with what it returned or raised."""
        done: asyncio.Future[T] = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - it is for who awaits it
            done.set_exception(error)
        return done


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` on a loop of its own."""
    with asyncio.Runner(loop_factory=ReplayLoop) as runner:
        return runner.run(work)
