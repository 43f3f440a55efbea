"""What is: hosts, VMs, the snapshot of them all at one moment, and how it is made from observations. Pure."""
