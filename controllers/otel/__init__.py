"""OpenTelemetry: a span for each run, goal, cycle, phase, candidate, effect and commit; metrics.

Spans and metrics go to the providers that the application has set up, or hands over. Without an
SDK there are none, at nearly no cost. Nothing is set globally.
"""

# First, since it says what to install where OpenTelemetry is missing.
from pmll_async.telemetry import LatticeTelemetry as LatticeTelemetry

from .telemetry import Telemetry as Telemetry

__all__ = ["LatticeTelemetry", "Telemetry"]
