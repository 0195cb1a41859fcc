"""Records of whole runs on stderr: for people on a terminal, as JSON lines elsewhere.

structlog makes them. It is imported when the first line is written, since it takes longer to
import than some runs take, and a quiet run writes none.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from experiments.record.record import Record


@dataclass(frozen=True)
class RunLog:
    """Where a command tells what it does; plain data, so that worker processes tell it as well."""

    quiet: bool
    bound: dict[str, Any] = field(default_factory=dict)
    """What every line says."""

    def bind(self, **more: object) -> "RunLog":
        """The same, whose lines say this as well."""
        return RunLog(self.quiet, self.bound | more)

    def info(self, event: str, **values: object) -> None:
        """Tell that something happened."""
        if not self.quiet:
            _logger().info(event, **self.bound, **values)

    def warning(self, event: str, **values: object) -> None:
        """Tell that something happened that the user may not expect."""
        if not self.quiet:
            _logger().warning(event, **self.bound, **values)


def logged(log: RunLog, execute: Callable[[], "Record"]) -> "Record":
    """The record of a run whose start and end are logged."""
    log.info("run started")
    start = time.perf_counter()
    record = execute()
    wall_s = round(time.perf_counter() - start, 3)
    log.info("run finished", outcome=record.outcome, wall_s=wall_s)
    return record


def _logger() -> "FilteringBoundLogger":
    import structlog
    from structlog.processors import JSONRenderer, TimeStamper, add_log_level

    renderer = structlog.dev.ConsoleRenderer() if sys.stderr.isatty() else JSONRenderer()
    logger: FilteringBoundLogger = structlog.wrap_logger(
        structlog.WriteLogger(sys.stderr),
        processors=[add_log_level, TimeStamper(fmt="iso"), renderer],
        wrapper_class=structlog.make_filtering_bound_logger("info"),
    )
    return logger
