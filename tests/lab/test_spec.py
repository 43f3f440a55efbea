"""What a lab may be, and what its hosts report: needs neither root nor libvirt."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from scheduler.lab import cpu_generation, reported
from scheduler.lab.errors import LabError
from scheduler.lab.guest import guest_address
from scheduler.lab.spec import CPU_GENERATIONS, HostSpec, LabSpec, default_spec

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("hosts", [1, 3, 20])
def test_default_quotas_leave_a_part_of_the_machine_free(hosts: int) -> None:
    spec = default_spec(hosts, machine_cores=4)
    assert sum(host.cpu_quota_cores for host in spec.hosts) < 4
    assert [host.name for host in spec.hosts] == [f"node{number}" for number in range(1, hosts + 1)]
    worth = [host.cpu_quota_cores / host.cpus for host in spec.hosts]
    assert max(worth) - min(worth) < 0.01


def test_default_hosts_are_three_cpu_generations() -> None:
    assert tuple(host.cpu_model for host in default_spec(3).hosts) == CPU_GENERATIONS


def test_a_spec_survives_being_written_down() -> None:
    spec = default_spec(2)
    assert LabSpec.from_dict(spec.as_dict()) == spec


def test_impossible_specs_are_refused() -> None:
    with pytest.raises(LabError, match="node/1"):
        HostSpec("node/1")
    with pytest.raises(LabError, match="must differ: a, a"):
        LabSpec((HostSpec("a"), HostSpec("a")))
    with pytest.raises(LabError, match="1 to 200 hosts, not 0"):
        default_spec(0)


def test_addresses_of_guests_stay_clear_of_hosts_and_switch() -> None:
    addresses = [guest_address("10.66", f"vm{number}").split(".") for number in range(500)]
    assert all(2 <= int(third) <= 253 and 1 <= int(fourth) <= 250 for _, _, third, fourth in addresses)


def test_reported_cpu_time_is_read_back_and_keeps_its_length(tmp_path: Path) -> None:
    reported.create_files(tmp_path, HostSpec("node1", cpus=2), first_cpu=0)
    length = (tmp_path / reported.STAT).stat().st_size
    text = reported.stat_text(range(2), busy_seconds=123456.5, idle_seconds=7.25)
    reported.rewrite(tmp_path / reported.STAT, text)
    assert reported.read_stat(tmp_path) == (range(2), 123456.5, 7.25)
    assert (tmp_path / reported.STAT).stat().st_size == length


def test_reported_memory_never_falls_below_nothing(tmp_path: Path) -> None:
    reported.create_files(tmp_path, HostSpec("node1", memory_mib=1024), first_cpu=0)
    reported.write_memory(tmp_path, 1024, used_mib=5000)
    lines = (tmp_path / reported.MEMINFO).read_text().splitlines()
    assert [line.split()[1] for line in lines if line.startswith(("MemTotal", "MemFree"))] == ["1048576", "0"]


def test_injected_load_is_what_was_written_last(tmp_path: Path) -> None:
    assert reported.read_injected(tmp_path) == reported.Injected()
    reported.write_injected(tmp_path, reported.Injected(cpu_cores=0.5, memory_mib=100))
    assert reported.read_injected(tmp_path) == reported.Injected(0.5, 100)


def test_an_older_generation_loses_features_and_the_models_that_need_them(tmp_path: Path) -> None:
    models = {"Old": ["sse2"], "New": ["sse2", "avx2"]}
    for model, features in models.items():
        listed = "".join(f"<feature name='{feature}'/>" for feature in features)
        (tmp_path / f"x86_{model}.xml").write_text(f"<cpus><model name='{model}'>{listed}</model></cpus>")
    probed = tmp_path / "probed"
    probed.mkdir()
    (probed / "qemu.xml").write_text(
        "<qemuCaps><hostCPU type='tcg'>"
        "<property name='sse2' type='boolean' value='true' migratable='yes'/>"
        "<property name='avx2' type='boolean' value='true' migratable='yes'/>"
        "</hostCPU><cpu type='tcg' name='Old' usable='yes'/><cpu type='tcg' name='New' usable='yes'/></qemuCaps>"
    )
    cpu_generation.install(probed, tmp_path / "cache", "Old", cpu_map=tmp_path)
    aged = (tmp_path / "cache" / cpu_generation.CAPABILITIES / "qemu.xml").read_text()
    assert '<property name="sse2" type="boolean" value="true" migratable="yes" />' in aged
    assert '<property name="avx2" type="boolean" value="false" />' in aged
    assert '<cpu type="tcg" name="Old" usable="yes" />' in aged
    assert '<cpu type="tcg" name="New" usable="no"><blocker name="avx2" /></cpu>' in aged
    assert cpu_generation.kept(tmp_path / "cache", "Old")
    assert not cpu_generation.kept(tmp_path / "cache", "New")
