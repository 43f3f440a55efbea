"""A cluster in memory behind the hypervisor port, and a clock that moves only when told: for tests and replay."""
