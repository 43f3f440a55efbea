"""Every mistake is told with file, place, what is wrong and what is allowed."""

from pathlib import Path

import pytest

from scheduler.config import Config, ConfigError, load, parse

HOSTS = """
[[hosts]]
name = "node1"
uri = "qemu+tls://node1/system"
[[hosts]]
name = "node2"
uri = "qemu+tls://node2/system"
"""


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        parse(text, "c.toml")
    assert str(refused.value).splitlines() == list(refused.value.problems)
    assert all(problem.startswith("c.toml: ") for problem in refused.value.problems)
    return [problem.removeprefix("c.toml: ") for problem in refused.value.problems]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('mode = "autp"', "mode: 'autp' is not allowed (did you mean `auto`?); one of: observe, recommend, auto"),
        ("mode = 3", "mode: 3 is not allowed; one of: observe, recommend, auto"),
        ("sweep_interval = 0", "sweep_interval: must be greater than 0, not 0"),
        ('sample_interval = "10"',
         "sample_interval: '10' is no duration: write 10s, 2min or 6h (units ms, s, min, h, d)"),
        ('state_directory = "here"', "state_directory: 'here' must be an absolute path"),
        ("hosts = []", "hosts: must not be empty"),
        ("hosts = 1", "hosts: must be a list of tables ([[hosts]]), not 1"),
        ("balance = 1", "balance: must be a table, not 1"),
        ('[[hosts]]\nname = "a"', "hosts[0].uri: is missing"),
        ('[[hosts]]\nname = "a"\nuri = "node1"', ("hosts[0].uri: 'node1' is no libvirt URI: "
         "write qemu:///system or qemu+tls://node1/system")),
        ('[[hosts]]\nname = "a b"\nuri = "qemu:///system"', ("hosts[0].name: 'a b' is no host name: "
         "letters, digits, '.', '_' and '-'")),
        ('[[hosts]]\nname = "a"\nuri = "qemu:///system"\npeer_uri = "x"', ("hosts[0].peer_uri: 'x' is no libvirt URI: "
         "write qemu:///system or qemu+tls://node1/system")),
        ('[[hosts]]\nname = "a"\nuri = "qemu:///system"\nlabels = { rack = 1 }',
         "hosts[0].labels.rack: must be a valid string, not 1"),
        ('[[hosts]]\nname = "a"\nuri = "qemu:///system"\nreserved_memory = 2',
         "hosts[0].reserved_memory: 2 is no size: write 512MiB or 2GiB (units MiB, GiB, TiB, MB, GB, TB)"),
        ('[[hosts]]\nname = "a"\nuri = "qemu:///system"\nury = 2',
         ("hosts[0].ury: unknown key (did you mean `uri`?); "
         "allowed: name, uri, peer_uri, migration_address, migration_port, reserved_memory, labels, mode")),
        ("[limits]\ncooldown_seconds = 3", ("limits.cooldown_seconds: unknown key (did you mean `cooldown`?); "
         "allowed: max_inbound, max_outbound, max_moved_per_hour, min_moves_per_hour, cooldown, max_cooldown, "
         "reverse_ban, manual_move_hold, warm_up, failure_backoff")),
        ("sweep_interval = nan", "sweep_interval: nan is no duration: allowed is up to 3650d"),
        ('sweep_interval = "1e9d"', ("sweep_interval: '1e9d' is no duration: write 10s, 2min or 6h "
         "(units ms, s, min, h, d)")),
        ('sweep_interval = "9999999d"', "sweep_interval: '9999999d' is no duration: allowed is up to 3650d"),
        (f"sweep_interval = 0x{'f' * 5000}",
         "sweep_interval: a number of thousands of digits is no duration: allowed is up to 3650d"),
        (f"mode = [{'1, ' * 100}]",
         ("mode: [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1... is not allowed; "
         "one of: observe, recommend, auto")),
        ("[balance.weights]\ncpu = inf", "balance.weights.cpu: must be a finite number, not inf"),
        ('[[hosts]]\nname = "a"\nuri = "qemu://[::1/system"', ("hosts[0].uri: 'qemu://[::1/system' is no libvirt URI: "
         "write qemu:///system or qemu+tls://node1/system")),
        ('[[hosts]]\nname = "a"\nuri = "qemu:///system"\nlabels = { "a\\nb" = 1 }',
         'hosts[0].labels."a\\nb": must be a valid string, not 1'),
        ('[metrics]\nlisten = "h:²"', ("metrics.listen: 'h:²' is no address: "
         'write 127.0.0.1:9177, or "" for no listener')),
        ("[balance.weights]\ndisk = 1", "balance.weights.disk: unknown key; allowed: cpu, memory, vcpus"),
        ("[balance]\nminimum_gain = 10", "balance.minimum_gain: must be less than or equal to 1, not 10"),
        ('[limits]\nmax_inbound = "2"', "limits.max_inbound: must be a valid integer, not '2'"),
        ("[limits]\nmax_inbound = true", "limits.max_inbound: must be a valid integer, not True"),
        ("[migration]\nauto_converge = 1", "migration.auto_converge: must be a valid boolean, not 1"),
        ("[migration]\nmax_downtime = 300",
         "migration.max_downtime: 300 must be from 1ms to 1min (a number without unit is seconds)"),
        ('[migration]\nbandwidth = "100MiB"', ("migration.bandwidth: '100MiB' is no bandwidth: "
         "write 100MiB/s or 1GiB/s")),
        ('[metrics]\nlisten = ":9177"', ("metrics.listen: ':9177' is no address: "
         'write 127.0.0.1:9177, or "" for no listener')),
        ('[[pins]]\nvm = ""\nhosts = ["a"]', ("pins[0].vm: '' selects nothing: "
         "write a name, a glob, a UUID, tag:KEY or tag:KEY=VALUE")),
        ('[[pins]]\nvm = "a"\nhosts = []', "pins[0].hosts: must not be empty"),
        ('[[anti_affinity]]\nvms = ["a"]\nmax_per_host = 0',
         "anti_affinity[0].max_per_host: must be greater than or equal to 1, not 0"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_place(text: str, problem: str) -> None:
    assert problems(text) == [problem]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (f'{HOSTS}[[hosts]]\nname = "node1"\nuri = "qemu+tls://node3/system"',
         "hosts[2].name: 'node1' is also that of hosts[0]"),
        (f'{HOSTS}[[hosts]]\nname = "node3"\nuri = "qemu+tls://node1/system"',
         "hosts[2].uri: 'qemu+tls://node1/system' is also that of hosts[0]"),
        (f'{HOSTS}[[hosts]]\nname = "node3"\nuri = "qemu:///system"',
         ("hosts[2].peer_uri: other hosts cannot reach qemu:///system; "
         "write how they do, such as qemu+tls://node3/system")),
        (f'{HOSTS}[[pins]]\nvm = "a"\nhosts = ["node1", "rack-*"]',
         "pins[0].hosts[1]: 'rack-*' is no host; allowed: node1, node2"),
        (f'{HOSTS}[[pins]]\nvm = "a"\nhosts = ["node1"]\n[[pins]]\nvm = "a"\nhosts = ["node2"]',
         "pins[1]: cannot hold together with pins[0] for a"),
        (f'{HOSTS}[[pins]]\nvm = "tag:db"\nhosts = ["node1"]\n[[pins]]\nvm = "tag:db"\nhosts = ["node2"]',
         "pins[1]: cannot hold together with pins[0] for tag:db"),
        (f'{HOSTS}[[pins]]\nvm = "[ab]"\nhosts = ["node1"]\n[[anti_affinity]]\nvms = ["a", "b", "c-*"]',
         "anti_affinity[0]: cannot hold together with pins[0] for a, b"),
        (f'{HOSTS}[[affinity]]\nvms = ["a", "b"]\n[[anti_affinity]]\nvms = ["a"]\nagainst = ["b", "c"]',
         "anti_affinity[0]: cannot hold together with affinity[0] for a, b"),
        (f'{HOSTS}[[anti_affinity]]\nvms = ["a"]\nagainst = ["b"]\nmax_per_host = 2',
         "anti_affinity[0].max_per_host: says nothing beside against, where none may meet; leave it out"),
        ('[[anti_affinity]]\nvms = ["a"]\nagainst = ["tag:"]',
         "anti_affinity[0].against[0]: 'tag:' selects nothing: write a name, a glob, a UUID, tag:KEY or tag:KEY=VALUE"),
        ('[[priorities]]\nvms = ["a"]\npriority = 7',
         "priorities[0].priority: 7 is no priority; one of: -2, -1, 0, 1, 2"),
        ('[[priorities]]\nvms = ["a"]', "priorities[0].priority: is missing"),
        (f'{HOSTS}[[anti_affinity]]\nvms = ["a", "b", "c"]',
         "anti_affinity[0].vms: a, b, c must keep apart, the hosts take only 2 of them"),
        ('[limits]\ncooldown = "7h"', "limits.max_cooldown: must not be shorter than limits.cooldown"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_told(text: str, problem: str) -> None:
    assert problems(text) == [problem]


def test_what_only_looks_contradictory_is_let_through() -> None:
    parse(
        f"""{HOSTS}
        pins = [{{ vm = "a", hosts = ["node1"] }}, {{ vm = "a", hosts = ["node2"], strength = "should" }}]
        anti_affinity = [{{ vms = ["a", "b", "c"], strength = "should" }}, {{ vms = ["web-*", "db-*", "tag:x"] }}]
        """.replace(HOSTS, "")
        + HOSTS,
        "c.toml",
    )


def test_all_mistakes_are_told_at_once() -> None:
    found = problems('mode = 1\nmod = "auto"\n[[hosts]]\nname = "a b"\nuri = "x"\n[log]\nlevel = "INFO"')
    assert [problem.partition(":")[0] for problem in found] == [
        "mode",
        "hosts[0].name",
        "hosts[0].uri",
        "log.level",
        "mod",
    ]


def test_a_syntax_error_has_line_and_column() -> None:
    assert problems("mode = \nmode") == ["no valid TOML: Invalid value (at line 1, column 8)"]


def test_nested_beyond_measure_is_a_mistake_too() -> None:
    assert problems(f"mode = {'[' * 100_000}") == ["no valid TOML: it is nested too deeply"]


def test_a_file_that_was_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml: there is no such file"):
        load(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="Is a directory"):
        load(tmp_path)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_bytes(b"mode = '\xff'")
    with pytest.raises(ConfigError, match="is not UTF-8 text"):
        load(tmp_path / "c.toml")


def test_an_empty_file_is_a_config(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("")
    assert load(tmp_path / "c.toml") == Config()
