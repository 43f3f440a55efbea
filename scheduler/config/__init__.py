"""What the operator wrote: models, loading, differences between two versions. Knows no hypervisor and no loop."""

from .loading import DEFAULT_PATH, ConfigError, find_socket, load, parse
from .models import Config
from .reload import Changes, differences

__all__ = ["DEFAULT_PATH", "Changes", "Config", "ConfigError", "differences", "find_socket", "load", "parse"]
