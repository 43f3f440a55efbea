from typing import Any

import pytest

from scheduler.cluster.model import VmState
from tests.unit.clusters import cluster, host, verdict, vm

OLD, NEW = frozenset({"aes"}), frozenset({"aes", "avx2", "fma"})
LACKS = {"cpu_missing": "CPU lacks avx2, fma"}
UNKNOWN = {"cpu_unknown": "whether its CPU can run the VM is unknown"}


@pytest.mark.parametrize(
    ("features", "facts", "expected"),
    [
        pytest.param(NEW, {"required_cpu_features": NEW}, {}, id="the host has all"),
        pytest.param(OLD, {"required_cpu_features": NEW}, LACKS, id="the host lacks some"),
        pytest.param(OLD, {"cpu_missing_on": {"b": NEW - OLD}}, LACKS, id="libvirt says what it lacks"),
        pytest.param(OLD, {"required_cpu_features": NEW, "cpu_missing_on": {"b": frozenset()}}, {}, id="libvirt wins"),
        pytest.param(None, {"required_cpu_features": NEW}, UNKNOWN, id="the host's features are unknown"),
        pytest.param(OLD, {"cpu_missing_on": {"a": frozenset()}}, UNKNOWN, id="asked elsewhere, not here"),
        pytest.param(OLD, {}, {}, id="the VM states nothing"),
        pytest.param(None, {"required_cpu_features": NEW, "state": VmState.STOPPED}, {}, id="a start may be tried"),
        pytest.param(OLD, {"required_cpu_features": NEW, "state": VmState.STOPPED}, LACKS, id="a start must fit too"),
    ],
)
def test_yes_no_or_unknown(features: frozenset[str] | None, facts: dict[str, Any], expected: dict[str, str]) -> None:
    snapshot = cluster([host("a"), host("b", cpu_features=features)], [vm("web", "a", **facts)])
    assert verdict(snapshot, "web", "b") == expected


def test_a_vm_can_run_where_it_runs() -> None:
    running = vm("web", "a", required_cpu_features=NEW)
    stranger = vm("db", "b", required_cpu_features=NEW)
    snapshot = cluster([host("a", cpu_features=OLD), host("b", cpu_features=NEW)], [running, stranger])
    assert verdict(snapshot, "web", "a") == {}
    assert verdict(snapshot, "db", "a") == LACKS
