"""HTTP: the API on the unix socket and the metrics listener."""
