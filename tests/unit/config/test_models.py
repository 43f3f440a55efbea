"""Defaults come from where they belong; what is written arrives where it is used."""

import socket

import pytest

from scheduler.cluster.ports import HostAddress
from scheduler.cluster.rules import Affinity, AntiAffinity, Pin, Priority, Strength
from scheduler.config import Config, parse
from scheduler.operations.settings import Limits, MigrationSettings, Mode
from scheduler.planner.settings import Objective, PlannerSettings

FULL = """
mode = "auto"
[[hosts]]
name = "node1"
uri = "qemu+tls://node1/system"
peer_uri = "qemu+tcp://10.0.0.1/system"
migration_address = "10.1.0.1"
reserved_memory = "2GiB"
labels = { rack = "a" }
mode = "observe"
[[hosts]]
name = "node2"
uri = "qemu+unix:///system?socket=/run/n2/sock"
[[pins]]
vm = "db-*"
hosts = ["node1", "node*"]
strength = "should"
[[anti_affinity]]
vms = ["web-*", "tag:web=yes"]
max_per_host = 2
[[affinity]]
vms = ["app", "cache"]
[[anti_affinity]]
vms = ["prod-*"]
against = ["batch-*", "tag:batch"]
strength = "should"
spread_over = "rack"
[[priorities]]
vms = ["prod-*"]
priority = 2
[[modes]]
vm = "tag:fragile"
mode = "recommend"
[balance]
objective = "spread"
hold = 30
max_moves = 4
weights = { vcpus = 2 }
[limits]
max_inbound = 3
cooldown = "1h30min"
[migration]
bandwidth = "1GiB/s"
expected_bandwidth = "50MiB/s"
max_downtime = "1s"
[metrics]
listen = "[::1]:9100"
"""


@pytest.fixture
def config() -> Config:
    return parse(FULL, "config.toml")


def test_without_a_config_the_defaults_are_those_of_the_settings() -> None:
    assert Config().to_planner_settings() == PlannerSettings()
    assert Config().to_limits() == Limits()
    assert Config().to_migration_settings() == MigrationSettings()


def test_without_a_config_this_machine_is_scheduled() -> None:
    (address,) = Config().to_host_addresses()
    assert (address.uri, address.peer_uri) == ("qemu:///system", "qemu:///system")
    assert address.name == socket.gethostname()
    assert Config().mode is Mode.RECOMMEND


def test_hosts_become_addresses(config: Config) -> None:
    assert config.to_host_addresses()[0] == HostAddress(
        name="node1",
        uri="qemu+tls://node1/system",
        peer_uri="qemu+tcp://10.0.0.1/system",
        migration_address="10.1.0.1",
    )
    assert config.to_host_addresses()[1].peer_uri == "qemu+unix:///system?socket=/run/n2/sock"
    assert config.to_host_addresses()[1].migration_address is None
    assert config.hosts[0].reserved_memory_mib == 2048


def test_rules_become_rules(config: Config) -> None:
    rules = config.to_rules()
    assert rules.pins == (Pin("db-*", ("node1", "node*"), Strength.SHOULD),)
    assert rules.anti_affinity == (
        AntiAffinity(("web-*", "tag:web=yes"), Strength.MUST, 2),
        AntiAffinity(("prod-*",), Strength.SHOULD, 1, "rack", ("batch-*", "tag:batch")),
    )
    assert rules.priorities == (Priority(("prod-*",), 2),)
    assert rules.affinity == (Affinity(("app", "cache"), Strength.MUST),)


def test_a_class_of_vms_differs_only_in_what_it_says() -> None:
    usual = Config.model_validate({"migration": {"timeout": "2h", "post_copy": True}})
    assert usual.to_migration_settings().classes == ()
    one = {"vms": ["db-*"], "bandwidth": "5MiB/s", "post_copy": False}
    config = Config.model_validate(
        {"migration": {"timeout": "2h", "post_copy": True, "bandwidth": "unlimited"}, "migration_classes": [one]}
    )
    (kind,) = config.to_migration_settings().classes
    assert kind.vms == ("db-*",)
    assert (kind.settings.timeout_seconds, kind.settings.post_copy) == (7200.0, False)
    assert kind.settings.bandwidth_mib_per_s == 5
    assert config.to_migration_settings().bandwidth_mib_per_s is None
    planner = config.to_planner_settings()
    assert (planner.migration.post_copy, planner.migration_classes[0].means.post_copy) == (True, False)


def test_sections_become_settings(config: Config) -> None:
    planner = config.to_planner_settings()
    assert (planner.objective, planner.hold_seconds, planner.max_moves) == (Objective.SPREAD, 30.0, 4)
    assert planner.weights == {"cpu": 1.0, "memory": 1.0, "vcpus": 2.0}
    assert (planner.max_inbound, planner.max_outbound, planner.bandwidth_mib_per_s) == (3, 2, 50)
    assert config.to_limits().cooldown_seconds == 5400.0
    assert config.to_limits().max_inbound == 3
    assert config.to_migration_settings() == MigrationSettings(bandwidth_mib_per_s=1024, max_downtime_ms=1000)


def test_the_metrics_listener_has_an_address_or_none(config: Config) -> None:
    assert config.metrics.address == ("::1", 9100)
    assert Config().metrics.address == ("127.0.0.1", 9177)
    assert parse('metrics = { listen = "" }', "config.toml").metrics.address is None


@pytest.mark.parametrize(
    ("labels", "host", "mode"),
    [
        ({"fragile": ""}, "node1", Mode.RECOMMEND),
        ({}, "node1", Mode.OBSERVE),
        ({}, "node2", Mode.AUTO),
        ({}, None, Mode.AUTO),
    ],
)
def test_a_vms_mode_is_its_own_else_its_hosts_else_the_clusters(
    config: Config, labels: dict[str, str], host: str | None, mode: Mode
) -> None:
    assert config.mode_of(name="vm", uuid="u", labels=labels, host=host) is mode


def test_what_is_written_out_reads_back_the_same(config: Config) -> None:
    for one in (config, Config()):
        assert Config.model_validate(one.written(), by_alias=True, by_name=False) == one
