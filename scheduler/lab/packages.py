"""What the lab needs from Debian, and whether it is there."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from .command import SYSTEM_PATH

_TOOLS = {
    "libvirtd": "libvirt-daemon",
    "virsh": "libvirt-clients",
    "qemu-system-x86_64": "qemu-system-x86",
    "busybox": "busybox-static",
    "ip": "iproute2",
    "tc": "iproute2",
    "ping": "iputils-ping",
    "unshare": "util-linux",
    "apt-get": "apt",
    "dpkg-deb": "dpkg",
}
_FILES = {
    "/usr/lib/x86_64-linux-gnu/libvirt/connection-driver/libvirt_driver_qemu.so": "libvirt-daemon-driver-qemu",
    "/etc/libvirt/libvirtd.conf": "libvirt-daemon-system",
    "/usr/share/libvirt/cpu_map/index.xml": "libvirt0",
}

REQUIRED = tuple(sorted({*_TOOLS.values(), *_FILES.values()}))
"""Every Debian package the lab needs; `apt-get install --no-install-recommends` is enough."""


def missing_packages() -> list[str]:
    """The Debian packages that are not installed, by name."""
    missing = {package for tool, package in _TOOLS.items() if shutil.which(tool, path=SYSTEM_PATH) is None}
    missing |= {package for path, package in _FILES.items() if not Path(path).exists()}
    return sorted(missing)


def why_not() -> str | None:
    """Why no lab can run here, in one line; None when it can."""
    if os.geteuid() != 0:
        return "the lab needs root"
    if missing := missing_packages():
        return f"the lab needs Debian packages: apt-get install --no-install-recommends {' '.join(missing)}"
    return None
