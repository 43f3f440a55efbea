"""The cluster as it is: hosts, VMs, why a VM may be where, and taking hosts in and out of use."""

from pathlib import Path

import click

from .client import Record, at
from .session import Session, live, print_json


@click.command()
@live
def hosts(session: Session) -> None:
    """List the hosts with what is used and what is free."""
    answer = session.api.get("/v1/hosts")
    session.show(answer, lambda: _show_hosts(answer["hosts"]))


def _show_hosts(found: list[Record]) -> None:
    from .present import cores, mib, table

    table(
        ("HOST", "STATE", ">CPU USED", ">CPUS", ">FREE MiB", ">OF MiB", ">VMS", "NOTE"),
        [
            (
                host["name"],
                host["state"],
                cores(host["cpu_used_cores"]),
                host["cpus"] or "?",
                mib(host["free_memory_mib"]),
                mib(host["memory_mib"]),
                host["vms_running"],
                _host_note(host),
            )
            for host in found
        ],
    )


def _host_note(host: Record) -> str:
    from .present import moment, seconds

    notes = [host["detail"]] if host["detail"] else []
    if host.get("drain_ends_at"):
        notes.append(f"until about {moment(host['drain_ends_at'])}")
    if host["contended_seconds"]:
        notes.append(f"contended for {seconds(host['contended_seconds'])}")
    notes += [f"{host[way]} {way}" for way in ("inbound", "outbound") if host[way]]
    return ", ".join(notes)


@click.command()
@click.argument("glob", required=False)
@live
def vms(session: Session, glob: str | None) -> None:
    """List the VMs, all or those that GLOB means (a name, a glob, a UUID, tag:KEY or tag:KEY=VALUE)."""
    answer = session.api.get("/v1/vms", name=glob)
    session.show(answer, lambda: _show_vms(answer["vms"]))


def _show_vms(found: list[Record]) -> None:
    from .present import cores, mib, percent, table

    table(
        ("VM", "HOST", "STATE", ">VCPUS", ">CPU", ">WAITS", ">MEM MiB", "NOTE"),
        [
            (
                vm["name"],
                vm.get("host") or "-",
                vm.get("state", "running"),
                vm["vcpus"],
                cores(vm.get("cpu_demand_cores")) if _runs(vm) else "",
                percent(vm.get("cpu_wait_ratio")) if _runs(vm) else "",
                mib(vm["memory_mib"]),
                _vm_note(vm),
            )
            for vm in sorted(found, key=lambda vm: str(vm["name"]))
        ],
    )


def _runs(vm: Record) -> bool:
    return str(vm.get("state", "running")) == "running"


def _vm_note(vm: Record) -> str:
    notes = [str(vm["quarantine"])] if vm.get("quarantine") else []
    notes += [f"moves to {vm['destination']}"] if vm.get("destination") else []
    notes += vm.get("blockers") or ([] if vm.get("movable", True) else ["cannot move"])
    if vm.get("hold"):
        notes.append(str(vm["hold"]))
    return ", ".join(notes)


@click.command()
@click.argument("vm")
@click.option("--host", help="Only about this host.")
@click.option("--snapshot", type=click.Path(path_type=Path), help="Decide on this snapshot, without a daemon.")
@live
def explain(session: Session, vm: str, host: str | None, snapshot: Path | None) -> None:
    """Say why a VM may or may not be on each host, and what would have to change."""
    if snapshot is not None:
        from .offline import explained

        offline = explained(snapshot, vm, host)
        session.show(offline, lambda: _show_verdicts(offline))
        return
    answer = session.api.get(at("vms", vm, "explain"), host=host)
    session.show(answer, lambda: _show_verdicts(answer))


def _forecast(cost: Record | None) -> str:
    from .present import forecast

    if cost is None:
        return ""
    return forecast(cost["seconds"], cost["downtime_ms"], cost["transferred_mib"], cost["helped_by"])


def _show_verdicts(answer: Record) -> None:
    from .present import reasons, say, table

    say(f"{answer['vm']} is on {answer['host']}" if answer["host"] else f"{answer['vm']} is on no host")
    table(
        ("HOST", "MAY BE THERE", ">SCORE", "GOING THERE TAKES", "WHY NOT", "WOULD FIT IF"),
        [
            (
                verdict["host"],
                "yes" if verdict["allowed"] else "no",
                "" if verdict["score"] is None else f"{verdict['score']:.3f}",
                _forecast(verdict.get("forecast")),
                reasons(verdict["reasons"]),
                " and ".join(str(change["text"]) for change in verdict.get("changes", ())),
            )
            for verdict in answer["verdicts"]
        ],
    )
    for verdict in answer["verdicts"]:
        remedies = [reason["remedy"] for reason in verdict["reasons"] if reason.get("remedy")]
        if remedies:
            say(f"for {verdict['host']}: {'; '.join(remedies)}")
    for caution in answer.get("cautions", ()):
        say(str(caution["text"]))
    if answer["quarantine"]:
        say(f"nothing moves it: {answer['quarantine']}")
    if answer["hold"]:
        say(f"balancing leaves it alone: {answer['hold']}")
    asked_for = {verdict["host"] for verdict in answer["verdicts"]}
    for host, why in answer["not_to"].items():
        if host in asked_for:
            say(f"balancing does not move it to {host}: {why}")


@click.command()
@click.option("--cycle", help="What this cycle decided on, instead of this moment; see decisions.")
@live
def snapshot(session: Session, cycle: str | None) -> None:
    """Print the whole cluster as JSON, as plan, place and apply take it; plan then does as the daemon did."""
    print_json(session.api.get("/v1/snapshot" if cycle is None else at("decisions", cycle, "snapshot")))


@click.command()
@click.argument("host")
@live
def cordon(session: Session, host: str) -> None:
    """Let nothing start on a host or move to it any more; its VMs stay."""
    answer = session.api.post(at("hosts", host, "cordon"))
    session.show_lines(answer, [f"{host}: nothing starts on it or moves to it any more"])


@click.command()
@click.argument("host")
@live
def uncordon(session: Session, host: str) -> None:
    """Take a host into use again."""
    answer = session.api.post(at("hosts", host, "uncordon"))
    session.show_lines(answer, [f"{host}: in use again ({answer['state']})"])
