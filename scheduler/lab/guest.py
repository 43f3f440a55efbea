"""Guests of the lab: their domain XML and their address on its network."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape, quoteattr

from .spec import CPU_GENERATIONS

if TYPE_CHECKING:
    from .image import Image

HOST_MODEL = "host-model"
"""As `GuestSpec.cpu`: the guest gets the CPU of the host it starts on, and cannot go back to an older one.

Under emulation it does not boot on a host with AVX: libvirt then builds the CPU on an old model, whose CPUID has no
place for the state that XSAVE keeps, and the kernel waits for ever. Name a model of CPU_GENERATIONS to have it boot.
"""

LOAD_PORT = 7000
_EMULATOR = "/usr/bin/qemu-system-x86_64"
_BALLOON_PERIOD_SECONDS = 2
_NOT_EMULATED = ("invpcid", "pcid", "tsc-deadline", "x2apic")
"""What the models of CPU_GENERATIONS have and QEMU's emulation has not."""
_TRANSLATION_CACHE_MIB = 32
"""Without a limit, translated code grows to several times a small guest's memory."""


@dataclass(frozen=True, slots=True)
class GuestSpec:
    """One guest.

    Each vCPU wants `cpu_load` of a core (0 to 1); `dirty_mib_per_s` of memory are rewritten, within 32 MiB of it.
    `cpu` is a CPU model, or `HOST_MODEL`; every host can run the default. `metadata` is XML to put inside <metadata>.
    `address` without prefix length; None derives it from the name.
    """

    name: str
    memory_mib: int = 96
    vcpus: int = 1
    cpu: str = "kvm64"
    cpu_load: float = 0.0
    dirty_mib_per_s: float = 0.0
    metadata: str = ""
    machine: str = "pc"
    address: str | None = None


def guest_address(network: str, name: str) -> str:
    """The address of the guest `name`: from the name alone, so that whoever knows it can reach the guest.

    Guests have `network`.2.1 to `network`.253.250; hosts and the switch lie outside.
    """
    number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
    return f"{network}.{2 + number // 250 % 252}.{1 + number % 250}"


def guest_xml(guest: GuestSpec, image: Image, network: str) -> str:
    """The domain XML of `guest` on the lab's `network`, for defining or starting it on any host."""
    address = guest.address or guest_address(network, guest.name)
    mac = "52:54:00:" + ":".join(f"{int(number):02x}" for number in address.split(".")[1:])
    # Without mitigations a guest under emulation boots a fifth faster.
    words = f"console=ttyS0 quiet mitigations=off panic=-1 address={address}/16"
    words += f" cpu={guest.cpu_load:g} dirty={guest.dirty_mib_per_s:g}"
    return f"""\
<domain type='qemu'>
  <name>{escape(guest.name)}</name>
  <metadata>{guest.metadata}</metadata>
  <memory unit='MiB'>{guest.memory_mib}</memory>
  <vcpu>{guest.vcpus}</vcpu>
  <os>
    <type arch='x86_64' machine='{guest.machine}'>hvm</type>
    <kernel>{image.kernel}</kernel>
    <initrd>{image.initrd}</initrd>
    <cmdline>{escape(words)}</cmdline>
  </os>
  <features><acpi/><apic/><tcg><tb-cache unit='MiB'>{_TRANSLATION_CACHE_MIB}</tb-cache></tcg></features>
  {_cpu_xml(guest.cpu)}
  <clock offset='utc'/>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>restart</on_reboot>
  <on_crash>destroy</on_crash>
  <devices>
    <emulator>{_EMULATOR}</emulator>
    <controller type='usb' model='none'/>
    <interface type='bridge'>
      <mac address='{mac}'/>
      <source bridge='br0'/>
      <model type='virtio'/>
    </interface>
    <serial type='file'><source path={quoteattr(f"/var/log/libvirt/{guest.name}.console")}/></serial>
    <memballoon model='virtio'><stats period='{_BALLOON_PERIOD_SECONDS}'/></memballoon>
  </devices>
</domain>
"""


def _cpu_xml(cpu: str) -> str:
    if cpu == HOST_MODEL:
        return "<cpu mode='host-model' check='partial'/>"
    lacking = _NOT_EMULATED if cpu in CPU_GENERATIONS else ()
    without = "".join(f"<feature policy='disable' name='{name}'/>" for name in lacking)
    return f"<cpu mode='custom' match='exact' check='none'><model fallback='forbid'>{cpu}</model>{without}</cpu>"
