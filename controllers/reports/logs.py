"""Runs in the log: an observer for `RTMController(…, observers=[log_events])`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Final

import structlog

from ..events import Acted, Event, Judged, PhaseStarted, PlanFailed, Proposed, RunEnded, Told
from ..steps import Failed
from . import documents

CONTENT: Final = {name: f"{name}.content" for name in documents.NAMES.values()}
# What happens within a phase, and is not on the chain.
_DETAILS: Final = (PhaseStarted, Proposed, Judged, Told)


def log_events(event: Event, *, content: bool = False) -> None:
    """Log the event under its name, such as ``run.planned``, with the facts as fields.

    `run_id` and `cycle` are bound; levels are info, debug for the details within a phase, warning
    for what failed. What goals, steps and memories say is left out, as it may not be for everyone's
    eyes: ``observers=[partial(log_events, content=True)]`` logs it, at debug, in an entry of its
    own, such as ``run.planned.content``.
    """
    log = structlog.get_logger("controllers").bind(run_id=event.run_id, cycle=event.cycle)
    name = documents.NAMES[type(event)]
    told = {"anchor": event.anchor, "depth": event.depth, **documents.facts(event)}
    if event.usage:
        told |= asdict(event.usage)
    if isinstance(event, _DETAILS):
        write = log.debug
    else:
        write = log.warning if _has_failed(event) else log.info
    write(name, **told)
    if content and (said := documents.content(event)):
        log.debug(CONTENT[name], **said)


def _has_failed(event: Event) -> bool:
    if isinstance(event, RunEnded):
        return event.result.status == "failed"
    return isinstance(event, PlanFailed | Acted) and isinstance(event.outcome, Failed)
