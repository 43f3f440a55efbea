"""virt-scheduler: places, live-migrates and rebalances VMs across libvirt hosts, and says why."""

__version__ = "0.1.0"
