"""The daemon's use cases, as the API offers them: `web.control.Control` over the rooms below."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from .. import __version__
from ..cluster.model import Snapshot, Vm
from ..cluster.ports import DefinitionError
from ..cluster.reason import Reason
from ..config.models import Config
from ..operations.clock import Clock
from ..operations.drain import Drains
from ..operations.gate import Gate
from ..operations.history import texts
from ..operations.journal import Journal, JournalError
from ..operations.migration import MigrationRequest, Migrations
from ..operations.placement import Placements
from ..operations.records import (
    Decision,
    MigrationRecord,
    MigrationState,
    PlacementRecord,
    Recommendation,
    RecommendationState,
    Trigger,
)
from ..planner.cost import predict
from ..planner.placement import check_move, choose_destination, place
from ..planner.settings import PlannerSettings
from ..web.control import ControlError, HostStatus, Notice, Status, Verdict
from .cycle import Cycle
from .hosts import host_status
from .notices import Notices
from .observer import Observer
from .view import View
