"""What a reload changes, in the operator's own words."""

import pytest

from scheduler.config import Config, differences, parse

OLD = """
[[hosts]]
name = "node1"
uri = "qemu+tls://node1/system"
[[hosts]]
name = "node2"
uri = "qemu+tls://node2/system"
"""


def after(text: str, old: str = OLD) -> tuple[Config, Config]:
    return parse(old, "old.toml"), parse(text, "new.toml")


def test_the_same_config_changes_nothing() -> None:
    changes = differences(*after(OLD))
    assert (changes.lines, changes.needs_restart) == ((), ())
    assert str(changes) == "nothing changed"


@pytest.mark.parametrize(
    ("addition", "line"),
    [
        ('[balance]\nhold = "5min"', "balance.hold: 2min -> 5min"),
        ("[balance]\nmax_moves = 3", "balance.max_moves: unlimited -> 3"),
        ("[balance.weights]\ncpu = 2", "balance.weights.cpu: 1.0 -> 2.0"),
        ('[migration]\nbandwidth = "1GiB/s"', "migration.bandwidth: unlimited -> 1GiB/s"),
        ("[migration]\nauto_converge = true", "migration.auto_converge: False -> True"),
    ],
)
def test_a_changed_key_is_told_as_it_is_written(addition: str, line: str) -> None:
    changes = differences(*after(OLD + addition))
    assert changes.lines == (line,)
    assert str(changes) == line


PINS = """[[pins]]
vm = "db-*"
hosts = ["node1", "node2"]
[[pins]]
vm = "web-*"
hosts = ["node1"]
strength = "should"
"""
MODES = '[[modes]]\nvm = "a*"\nmode = "auto"\n[[modes]]\nvm = "ab*"\nmode = "observe"\n'


def test_rules_come_and_go_as_a_whole() -> None:
    changes = differences(*after(OLD + PINS.replace("db-*", "sql-*"), OLD + PINS))
    assert changes.lines == (
        'pins removed: { vm = "db-*", hosts = ["node1", "node2"] }',
        'pins added: { vm = "sql-*", hosts = ["node1", "node2"] }',
    )
    first_gone = OLD + PINS[PINS.index("[[pins]]", 1) :]
    assert differences(*after(first_gone, OLD + PINS)).lines == changes.lines[:1]


def test_order_is_told_where_it_counts() -> None:
    first, second = MODES.split("\n[[modes]]")
    assert differences(*after(f"[[modes]]{second}\n{first}{OLD}", OLD + MODES)).lines == ("modes: in another order",)
    first, second = PINS.split("\n[[pins]]")
    assert differences(*after(f"[[pins]]{second}\n{first}{OLD}", OLD + PINS)).lines == ()


def test_hosts_are_added_removed_and_changed_by_name() -> None:
    new = """
    [[hosts]]
    name = "node3"
    uri = "qemu+tls://node3/system"
    [[hosts]]
    name = "node2"
    uri = "qemu+tls://10.0.0.2/system"
    """
    changes = differences(*after(new))
    assert (changes.hosts_added, changes.hosts_removed, changes.hosts_changed) == (("node3",), ("node1",), ("node2",))
    assert "hosts[node2].uri: qemu+tls://node2/system -> qemu+tls://10.0.0.2/system" in changes.lines
    assert changes.lines[:2] == ("host node3 added: qemu+tls://node3/system", "host node1 removed")
    assert not [line for line in changes.lines[2:] if "node2" not in line]


def test_the_order_of_hosts_is_no_change() -> None:
    first, second = OLD.strip().split("\n[[hosts]]")
    assert differences(*after(f"[[hosts]]{second}\n{first}")).lines == ()


def test_what_is_kept_of_a_host_needs_no_new_connection() -> None:
    changes = differences(*after(OLD + 'reserved_memory = "4GiB"'))
    assert changes.lines == ("hosts[node2].reserved_memory: 1GiB -> 4GiB",)
    assert changes.hosts_changed == ()


def test_what_is_taken_in_at_the_start_needs_a_restart() -> None:
    changes = differences(
        *after('state_directory = "/srv"\n[api]\nsocket = "/run/a.sock"\n[metrics]\nlisten = ""' + OLD)
    )
    assert changes.needs_restart == ("state_directory", "api.socket", "metrics.listen")
    assert 'metrics.listen: 127.0.0.1:9177 -> ""' in changes.lines
    assert str(changes).endswith("(after a restart: state_directory, api.socket, metrics.listen)")
