"""Telemetry: what a lattice does, as metrics and commit spans of OpenTelemetry.

Imports public names of the package alone. Instruments come from the meter provider that the
application has set up, or hands over; nothing is set globally.
"""

try:
    import opentelemetry.trace  # noqa: F401  # says which package is missing, and what to install
except ModuleNotFoundError as exc:
    raise ModuleNotFoundError(
        f"telemetry needs {exc.name}: pip install 'pmll-async[otel]'", name=exc.name
    ) from exc

from pmll_async.telemetry.commits import Commit as Commit
from pmll_async.telemetry.commits import Commits as Commits
from pmll_async.telemetry.observer import SCOPE as SCOPE
from pmll_async.telemetry.observer import LatticeTelemetry as LatticeTelemetry

__all__ = ["SCOPE", "Commit", "Commits", "LatticeTelemetry"]
