"""What can happen during a migration: each kind is a function that does it and returns how it is undone."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import libvirt

from scheduler.lab.errors import LabError
from tests.lab.running_daemon import migrate_by_hand
from tests.soak import guests

if TYPE_CHECKING:
    import random

    from scheduler.lab.lab import Lab
    from tests.lab.running_daemon import RunningDaemon
    from tests.soak.environment import StateDisk, WallClock
    from tests.soak.guests import Guest

Undo = Callable[[], None]
HOUR_SECONDS = 3600
_SLOW_MBIT_PER_S = 8.0
_FLAPS = 6


@dataclass(frozen=True, slots=True)
class Scene:
    """A migration under way and all that can be shaken."""

    lab: Lab
    daemon: RunningDaemon
    disk: StateDisk
    clock: WallClock
    rng: random.Random
    guest: Guest
    source: str
    destination: str


def daemon_killed(scene: Scene) -> Undo:
    scene.daemon.kill()
    return scene.daemon.start


def journal_cut_off(scene: Scene) -> Undo:
    """As when the power fails in the middle of a write: the last transaction is there in part only."""
    scene.daemon.kill()
    log = scene.disk.journal.with_name(scene.disk.journal.name + "-wal")
    if log.exists() and (size := log.stat().st_size):
        with log.open("r+b") as file:
            file.truncate(size - scene.rng.randrange(1, min(size, 4096)))
    return scene.daemon.start


def state_disk_full(scene: Scene) -> Undo:
    scene.disk.fill()
    return scene.disk.empty


def clock_jumped(scene: Scene) -> Undo:
    scene.clock.jump_to(scene.rng.choice((-HOUR_SECONDS, HOUR_SECONDS)))
    return lambda: scene.clock.jump_to(0)


def source_libvirtd_killed(scene: Scene) -> Undo:
    return _killed(scene, scene.source)


def destination_libvirtd_killed(scene: Scene) -> Undo:
    return _killed(scene, scene.destination)


def _killed(scene: Scene, host: str) -> Undo:
    scene.lab.hosts[host].kill_libvirtd()
    return lambda: _serve(scene, host)


def source_libvirtd_frozen(scene: Scene) -> Undo:
    return _frozen(scene, scene.source)


def destination_libvirtd_frozen(scene: Scene) -> Undo:
    return _frozen(scene, scene.destination)


def _frozen(scene: Scene, host: str) -> Undo:
    scene.lab.hosts[host].freeze_libvirtd()
    return scene.lab.hosts[host].thaw_libvirtd


def source_libvirtd_restarted(scene: Scene) -> Undo:
    return _restarted(scene, scene.source)


def destination_libvirtd_restarted(scene: Scene) -> Undo:
    return _restarted(scene, scene.destination)


def _restarted(scene: Scene, host: str) -> Undo:
    scene.lab.hosts[host].stop_libvirtd()
    _serve(scene, host)
    return _nothing


def _serve(scene: Scene, host: str) -> None:
    scene.lab.hosts[host].start_libvirtd()
    scene.lab.hosts[host].wait_until_serving()


def link_cut(scene: Scene) -> Undo:
    host = scene.rng.choice((scene.source, scene.destination))
    scene.lab.cut_link(host)
    return lambda: scene.lab.restore_link(host)


def link_slowed(scene: Scene) -> Undo:
    scene.lab.slow_link(scene.destination, _SLOW_MBIT_PER_S)
    return lambda: scene.lab.restore_link(scene.destination)


def link_flapping(scene: Scene) -> Undo:
    for _ in range(_FLAPS):
        scene.lab.cut_link(scene.destination)
        time.sleep(scene.rng.uniform(0.05, 0.4))
        scene.lab.restore_link(scene.destination)
        time.sleep(scene.rng.uniform(0.05, 0.4))
    return _nothing


def destination_out_of_memory(scene: Scene) -> Undo:
    """What the kernel does then: it kills the QEMU that grows, the receiving one."""
    lab, guest = scene.lab, scene.guest
    # Frozen first: from then on the guest cannot begin to run there any more, and so is not lost with it.
    guests.send(lab, guest, scene.destination, signal.SIGSTOP)
    if guests.is_up(lab, guest, scene.source):
        guests.send(lab, guest, scene.destination, signal.SIGKILL)
    guests.send(lab, guest, scene.destination, signal.SIGCONT)
    return _nothing


def guest_shut_down(scene: Scene) -> Undo:
    """QEMU ends by itself and says so, as when the guest powers off."""
    return _signalled(scene, signal.SIGTERM)


def guest_crashed(scene: Scene) -> Undo:
    return _signalled(scene, signal.SIGKILL)


def _signalled(scene: Scene, signal_number: signal.Signals) -> Undo:
    scene.guest.ended = True
    for host in (scene.source, scene.destination):
        if guests.is_up(scene.lab, scene.guest, host):
            guests.send(scene.lab, scene.guest, host, signal_number)
            break
    return _nothing


def guest_destroyed(scene: Scene) -> Undo:
    scene.guest.ended = True
    for host in (scene.source, scene.destination):
        if guests.is_up(scene.lab, scene.guest, host):
            with suppress(libvirt.libvirtError), scene.lab.hosts[host].connect() as connection:
                connection.lookupByName(scene.guest.name).destroy()
            break
    return _nothing


def guest_rebooted(scene: Scene) -> Undo:
    # Asked before: one that cannot be reached now is not rebooted, and must not be waited for.
    if guests.boot_id(scene.lab, scene.guest):
        with suppress(LabError):
            scene.lab.reboot_guest(scene.guest.name)
            scene.guest.rebooted = True
    return _nothing


def moved_by_someone(scene: Scene) -> Undo:
    """Somebody else migrates the same VM, to another host."""
    others = [name for name in scene.lab.hosts if name not in {scene.source, scene.destination}]
    to = scene.rng.choice(others)

    def move() -> None:
        with suppress(libvirt.libvirtError):
            migrate_by_hand(scene.lab, scene.guest.name, scene.source, to)
            scene.guest.host = to

    other = threading.Thread(target=move, name="somebody-else")
    other.start()
    return other.join


def aborted_by_a_person(scene: Scene) -> Undo:
    under_way = scene.daemon.migration_of(scene.guest.name)
    if under_way is not None:
        scene.daemon.run("abort", scene.guest.name)
    return _nothing


def _nothing() -> None:
    return None


KINDS = (
    daemon_killed,
    journal_cut_off,
    state_disk_full,
    clock_jumped,
    source_libvirtd_killed,
    destination_libvirtd_killed,
    source_libvirtd_frozen,
    destination_libvirtd_frozen,
    source_libvirtd_restarted,
    destination_libvirtd_restarted,
    link_cut,
    link_slowed,
    link_flapping,
    destination_out_of_memory,
    guest_shut_down,
    guest_rebooted,
    guest_destroyed,
    guest_crashed,
    moved_by_someone,
    aborted_by_a_person,
)
