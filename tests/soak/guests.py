"""The guests of the soak: where each ought to be by what was seen and done, and how it really is."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import libvirt

from scheduler.lab.errors import LabError
from scheduler.lab.guest import GuestSpec
from tests.lab.running_daemon import define, definitions, running_on, start, until

if TYPE_CHECKING:
    from scheduler.lab.lab import Lab

_ANSWERS_WITHIN_SECONDS = 90
_MEMORY_KIB = 98_312
"""No multiple of 256 KiB.

With a multiple, the kernel of an emulated guest was seen to panic after a plain migration, with corrupted memory. We
suspect how QEMU 7.2 takes the written pages of memory that is one; that is not proved.
"""
_ODD_MEMORY = f"""\
  <qemu:commandline xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
    <qemu:arg value='-object'/><qemu:arg value='memory-backend-ram,id=odd,size={_MEMORY_KIB}K'/>
    <qemu:arg value='-machine'/><qemu:arg value='memory-backend=odd'/>
    <qemu:arg value='-m'/><qemu:arg value='{_MEMORY_KIB}K'/>
  </qemu:commandline>
</domain>"""


@dataclass(slots=True)
class Guest:
    """One guest. `host` and `boot_id` are what the story so far lets expect."""

    name: str
    host: str
    boot_id: str = ""
    ended: bool = False
    """The soak has shut it down, destroyed or crashed it."""
    rebooted: bool = False
    """The soak has rebooted it."""


def begin(lab: Lab, name: str, host: str) -> Guest:
    """Define and start one that writes memory all the time, so that its migration takes more than one iteration."""
    define(lab, host, GuestSpec(name, dirty_mib_per_s=2), lambda xml: xml.replace("</domain>", _ODD_MEMORY))
    start(lab, host, name)
    return Guest(name, host)


def settle(lab: Lab, guest: Guest) -> None:
    """Start again what the soak has ended, and take down under which boot it now runs."""
    if guest.ended:
        [host] = definitions(lab, guest.name)
        if running_on(lab, guest.name) != [host]:
            start(lab, host, guest.name)
        guest.host = host
    if guest.ended or guest.rebooted or not guest.boot_id:
        before = guest.boot_id
        guest.boot_id = until(
            lambda: (now := boot_id(lab, guest)) != before and now,
            f"{guest.name} has booted",
            seconds=_ANSWERS_WITHIN_SECONDS,
        )
    guest.ended = guest.rebooted = False


def boot_id(lab: Lab, guest: Guest) -> str:
    """Under which boot it answers; empty when it does not."""
    try:
        return lab.boot_id(guest.name)
    except LabError:
        return ""


def console(lab: Lab, guest: Guest, host: str) -> str:
    """The end of what its kernel has said on `host`."""
    path = lab.hosts[host].folder / "log" / f"{guest.name}.console"
    return path.read_text(errors="replace")[-2000:] if path.exists() else ""


def processes(lab: Lab, guest: Guest) -> dict[str, int]:
    """Process ids of its QEMUs, by host: also of those that no libvirt knows of."""
    found = {}
    for host in lab.hosts.values():
        for pid in host.guest_pids():
            with suppress(OSError):
                if f"guest={guest.name},".encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                    found[host.name] = pid
    return found


def is_up(lab: Lab, guest: Guest, host: str) -> bool:
    """Whether the libvirt of `host` says that it runs there now; False also when it does not answer."""
    pid = lab.hosts[host].libvirtd_pid()
    if pid is None or ") T " in Path(f"/proc/{pid}/stat").read_text():
        return False
    try:
        with lab.hosts[host].connect() as connection:
            state, _ = connection.lookupByName(guest.name).state()
    except libvirt.libvirtError:
        return False
    return bool(state == libvirt.VIR_DOMAIN_RUNNING)


def send(lab: Lab, guest: Guest, host: str, signal_number: signal.Signals) -> None:
    """Send a signal to its QEMU on `host`, if there is one."""
    pid = processes(lab, guest).get(host)
    if pid is not None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal_number)
