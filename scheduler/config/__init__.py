"""What the operator wrote: models, loading, differences between two versions. Knows no hypervisor and no loop."""

from .loading import DEFAULT_PATH, ConfigError, as_written, files_read, find_socket, load, parse
from .models import Config
from .reload import Changes, differences

__all__ = [
    "DEFAULT_PATH",
    "Changes",
    "Config",
    "ConfigError",
    "as_written",
    "differences",
    "files_read",
    "find_socket",
    "load",
    "parse",
]
