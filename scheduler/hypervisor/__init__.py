"""What the hypervisors show and do: the room that speaks to libvirt, behind the protocol of `cluster.ports`."""
