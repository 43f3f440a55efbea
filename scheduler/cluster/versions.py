"""Versions of libvirt and QEMU: what runs on a newer one may not be understood by an older one. Pure.

QEMU takes what an older one sends, but promises nothing about a newer one; stable releases (the third number) agree.
"""

Versions = tuple[str | None, str | None]
"""Of libvirt and of the hypervisor (QEMU), `9.0.0`; None: unknown, which is neither older nor newer."""

_NAMES = ("libvirt", "QEMU")


def older(there: Versions, here: Versions) -> tuple[str, ...]:
    """What of `there` is older than `here` by its first two numbers, as `QEMU 7.2.0 is older than 8.1.0`."""
    return tuple(
        f"{name} {theirs} is older than {ours}"
        for name, theirs, ours in zip(_NAMES, there, here, strict=True)
        if theirs and ours and _release(theirs) < _release(ours)
    )


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(part) if part.isdigit() else 0 for part in version.split(".")[:2])
