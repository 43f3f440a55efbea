"""What keeps a VM from being moved automatically, whatever the hosts could take."""

from ..cluster.model import HostState, VmState
from ..cluster.plausible import doubted_demand
from ..cluster.reason import Reason
from ..filters import devices
from .cost import convergence
from .load import Load

CODE_HELD = "held"
CODE_QUARANTINE = "quarantine"
CODE_UNDER_WAY = "under_way"
CODE_NOT_RUNNING = "not_running"
CODE_DEMAND_UNKNOWN = "demand_unknown"
CODE_SOURCE = "source_unfit"


def to_leaving(load: Load, vm: int) -> Reason | None:
    """Why `vm` cannot leave its host at all, not to mend a rule and not to empty the host; None when it can."""
    view = load.view
    facts, host = view.vms[vm], view.hosts[view.vm_host[vm]]
    if facts.destination is not None:
        return Reason(CODE_UNDER_WAY, f"is migrating to {facts.destination}", destination=facts.destination)
    if facts.quarantine is not None:
        return Reason(CODE_QUARANTINE, facts.quarantine)
    if host.state is HostState.UNREACHABLE:
        return Reason(CODE_SOURCE, "the libvirt of its host does not answer")
    if host.stale:
        return Reason(CODE_SOURCE, "the figures of its host are too old to decide on")
    if not facts.movable:
        return devices.reason(view, view.need(vm), int(view.vm_host[vm]))
    return convergence(facts, load.paces.leaving(facts))


def to_balancing(load: Load, vm: int) -> Reason | None:
    """Why `vm` is not moved for balance; None when it may be."""
    facts = load.view.vms[vm]
    if facts.state is not VmState.RUNNING:
        return Reason(CODE_NOT_RUNNING, f"is {facts.state.value}")
    if not load.known[vm]:
        doubt = doubted_demand(facts)
        return Reason(CODE_DEMAND_UNKNOWN, f"its demand is unknown{'' if doubt is None else f': {doubt}'}")
    host = load.view.hosts[load.view.vm_host[vm]]
    if host.name in load.view.doubts:
        return Reason(CODE_SOURCE, f"the figures of its host are not believed: {load.view.doubts[host.name]}")
    if facts.hold is not None:
        return Reason(CODE_HELD, f"is left alone: {facts.hold}")
    return to_leaving(load, vm)
