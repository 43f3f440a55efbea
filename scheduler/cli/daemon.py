"""The daemon itself: run it, check its config, see how it is, have it read its config again."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .choice import Choice
from .session import BAD_INPUT, Session, fail, live, print_json

if TYPE_CHECKING:
    from ..config import Config
    from ..config.rules import AntiAffinitySection

_config = click.option(
    "--config", "config_path", type=click.Path(path_type=Path), help="Instead of the global --config."
)


@click.command()
@_config
@click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="Instead of the config's log.level."
)
@click.pass_obj
def run(choice: Choice, config_path: Path | None, log_level: str | None) -> None:
    """Run the daemon in the foreground."""
    path = config_path or choice.config_path
    _load(path)
    from ..daemon.app import run as run_daemon
    from ..logs import configure

    sys.exit(run_daemon(path, lambda config: configure(log_level or config.log.level, config.log.format)))


@click.command()
@_config
@click.option("--connect", is_flag=True, help="Also try the hosts and every way between them; 1 when one fails.")
@click.option(
    "--snapshot",
    "snapshot_path",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Also hold the rules against a snapshot's VMs and hosts (without a config: the snapshot's own); 1 when they"
    " contradict each other.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for other tools: the config with all defaults.")
@click.pass_obj
def check(choice: Choice, config_path: Path | None, connect: bool, snapshot_path: Path | None, as_json: bool) -> None:
    """Say whether a config can be used, every mistake in it, and what it amounts to."""
    from ..config import DEFAULT_PATH, files_read

    if connect and snapshot_path is not None:
        raise click.UsageError("--connect and --snapshot exclude each other")
    path = config_path or choice.config_path
    config = _load(path, as_json=as_json)
    if connect:
        from .doctor import examine

        sys.exit(examine(config, as_json=as_json))
    if snapshot_path is not None:
        from .doctor import examine_snapshot

        rules = config.to_rules() if files_read(path) else None
        sys.exit(examine_snapshot(snapshot_path, rules, as_json=as_json))
    if as_json:
        print_json({"valid": True, "problems": [], "config": config.written()})
        return
    if files := files_read(path):
        click.echo(f"{', '.join(map(str, files))}: valid")
    else:
        click.echo(f"{DEFAULT_PATH} does not exist: the defaults hold, this machine is scheduled.")
    _summarise(config)


def _load(path: Path | None, *, as_json: bool = False) -> "Config":
    from ..config import ConfigError, load

    try:
        return load(path)
    except ConfigError as error:
        if as_json:
            print_json({"valid": False, "problems": list(error.problems)})
        for problem in error.problems:
            fail(problem)
        sys.exit(BAD_INPUT)


def _summarise(config: "Config") -> None:
    from .present import mib, say, table

    say(f"mode {config.mode}, objective {config.balance.objective}, state in {config.state_directory}")
    table(
        ("HOST", "URI", "PEER URI", ">RESERVED MiB"),
        [
            (host.name, host.uri, host.to_address().peer_uri, mib(host.reserved_memory_mib))
            for host in config.hosts
        ],
    )  # fmt: skip
    rules = [
        *((f"pin ({pin.strength})", pin.vm, f"on {', '.join(pin.hosts)}") for pin in config.pins),
        *((f"apart ({r.strength})", ", ".join(r.vms), _apart(r)) for r in config.anti_affinity),
        *((f"together ({rule.strength})", ", ".join(rule.vms), "on one host") for rule in config.affinity),
        *((f"priority {entry.priority}", ", ".join(entry.vms), "") for entry in config.priorities),
        *((f"mode {entry.mode}", entry.vm, "") for entry in config.modes),
    ]
    if rules:
        table(("RULE", "VMs", ""), rules)
    else:
        say("no rules")


def _apart(rule: "AntiAffinitySection") -> str:
    place = rule.spread_over or "host"
    if rule.against:
        return f"from {', '.join(rule.against)}, on no {place} together"
    return f"at most {rule.max_per_host} a {place}"


@click.command()
@live
def status(session: Session) -> None:
    """Show the daemon in one look."""
    found = session.api.get("/v1/status")
    session.show(found, lambda: _show_status(found))


def _show_status(found: dict[str, object]) -> None:
    from .present import moment, say

    started, cycle_at = found["started_at"], found["cycle_at"]
    assert isinstance(started, float | int)  # noqa: S101 - the contract
    last = f" at {moment(float(cycle_at))}" if isinstance(cycle_at, float | int) else ""
    say(f"virt-scheduler {found['version']}, mode {found['mode']}, running since {moment(float(started))}")
    if not found["ready"]:
        say("not ready yet")
    say(f"cycle {found['cycle'] or 'none yet'}{last}: {found['sentence']}")
    say(f"hosts: {found['hosts_up']} of {found['hosts_total']} up")
    down = found["hosts_down"]
    assert isinstance(down, dict)  # noqa: S101 - the contract
    for name, why in down.items():
        say(f"  {name}: {why}")
    say(f"VMs: {found['vms_running']} of {found['vms_total']} running")
    say(f"migrations under way: {found['migrations_running']}")
    say(f"recommendations to approve: {found['recommendations_pending']}")
    say(f"config: {found['config_path'] or 'none, the defaults hold'}")
    pending = found["config_needs_restart"]
    assert isinstance(pending, list)  # noqa: S101 - the contract
    if pending:
        say(f"  in force after a restart: {', '.join(pending)}")
    if found["config_error"]:
        say(f"the last reload was refused: {found['config_error']}")


@click.command()
@live
def reload(session: Session) -> None:
    """Have the daemon read its config again; a mistake in it changes nothing."""
    answer = session.api.post("/v1/reload")
    session.show_lines(answer, [answer["changed"]])
