"""Several files make one config: their order, what may be said twice, and where a mistake is told to be."""

from pathlib import Path

import pytest

from scheduler.config import ConfigError, files_read, find_socket, load

MAIN = """
mode = "auto"
[limits]
cooldown = "1h"
[[hosts]]
name = "node1"
uri = "qemu+tls://node1/system"
[[modes]]
vm = "a*"
mode = "observe"
"""
NODE2 = '[[hosts]]\nname = "node2"\nuri = "qemu+tls://node2/system"\n'


@pytest.fixture
def main(tmp_path: Path) -> Path:
    (tmp_path / "config.toml").write_text(MAIN)
    (tmp_path / "conf.d").mkdir()
    return tmp_path / "config.toml"


def drop_in(main: Path, name: str, text: str) -> Path:
    path = main.parent / "conf.d" / name
    path.write_text(text)
    return path


def problems(main: Path) -> list[str]:
    """What is refused, with file names instead of whole paths."""
    with pytest.raises(ConfigError) as refused:
        load(main)
    return [problem.replace(f"{main.parent}/", "") for problem in refused.value.problems]


def test_the_files_beside_the_main_one_are_read_by_name_after_it(main: Path) -> None:
    drop_in(main, "20-b.toml", '[[modes]]\nvm = "b*"\nmode = "auto"')
    drop_in(main, "10-a.toml", NODE2 + '[[modes]]\nvm = "ab*"\nmode = "auto"\n[limits]\nmax_inbound = 2')
    for passed_over in ("30-c.toml~", ".40-d.toml", "50-e.txt"):
        drop_in(main, passed_over, "this is no TOML")
    config = load(main)
    assert [host.name for host in config.hosts] == ["node1", "node2"]
    assert [entry.vm for entry in config.modes] == ["a*", "ab*", "b*"]
    assert (config.limits.cooldown_seconds, config.limits.max_inbound) == (3600, 2)
    assert [path.name for path in files_read(main)] == ["config.toml", "10-a.toml", "20-b.toml"]


def test_what_is_set_twice_is_told_with_both_places(main: Path) -> None:
    drop_in(main, "10-a.toml", '[limits]\ncooldown = "2h"\n[balance.weights]\ncpu = 2')
    drop_in(main, "20-b.toml", 'mode = "observe"\n[balance]\nweights = { cpu = 1.0, memory = 2 }')
    assert problems(main) == [
        "conf.d/10-a.toml: limits.cooldown: is also set in config.toml, and can be in one file only",
        "conf.d/20-b.toml: mode: is also set in config.toml, and can be in one file only",
        "conf.d/20-b.toml: balance.weights.cpu: is also set in conf.d/10-a.toml, and can be in one file only",
    ]


def test_a_mistake_is_told_where_it_is_written(main: Path) -> None:
    drop_in(main, "10-a.toml", NODE2 + '[[pins]]\nvm = "a"\nhosts = ["node1"]')
    drop_in(main, "20-b.toml", '[[pins]]\nvm = "a"\n[limits]\ncooldwn = 1\n[[hosts]]\nname = "x"\nuri = "y"')
    assert problems(main) == [
        "conf.d/20-b.toml: hosts[0].uri: 'y' is no libvirt URI: write qemu:///system or qemu+tls://node1/system",
        "conf.d/20-b.toml: pins[0].hosts: is missing",
        (
            "conf.d/20-b.toml: limits.cooldwn: unknown key (did you mean `cooldown`?); allowed: max_inbound, "
            "max_outbound, max_moved_per_hour, min_moves_per_hour, cooldown, max_cooldown, reverse_ban, "
            "manual_move_hold, warm_up, "
            "failure_backoff"
        ),
    ]


def test_a_contradiction_between_files_names_both(main: Path) -> None:
    drop_in(main, "10-a.toml", NODE2.replace("node2", "node1") + '[limits]\nmax_cooldown = "10min"')
    drop_in(main, "20-b.toml", '[[pins]]\nvm = "a"\nhosts = ["node9"]')
    assert problems(main) == [
        "conf.d/10-a.toml: hosts[0].name: 'node1' is also that of hosts[0] in config.toml",
        "conf.d/10-a.toml: hosts[0].uri: 'qemu+tls://node1/system' is also that of hosts[0] in config.toml",
        "conf.d/20-b.toml: pins[0].hosts[0]: 'node9' is no host; allowed: node1, node1",
        "conf.d/10-a.toml: limits.max_cooldown: must not be shorter than limits.cooldown in config.toml",
    ]


def test_all_files_that_cannot_be_read_are_told(main: Path) -> None:
    drop_in(main, "10-a.toml", "mode = ")
    (main.parent / "conf.d" / "20-b.toml").write_bytes(b"\xff")
    (main.parent / "conf.d" / "30-c.toml").mkdir()
    (main.parent / "conf.d" / "40-d.toml").symlink_to("nowhere")
    main.unlink()
    assert problems(main) == [
        "config.toml: there is no such file",
        "conf.d/10-a.toml: no valid TOML: Invalid value (at end of document)",
        "conf.d/20-b.toml: is not UTF-8 text (byte 0)",
        "conf.d/30-c.toml: Is a directory",
        "conf.d/40-d.toml: there is no such file",
    ]


def test_what_should_be_the_directory_and_is_none_is_told(main: Path) -> None:
    (main.parent / "conf.d").rmdir()
    assert load(main).mode == "auto"
    (main.parent / "conf.d").write_text("")
    assert problems(main) == ["conf.d: Not a directory"]


def test_the_socket_is_found_in_any_of_the_files_whatever_else_is_wrong(main: Path) -> None:
    drop_in(main, "10-a.toml", '[api]\nsocket = "/run/x.sock"')
    drop_in(main, "20-b.toml", "mode = ")
    assert find_socket(main) == Path("/run/x.sock")
