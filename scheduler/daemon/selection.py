"""What a request means by the names of VMs and hosts in it; ControlError when that is nothing, or not clear."""

from collections.abc import Callable, Sequence

from ..cluster.model import Snapshot, Vm
from ..cluster.rules import selects
from ..web.control import ControlError


def one(snapshot: Snapshot, name: str) -> Vm:
    """The VM of that name or UUID."""
    try:
        return snapshot.vm(name)
    except KeyError:
        same = [vm for vm in snapshot.vms if vm.name == name]
    if same:
        where = ", ".join(f"{vm.uuid} on {vm.host}" for vm in same)
        raise ControlError("conflict", f"{name} means several VMs: {where}; name one by its UUID")
    raise ControlError("not_found", f"there is no VM {name!r}")


def chosen(snapshot: Snapshot, names: Sequence[str], *, wanted: Callable[[Vm], bool]) -> list[Vm]:
    """The VMs meant by names, UUIDs, globs and tags, each once. What a glob or tag means is held against `wanted`.

    A name counts before a glob: libvirt allows `web[1]` as a name.
    """
    found: dict[str, Vm] = {}
    known = {vm.name for vm in snapshot.vms}
    for name in names:
        if name in known or not (name.startswith("tag:") or any(sign in name for sign in "*?[")):
            vm = one(snapshot, name)
            found[vm.uuid] = vm
            continue
        meant = [vm for vm in snapshot.vms if selects(name, name=vm.name, uuid=vm.uuid, labels=vm.labels)]
        if not meant:
            raise ControlError("not_found", f"{name!r} means no VM")
        found |= {vm.uuid: vm for vm in sorted(meant, key=lambda vm: vm.name) if wanted(vm)}
    return list(found.values())


def known_host(names: Sequence[str], name: str | None) -> None:
    """Hold against the hosts' names what a request calls a host; None is no host in particular."""
    if name is not None and name not in names:
        raise ControlError("not_found", f"there is no host {name!r}; the hosts are {', '.join(names)}")
