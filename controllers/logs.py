"""Runs in the log: an observer for `RTMController(…, observers=[log_events])`."""

from __future__ import annotations

from typing import Final

import structlog

from .documents import NAMES, content, facts
from .events import Acted, Event, Judged, PhaseStarted, PlanFailed, Proposed, RunEnded
from .steps import Failed

CONTENT: Final = {name: f"{name}.content" for name in NAMES.values()}
_DETAILS: Final = (PhaseStarted, Proposed, Judged)


def log_events(event: Event) -> None:
    """Log the event under its name, such as ``run.planned``, with the facts as fields.

    `run_id` and `cycle` are bound; levels are info, debug for the details within a phase, warning
    for what failed. What goals, steps and memories say is logged at debug only, in an entry of its
    own, such as ``run.planned.content``.
    """
    log = structlog.get_logger("controllers").bind(run_id=event.run_id, cycle=event.cycle)
    name, told = NAMES[type(event)], {"anchor": event.anchor, "depth": event.depth, **facts(event)}
    if event.usage:
        told |= {
            "calls": event.usage.calls,
            "input_tokens": event.usage.input_tokens,
            "output_tokens": event.usage.output_tokens,
            "cost": event.usage.cost,
        }
    if _has_failed(event):
        log.warning(name, **told)
    elif isinstance(event, _DETAILS):
        log.debug(name, **told)
    else:
        log.info(name, **told)
    if said := content(event):
        log.debug(CONTENT[name], **said)


def _has_failed(event: Event) -> bool:
    if isinstance(event, RunEnded):
        return event.result.status == "failed"
    return isinstance(event, PlanFailed | Acted) and isinstance(event.outcome, Failed)
