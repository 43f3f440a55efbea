"""A dry run of several starts: nothing is done, yet each sees the room that those before it would have taken. Pure."""

from dataclasses import replace

from ..cluster.model import Snapshot, Vm, VmState


class Rehearsal:
    """What has been started so far, had it been in earnest."""

    def __init__(self) -> None:
        self._started: dict[str, Vm] = {}

    def start(self, vm: Vm, host: str) -> None:
        """`vm` would run on `host`."""
        self._started[vm.uuid] = replace(vm, host=host, state=VmState.RUNNING)

    def on(self, snapshot: Snapshot) -> Snapshot:
        """The snapshot with all of them running."""
        others = [vm for vm in snapshot.vms if vm.uuid not in self._started]
        return replace(snapshot, vms=(*others, *self._started.values()))
