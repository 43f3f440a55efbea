"""A real cluster of libvirt hosts on one machine, for the demo and the tests.

Every host is a `libvirtd` with QEMU under software emulation, in namespaces of its own. Needs root; see `packages`
for what must be installed. Start at `lab.Lab`.
"""
