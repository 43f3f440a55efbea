"""The whole lab: brought up, found again from another process, shaken by faults and taken down without a trace.

All that a later process needs is in DIR/lab.json, written before anything else is made, so a lab can be taken down
whatever became of the process that began it.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from . import cgroup, cpu_generation, daemon_config, network, packages, reported
from .command import run, wait_until
from .errors import LabError
from .guest import LOAD_PORT, GuestSpec, guest_address, guest_xml
from .host import LabHost
from .image import CACHE, guest_image
from .owner import Owner
from .spec import LabSpec

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

HOME = Path("/run/virt-scheduler-lab")
"""Where labs live by default; `HOME/index` points to every lab of this machine by its id."""

_INDEX = HOME / "index"
_STATE = "lab.json"
_PACKAGE_PARENT = Path(__file__).resolve().parents[2]


class Lab:
    """A cluster of real libvirt hosts. As a context manager it is up inside the block and gone after it.

    `hosts` maps names to hosts, in the order of the spec. All methods block; call them off an event loop.
    """

    def __init__(self, directory: Path, state: dict[str, Any]) -> None:
        self.directory = directory
        self.id: str = state["id"]
        self.spec = LabSpec.from_dict(state["spec"])
        self.owner = Owner(**state["owner"]) if state["owner"] else None
        self.hosts = {
            spec.name: LabHost(
                lab_id=self.id,
                spec=spec,
                position=position,
                network=self.spec.network,
                uuid=state["uuids"][spec.name],
                folder=directory / "hosts" / spec.name,
            )
            for position, spec in enumerate(self.spec.hosts)
        }

    @classmethod
    def create(cls, directory: Path, spec: LabSpec, *, owner: Owner | None = None) -> Lab:
        """Prepare a lab in `directory`, which must be new, empty, or hold a lab: that one is taken down first.

        A lab with an `owner` is removed by `remove_leftovers` once the owner is dead.

        Raises:
            LabError: the directory holds something else.
        """
        directory = directory.resolve()
        if cls.exists(directory):
            cls.load(directory).down()
        if directory.exists() and any(directory.iterdir()):
            raise LabError(f"{directory}: not empty and not a lab; choose another directory")
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.chmod(0o700)
        state = {
            "version": 1,
            "id": secrets.token_hex(3),
            "owner": {"pid": owner.pid, "started": owner.started} if owner else None,
            "spec": spec.as_dict(),
            "uuids": {host.name: str(uuid.uuid4()) for host in spec.hosts},
        }
        draft = directory / f"{_STATE}.new"
        draft.write_text(json.dumps(state, indent=2))
        draft.rename(directory / _STATE)
        return cls(directory, state)

    @staticmethod
    def exists(directory: Path) -> bool:
        """Whether `directory` holds a lab, up or not."""
        return (directory / _STATE).exists()

    @classmethod
    def load(cls, directory: Path) -> Lab:
        """The lab in `directory`, whoever began it.

        Raises:
            LabError: there is none.
        """
        directory = directory.resolve()
        try:
            return cls(directory, json.loads((directory / _STATE).read_text()))
        except FileNotFoundError as error:
            raise LabError(f"{directory}: no lab here") from error
        except (ValueError, KeyError, TypeError) as error:
            raise LabError(f"{directory / _STATE}: not readable as a lab: {error}") from error

    def __enter__(self) -> Self:
        self.up()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    @property
    def config_file(self) -> Path:
        """A configuration of the daemon for this lab, ready once the lab is up."""
        return self.directory / "config.toml"

    def up(self) -> None:
        """Bring the lab up; all hosts serve when it returns. What a failed attempt made is removed again.

        Leftovers of other labs, whose owners were killed, are removed first.
        """
        if reason := packages.why_not():
            raise LabError(reason)
        remove_leftovers()
        _INDEX.mkdir(mode=0o700, parents=True, exist_ok=True)
        (_INDEX / self.id).symlink_to(self.directory)
        try:
            self._bring_up()
        except BaseException:
            self.down()
            raise

    def _bring_up(self) -> None:
        guest_image()
        network.create_switch(self.id, f"{self.spec.network}.255.254/16")
        etc_hosts = "127.0.0.1 localhost\n"
        etc_hosts += "".join(f"{host.address} {host.name}\n" for host in self.hosts.values())
        for host in self.hosts.values():
            host.create(etc_hosts)
        probed = self._probed_capabilities()
        for host in self.hosts.values():
            cpu_generation.install(probed, host.folder / "cache", host.spec.cpu_model)
        self._start_meter()
        self._on_all_hosts(LabHost.start_libvirtd)
        self._on_all_hosts(LabHost.wait_until_serving)
        for host in self.hosts.values():
            if not cpu_generation.kept(host.folder / "cache", host.spec.cpu_model):
                shutil.rmtree(probed)
                raise LabError(f"libvirtd of {host.name} probed QEMU anew: something was upgraded, try again")
            cgroup.set_quota(self.id, host.name, host.spec.cpu_quota_cores)
        if not network.processes(self._switch):
            raise LabError(f"the meter ended: {(self.directory / 'meter.log').read_text().strip()[-200:]}")
        self.config_file.write_text(daemon_config.config_toml(self.directory, self.hosts.values()))

    def _probed_capabilities(self) -> Path:
        """The folder of what libvirtd finds out about QEMU, which takes it seconds; kept for later labs."""
        kept = CACHE / f"capabilities-{cpu_generation.probe_key()}"
        if not kept.is_dir():
            host = next(iter(self.hosts.values()))
            host.start_libvirtd()
            host.wait_until_serving()
            host.stop_libvirtd()
            draft = CACHE / f"making-{self.id}"
            shutil.copytree(host.folder / "cache" / cpu_generation.CAPABILITIES, draft)
            with contextlib.suppress(OSError):  # another lab was faster
                draft.rename(kept)
            shutil.rmtree(draft, ignore_errors=True)
        return kept

    def _start_meter(self) -> None:
        # It lives in the switch's namespace so that it is found and ended with it.
        meter = ["env", f"PYTHONPATH={_PACKAGE_PARENT}", sys.executable, "-m", f"{__package__}.meter"]
        script = 'exec > "$1/meter.log" 2>&1 < /dev/null; folder=$1; shift; exec setsid --fork "$@" "$folder"'
        run(network.inside(self._switch, "sh", "-ec", script, "sh", str(self.directory), *meter))

    def down(self) -> None:
        """End every process of the lab and remove all it made, the directory included. Repeating it is harmless."""
        _remove_by_id(self.id)
        shutil.rmtree(self.directory, ignore_errors=True)

    def status(self) -> dict[str, Any]:
        """What is there now, as plain data: config file, hosts with how to reach them and what runs on them."""
        return {
            "directory": str(self.directory),
            "id": self.id,
            "config": str(self.config_file),
            "up": self.config_file.exists() and bool(network.namespaces(self.id)),
            "hosts": [
                {
                    "name": host.name,
                    "uri": host.uri,
                    "peer_uri": host.peer_uri,
                    "address": host.address,
                    "migration_address": host.migration_address,
                    "cpu_model": host.spec.cpu_model,
                    "cpus": host.spec.cpus,
                    "memory_mib": host.spec.memory_mib,
                    "cpu_quota_cores": host.spec.cpu_quota_cores,
                    "libvirtd_pid": host.libvirtd_pid(),
                    "guests": len(host.guest_pids()),
                }
                for host in self.hosts.values()
            ],
        }

    def guest_xml(self, guest: GuestSpec) -> str:
        """Domain XML of `guest`, to be defined or started on any host of this lab."""
        return guest_xml(guest, guest_image(), self.spec.network)

    def ping_command(self, guest: str, *options: str) -> list[str]:
        """The command that pings a guest by name, whichever host it runs on; `options` are ping's."""
        return network.inside(self._switch, "ping", *options, guest_address(self.spec.network, guest))

    def answers_ping(self, guest: str) -> bool:
        """Whether the guest answers one ping within a second."""
        try:
            run(self.ping_command(guest, "-c", "1", "-W", "1"))
        except LabError:
            return False
        return True

    def wait_for_guest(self, guest: str, timeout_seconds: float = 60) -> None:
        """Wait until the guest has booted and answers."""
        wait_until(lambda: self.answers_ping(guest), f"{guest} answers ping", timeout_seconds=timeout_seconds)

    def set_guest_load(self, guest: str, *, cpu: float | None = None, dirty: float | None = None) -> None:
        """Change what a running guest does: cores each vCPU wants, MiB written per second; None leaves it.

        Raises:
            LabError: the guest does not take it within 10 s.
        """
        words = [f"{word}={value:g}" for word, value in (("cpu", cpu), ("dirty", dirty)) if value is not None]
        order = " ".join(words)

        def taken() -> bool:
            try:
                return self._ask_guest(guest, order) == f"ok {order}"
            except LabError:
                return False  # a guest answers ping a moment before it listens

        wait_until(taken, f"{guest} takes the order {order!r}", timeout_seconds=10)

    def boot_id(self, guest: str) -> str:
        """What tells this boot of a running guest from every other. LabError: it does not answer."""
        told = self._ask_guest(guest, "boot_id")
        try:
            return str(uuid.UUID(told))
        except ValueError as error:  # it waits for a question for 5 s only
            raise LabError(f"{guest} says {told!r}") from error

    def reboot_guest(self, guest: str) -> None:
        """Have a running guest reboot by itself, as whoever is logged in there would. LabError: it does not answer."""
        self._ask_guest(guest, "reboot")

    def _ask_guest(self, guest: str, line: str) -> str:
        address = guest_address(self.spec.network, guest)
        command = network.inside(self._switch, "busybox", "nc", "-w", "5", address, str(LOAD_PORT))
        return run(command, stdin=f"{line}\n").strip()

    def inject_load(self, host: str, *, cpu_cores: float = 0.0, memory_mib: int = 0) -> None:
        """Let `host` report load beside its guests'; the next call replaces it, without arguments it ends.

        `cpu_cores` of its reported cores are busy, and its guests really lose them; `memory_mib` is only reported.
        """
        target = self.hosts[host]
        left_share = max(0.0, 1 - cpu_cores / target.spec.cpus)
        reported.write_injected(target.folder, reported.Injected(cpu_cores, memory_mib))
        cgroup.set_quota(self.id, host, target.spec.cpu_quota_cores * left_share)

    def cut_link(self, host: str) -> None:
        """Unplug the host's and its guests' only cable; this machine still reaches its libvirtd by the socket."""
        network.set_link(self.id, self.hosts[host].name, up=False)

    def restore_link(self, host: str) -> None:
        """Plug the cable in again, at full speed."""
        network.limit_link(self.id, self.hosts[host].name, None)
        network.set_link(self.id, host, up=True)

    def slow_link(self, host: str, mbit_per_s: float) -> None:
        """Limit the host's link in both directions; `restore_link` lifts it."""
        network.limit_link(self.id, self.hosts[host].name, mbit_per_s)

    def fail_migrations(self, host: str) -> None:
        """Let migrations to `host` fail: it accepts them, but no other host can reach its migration address."""
        self._set_migrations(host, possible=False)

    def allow_migrations(self, host: str) -> None:
        """Let migrations to `host` succeed again."""
        self._set_migrations(host, possible=True)

    def _set_migrations(self, host: str, *, possible: bool) -> None:
        address = self.hosts[host].migration_address
        for other in self.hosts.keys() - {host}:
            network.set_reachable(self.id, other, address, reachable=possible)

    def reset(self) -> None:
        """Undo every fault and remove every guest, so that the lab is as it was when it came up."""
        for name, host in self.hosts.items():
            self.restore_link(name)
            self.allow_migrations(name)
            self.inject_load(name)
            if host.libvirtd_pid() is not None:
                host.thaw_libvirtd()
            else:
                host.start_libvirtd()
        self._on_all_hosts(LabHost.wait_until_serving)
        self._on_all_hosts(LabHost.remove_guests)

    @property
    def _switch(self) -> str:
        return network.switch_namespace(self.id)

    def _on_all_hosts(self, action: Callable[[LabHost], None]) -> None:
        with ThreadPoolExecutor(len(self.hosts)) as pool:
            list(pool.map(action, self.hosts.values()))


def remove_leftovers() -> list[str]:
    """Remove every lab whose owner is dead, and return their ids. Labs without an owner stay."""
    removed = []
    for link in sorted(_INDEX.glob("*")):
        try:
            lab = Lab.load(link)
        except LabError:
            _remove_by_id(link.name)
        else:
            if lab.owner is None or lab.owner.alive():
                continue
            lab.down()
        removed.append(link.name)
    return removed


def _remove_by_id(lab_id: str) -> None:
    """Remove all of a lab but its directory, which may be gone."""
    for namespace in network.namespaces(lab_id):
        network.remove(namespace)
    cgroup.remove(lab_id)
    (_INDEX / lab_id).unlink(missing_ok=True)
