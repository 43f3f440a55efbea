"""What schemathesis cannot know by itself: how the XML of a domain is written. It loads this by its name."""

import schemathesis
from hypothesis import strategies as st


def _domain(name: str, memory_mib: int, vcpus: int) -> str:
    return (
        f"<domain type='kvm'><name>{name}</name><memory unit='MiB'>{memory_mib}</memory><vcpu>{vcpus}</vcpu>"
        "<os><type arch='x86_64' machine='q35'>hvm</type></os></domain>"
    )


schemathesis.openapi.format(
    "libvirt-domain-xml",
    st.builds(
        _domain, st.from_regex(r"[a-z][a-z0-9-]{0,20}", fullmatch=True), st.integers(1, 20_000), st.integers(1, 9)
    ),
)
