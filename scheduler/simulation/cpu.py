"""How simulated hosts judge CPUs: by the sets of features alone."""

from collections.abc import Sequence
from dataclasses import replace

from ..cluster.observation import DomainFacts
from ..cluster.ports import CpuAnswer, RefusedError
from ..hypervisor.domain_xml import HOST_DEPENDENT_CPU_MODES
from .host import SimulatedHost


def compare(host: SimulatedHost, facts: DomainFacts) -> CpuAnswer:
    """Whether the host can run the guest."""
    features, required = host.facts.cpu_features, facts.required_cpu_features
    if features is None or required is None or host.cpu_verdict_unknown:
        return CpuAnswer(compatible=None, text="this host cannot compare CPUs")
    missing = required - features
    return CpuAnswer(compatible=not missing, missing=missing, text="features are missing" if missing else "")


def host_model_guest(host: SimulatedHost, like: DomainFacts | None) -> DomainFacts:
    """A guest as it would be once started there; RefusedError when the host's CPU is unknown."""
    if like is not None and not any(mode in (like.cpu_xml or "") for mode in HOST_DEPENDENT_CPU_MODES):
        return like
    if host.facts.cpu_features is None:
        raise RefusedError(host.name, "its CPU is unknown")
    return _guest_of(host.facts.cpu_features, like)


def baseline_guest(host: SimulatedHost, guests: Sequence[DomainFacts]) -> DomainFacts:
    """A guest with what all of them have; RefusedError when that is nothing."""
    shared = frozenset.intersection(*(guest.required_cpu_features or frozenset() for guest in guests))
    if not shared:
        raise RefusedError(host.name, "the CPUs have nothing in common")
    return _guest_of(shared, guests[0])


def _guest_of(features: frozenset[str], like: DomainFacts | None) -> DomainFacts:
    named = "".join(f"<feature policy='require' name='{name}'/>" for name in sorted(features))
    cpu_xml = f"<cpu mode='custom' match='exact'><model>kvm64</model>{named}</cpu>"
    return replace(like or DomainFacts(vcpus=1, memory_mib=1), cpu_xml=cpu_xml, required_cpu_features=features)
