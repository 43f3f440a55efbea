"""The demonstration: `python -m scheduler.lab.demo` builds a cluster and lets the daemon show what it does.

Everything is done with the commands that an operator has, and every line is read from what really happened; a chapter
that did not happen as told ends the demonstration with the reason and exit code 1.
"""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from .demo_daemon import DemoDaemon
from .errors import LabError
from .guest import GuestSpec
from .lab import Lab, remove_leftovers
from .owner import Owner
from .ping import Ping
from .spec import HostSpec, LabSpec

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

GUEST_CORES = 0.32
"""What each VM wants when load rises: two are more than a host has, one is not."""
QUOTA_CORES = 0.5
"""What each host really gets of this machine; what is left is for the daemon and its watchers."""
HOSTS = LabSpec(
    (
        HostSpec("node1", "Nehalem", cpus=1, memory_mib=768, cpu_quota_cores=QUOTA_CORES, labels={"rack": "a"}),
        HostSpec("node2", "Westmere", cpus=1, memory_mib=1024, cpu_quota_cores=QUOTA_CORES, labels={"rack": "b"}),
        HostSpec("node3", "Haswell-noTSX", cpus=1, memory_mib=1536, cpu_quota_cores=QUOTA_CORES, labels={"rack": "c"}),
    )
)
XEONS = {"Nehalem": "Xeon 5500", "Westmere": "Xeon 5600", "Haswell-noTSX": "Xeon E5-2600"}
TELLING_FEATURES = ("sse4.2", "aes", "avx2")
"""What tells the three generations apart, as each host's own libvirt reports it."""

HOLD_S = 10

SETTINGS = """
# For the demonstration: what takes minutes in earnest takes seconds here.
sample_interval = "2s"
sweep_interval = "10s"
"""
RULES = f"""
[[pins]]
vm = "legacy-*"
hosts = ["node1"]

[[anti_affinity]]
vms = ["web*"]

[balance]
hold = "{HOLD_S}s"

[limits]
warm_up = "40s"
max_moved_per_hour = 1.0
"""


class Story:
    """The chapters, in order. Each raises LabError when it did not happen."""

    def __init__(self, lab: Lab, daemon: DemoDaemon, console: Console) -> None:
        self._lab = lab
        self._daemon = daemon
        self._console = console

    def tell(self) -> None:
        """All of it."""
        chapters: list[tuple[str, Callable[[], None]]] = [
            ("Three hosts of three CPU generations", self._show_hosts),
            ("VMs are placed, each on its best host, and it says why", self._place),
            ("A move to an older CPU is refused before the attempt", self._refuse_older_cpu),
            ("Load rises on one host, and the daemon relieves it by a live migration", self._relieve),
            ("A host is drained, its VMs in one command", self._drain),
            ("What Prometheus scrapes of it all", self._scrape),
        ]
        for number, (title, chapter) in enumerate(chapters, start=1):
            self._console.rule(f"[bold]{number}. {title}", align="left")
            chapter()

    def _show_hosts(self) -> None:
        hosts = self._hosts_now()
        _need([host["state"] for host in hosts] == ["up"] * len(HOSTS.hosts), f"not every host is up: {_states(hosts)}")
        features = {host["name"]: host["cpu_features"] for host in self._daemon.get("/v1/snapshot")["hosts"]}
        for host in hosts:
            generation = XEONS[self._lab.hosts[host["name"]].spec.cpu_model]
            shown = ", ".join(
                f"{name if name in features[host['name']] else 'no ' + name}" for name in TELLING_FEATURES
            )
            self._say(
                f"{host['name']}: {host['state']}, {generation} ({shown}), {host['cpus']} CPU, "
                f"{host['free_memory_mib']:,} of {host['memory_mib']:,} MiB free"
            )

    def _place(self) -> None:
        for name in ("web1", "db", "web2", "cache"):
            self._place_one(GuestSpec(name))
        free_mib = {host["name"]: host["free_memory_mib"] for host in self._hosts_now()}
        pinned = self._place_one(GuestSpec("legacy-erp"))
        _need(pinned["host"] == "node1", f"legacy-erp is pinned to node1 and was started on {pinned['host']}")
        _need(free_mib["node1"] < max(free_mib.values()), "node1 was the emptiest host, so the pin proves nothing")
        memory = ", ".join(f"{host} {mib:,} MiB" for host, mib in free_mib.items())
        self._say(f"   … the config pins it there, although node1 is not the emptiest ({memory} free before)", dim=True)
        self._place_one(GuestSpec("analytics", cpu="Haswell-noTSX"), "--host", "node3")
        refused, exit_code = self._virt("place", self._definition(GuestSpec("warehouse", memory_mib=4096)))
        _need(exit_code == 3, f"a VM of 4 GiB was not refused (exit code {exit_code})")
        self._say("warehouse (4,096 MiB) is refused, and every host says why:")
        for refusal in refused["placements"][0]["refused"]:
            self._say(f"   {refusal['host']}: {'; '.join(reason['text'] for reason in refusal['reasons'])}")

    def _place_one(self, guest: GuestSpec, *options: str) -> dict[str, Any]:
        answer, exit_code = self._virt("place", *options, self._definition(guest))
        _need(exit_code == 0, f"{guest.name} was not placed: {answer}")
        placement: dict[str, Any] = answer["placements"][0]
        self._say(f"{guest.name} → {placement['host']}: {placement['reason']}")
        return placement

    def _refuse_older_cpu(self) -> None:
        for destination in ("node2", "node1"):
            answer, exit_code = self._virt("migrate", "analytics", "--to", destination)
            _need(exit_code == 3, f"analytics was not refused by {destination} (exit code {exit_code})")
            error = answer["migrations"][0]["error"]
            _need("avx2" in error, f"the refusal names no missing feature: {error}")
            self._say(f"analytics, started on node3, to {destination}: refused, {error}")
        answer, exit_code = self._virt("migrate", "db", "--dry-run")
        _need(exit_code == 0, f"db finds no host: {answer}")
        chosen = answer["migrations"][0]
        self._say(
            f"db, which any of these CPUs can run, could go to {chosen['destination']} by the system's own choice"
        )

    def _relieve(self) -> None:
        for guest in ("web1", "web2", "db", "cache", "legacy-erp", "analytics"):
            self._lab.wait_for_guest(guest)
        hot, guests = self._host_to_load()
        self._wait(self._settled, "all VMs have run for a minute: before, nothing is known of their load", 120)
        self._say(
            f"{' and '.join(guests)} on {hot} begin to want {GUEST_CORES} cores each; it has {QUOTA_CORES} to give"
        )
        pings = {guest: Ping(self._lab.ping_command(guest, "-i", "1")) for guest in guests}
        try:
            for guest in guests:
                self._lab.set_guest_load(guest, cpu=GUEST_CORES)
            began = time.monotonic()
            self._wait(lambda: self._contended()[hot], f"{hot} is contended", 40)
            contended_s = time.monotonic() - began
            self._say(f"{hot} is contended after {contended_s:.0f} s; it is relieved when that has held for {HOLD_S} s")
            self._wait(lambda: bool(self._balanced()), "the daemon relieves it by itself", 60)
            self._wait(lambda: not self._contended()[hot], f"{hot} is not contended any more", 60)
        finally:
            losses = {guest: ping.stop() for guest, ping in pings.items()}
        for migration in self._balanced():
            _need(migration["source"] == hot, f"it moved {migration['vm']}, which is on {migration['source']}")
            _need(migration["vm"] in losses, f"it moved {migration['vm']}, which does nothing")
            self._say(f"the daemon moved {_way(migration)}: {migration['reason']}")
            loss = losses[migration["vm"]]
            _need(loss.received > 0, "the VM did not answer a single ping")
            lost = loss.sent - loss.received
            self._say(f"   ping once a second to {migration['vm']}: {loss.sent} sent, {lost} lost")
            self._tell_figures(migration)
        self._say(f"{hot} is not contended any more")
        for guest in guests:
            self._lab.set_guest_load(guest, cpu=0)

    def _drain(self) -> None:
        movable = {"web1", "web2", "db", "cache"}
        counts = {host: [vm for vm in self._on(host) if vm in movable] for host in ("node2", "node3")}
        host = max(counts, key=lambda name: (len(counts[name]), name == "node2"))
        self._wait(
            lambda: not self._kept_by_drain(host, movable),
            f"other hosts have room for {' and '.join(counts[host])}, the load of before no longer reckoned with",
            180,
        )
        answer, _ = self._virt("drain", host)
        moved = [record for record in answer["migrations"] if record["state"] == "completed"]
        _need(len(moved) == len(counts[host]), f"of {counts[host]} only these left {host}: {answer['migrations']}")
        for record in moved:
            self._say(_way(record))
            self._tell_figures(record)
        stayed = answer["plan"]["unmoved"]
        for unmoved in stayed:
            self._say(f"{unmoved['vm']} stays: {'; '.join(reason['text'] for reason in unmoved['reasons'])}")
        _need(sorted(self._on(host)) == sorted(unmoved["vm"] for unmoved in stayed), f"{host} is not as planned")
        self._virt("uncordon", host)

    def _scrape(self) -> None:
        wanted = "virt_scheduler_migration_duration_seconds_"
        lines = [line for line in self._daemon.metrics().splitlines() if line.startswith(wanted)]
        shown = [line for line in lines if not line.startswith(wanted + "bucket") and not line.endswith(" 0.0")]
        _need(any('trigger="balance"' in line for line in shown), "the migration is not among the metrics")
        for line in shown:
            self._say(line)

    # What the chapters are made of

    def _definition(self, guest: GuestSpec) -> str:
        path = self._lab.directory / f"{guest.name}.xml"
        path.write_text(self._lab.guest_xml(guest))
        return str(path)

    def _virt(self, *arguments: str) -> tuple[Any, int]:
        self._console.print(f"[dim]$ virt-scheduler {' '.join(Path(word).name for word in arguments)}")
        return self._daemon.command(*arguments)

    def _hosts_now(self) -> list[dict[str, Any]]:
        hosts: list[dict[str, Any]] = self._daemon.get("/v1/hosts")["hosts"]
        return hosts

    def _on(self, host: str) -> list[str]:
        return [
            vm["name"] for vm in self._daemon.get("/v1/vms")["vms"] if vm["host"] == host and vm["state"] == "running"
        ]

    def _host_to_load(self) -> tuple[str, list[str]]:
        """A host with two VMs that can move, and these two."""
        for host in ("node3", "node2", "node1"):
            guests = [vm for vm in self._on(host) if vm in {"web1", "web2", "db", "cache"}]
            if len(guests) >= 2:
                return host, guests[:2]
        raise LabError("no host has two VMs that can move")

    def _kept_by_drain(self, host: str, movable: set[str]) -> set[str]:
        """Which of them would have to stay, were the host drained now."""
        answer, _ = self._daemon.command("drain", "--dry-run", host)
        return {unmoved["vm"] for unmoved in answer["plan"]["unmoved"]} & movable

    def _contended(self) -> dict[str, bool]:
        return {host["name"]: bool(host["contended_seconds"]) for host in self._hosts_now()}

    def _settled(self) -> bool:
        hot, _ = self._host_to_load()
        vms = self._daemon.get("/v1/vms")["vms"]
        return not self._contended()[hot] and not any(vm.get("hold") for vm in vms)

    def _balanced(self) -> list[dict[str, Any]]:
        """What the daemon has moved by itself, oldest first."""
        records = self._daemon.get("/v1/migrations?limit=100")["migrations"]
        return [record for record in records if record["trigger"] == "balance" and record["state"] == "completed"][::-1]

    def _tell_figures(self, record: dict[str, Any]) -> None:
        self._say(
            f"   took {record['duration_seconds']:.1f} s, predicted {record['predicted_seconds']:.1f} s; "
            f"the guest stood still for {record['downtime_ms']} ms"
        )

    def _wait(self, condition: Callable[[], bool], what: str, timeout_seconds: float) -> None:
        with self._console.status(f"waiting until {what}"):
            deadline = time.monotonic() + timeout_seconds
            while not condition():
                if time.monotonic() > deadline:
                    raise LabError(f"{what}: not within {timeout_seconds:g} s")
                time.sleep(0.5)

    def _say(self, text: str, *, dim: bool = False) -> None:
        self._console.print(text, style="dim" if dim else None, markup=False, highlight=False, soft_wrap=True)


def _need(condition: bool, otherwise: str) -> None:
    if not condition:
        raise LabError(otherwise)


def _way(record: dict[str, Any]) -> str:
    return f"{record['vm']} {record['source']} → {record['destination']}"


def _states(hosts: list[dict[str, Any]]) -> str:
    return ", ".join(f"{host['name']} {host['state']} {host['detail']}".strip() for host in hosts)


def main() -> int:
    """Tell the story; 0 when all of it happened, 1 with the reason when something did not."""
    signal.signal(signal.SIGTERM, _interrupt)
    console = Console(highlight=False)
    began = time.monotonic()
    for lab_id in remove_leftovers():
        console.print(f"[dim]removed what a killed run had left (lab {lab_id})")
    try:
        with console.status("building three hosts"):
            directory = Path(tempfile.mkdtemp(prefix="virt-scheduler-demo-"))
            lab = Lab.create(directory, HOSTS, owner=Owner.this_process())
        with lab:
            lab.config_file.write_text(SETTINGS + lab.config_file.read_text() + RULES)
            with DemoDaemon(lab) as daemon:
                Story(lab, daemon, console).tell()
    except LabError as error:
        console.print(f"[bold red]The demonstration failed:[/] {error}", highlight=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        console.print("interrupted; everything was taken down")
        return 130
    console.rule(
        f"[bold]All of it happened, in {time.monotonic() - began:.0f} s, and is taken down again", align="left"
    )
    return 0


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
