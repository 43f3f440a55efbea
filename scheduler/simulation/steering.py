"""What a replay asks of a policy, whoever's it is."""

from typing import Protocol

from .meter import Meter
from .scene import Scene
from .script import Deed


class Steering(Protocol):
    """What steers a cluster by its own tasks, on the scene's clock."""

    async def begin(self, scene: Scene, meter: Meter) -> None:
        """Start them."""

    async def end(self) -> None:
        """Stop them."""

    async def place(self, uuid: str) -> bool:
        """Start a stopped VM on the host of its choice; whether there was one."""

    async def serve(self, deed: Deed, host: str) -> None:
        """A person cordons, drains or uncordons a host; `scene.states` says so already."""
