"""What the operator may choose about planning; it stands in the snapshot, and so in `cluster`."""

from ..cluster.settings import Objective, PlannerSettings

__all__ = ["Objective", "PlannerSettings"]
