"""The kernel and initial RAM disk that guests boot from: Debian's cloud kernel and busybox, no disk.

Both are kept in a cache folder that all labs share; making them takes a few seconds and a download of 27 MB.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from .command import run
from .errors import LabError

CACHE = Path("/var/cache/virt-scheduler-lab")
_KERNEL_PACKAGE = "linux-image-cloud-amd64"
_INIT = Path(__file__).with_name("guest_init.sh")
# In the order they must be loaded.
_MODULES = (
    "drivers/virtio/virtio_ring",
    "drivers/virtio/virtio",
    "drivers/virtio/virtio_pci_modern_dev",
    "drivers/virtio/virtio_pci_legacy_dev",
    "drivers/virtio/virtio_pci",
    "drivers/virtio/virtio_balloon",
    "net/core/failover",
    "drivers/net/net_failover",
    "drivers/net/virtio_net",
)
_BUSYBOX = Path("/bin/busybox")
_COMMANDS = "awk cat chmod dd head insmod ip mkfifo mount mv nc nproc rm sh usleep"


@dataclass(frozen=True, slots=True)
class Image:
    """The two files a guest boots from."""

    kernel: Path
    initrd: Path


def guest_image(cache: Path = CACHE) -> Image:
    """The image, made on the first call.

    Raises:
        LabError: the kernel's Debian package cannot be downloaded, or has not what a guest needs.
    """
    cache.mkdir(parents=True, exist_ok=True)
    tree = _unpacked_kernel(cache)
    kernels = list(tree.glob("boot/vmlinuz-*"))
    if len(kernels) != 1:
        raise LabError(f"{tree}: expected one kernel, found {len(kernels)}")
    content = _initrd(tree / "lib/modules" / kernels[0].name.removeprefix("vmlinuz-") / "kernel")
    initrd = cache / f"initrd-{hashlib.sha256(content).hexdigest()[:16]}"
    if not initrd.exists():
        _write_whole(initrd, content)
    return Image(kernels[0], initrd)


def _unpacked_kernel(cache: Path) -> Path:
    kept = sorted(path for path in cache.glob("kernel-*") if path.is_dir())
    if kept:
        return kept[-1]
    depends = run(["apt-cache", "depends", "--important", _KERNEL_PACKAGE])
    packages = [line.split()[-1] for line in depends.splitlines() if "Depends: linux-image-" in line]
    if not packages:
        raise LabError(f"apt-cache knows no package {_KERNEL_PACKAGE}: run apt-get update")
    with tempfile.TemporaryDirectory(dir=cache, prefix="making-") as draft_name:
        draft = Path(draft_name)
        # As root, apt downloads as the user _apt, who may not write here; that is a warning, not a failure.
        run(["sh", "-ec", 'cd "$1"; exec apt-get download "$2"', "sh", str(draft), packages[0]], timeout_seconds=300)
        (archive,) = draft.glob("*.deb")
        run(["dpkg-deb", "--extract", str(archive), str(draft / "tree")], timeout_seconds=120)
        tree = cache / f"kernel-{packages[0]}"
        try:
            (draft / "tree").rename(tree)
        except OSError as error:
            if not tree.is_dir():
                raise LabError(f"cannot keep the guest kernel: {error}") from error
    return tree


def _initrd(modules: Path) -> bytes:
    entries = [(name, 0o40755, b"") for name in ("bin", "dev", "lib", "proc", "run", "sys")]
    entries += [("init", 0o100755, _INIT.read_bytes()), ("bin/busybox", 0o100755, _BUSYBOX.read_bytes())]
    entries += [(f"bin/{command}", 0o120777, b"busybox") for command in _COMMANDS.split()]
    for position, module in enumerate(_MODULES):
        file = modules / f"{module}.ko"
        if not file.exists():
            raise LabError(f"{file}: the guest kernel has no such module")
        entries.append((f"lib/{position:02}-{file.name}", 0o100644, file.read_bytes()))
    return _cpio([*entries, ("TRAILER!!!", 0, b"")])


def _cpio(entries: list[tuple[str, int, bytes]]) -> bytes:
    """`entries` (name, mode, content) in the "newc" format that the kernel unpacks; no tool, no time stamps."""
    archive = bytearray()
    for inode, (name, mode, content) in enumerate(entries, start=1):
        file_name = name.encode() + b"\0"
        header = [inode, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(file_name), 0]
        archive += b"070701" + "".join(f"{field:08x}" for field in header).encode() + file_name
        archive += bytes(-len(archive) % 4) + content
        archive += bytes(-len(archive) % 4)
    return bytes(archive)


def _write_whole(path: Path, content: bytes) -> None:
    descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix="making-")
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    shutil.move(draft, path)
