"""OpenTelemetry: a span for each run, goal, cycle, phase, candidate, effect and commit; metrics.

Spans and metrics go to the providers that the application has set up, or hands over. Without an
SDK there are none, at nearly no cost. Nothing is set globally.
"""

try:
    import opentelemetry.trace  # noqa: F401  # says which package is missing, and what to install
except ModuleNotFoundError as exc:
    raise ModuleNotFoundError(
        f"telemetry needs {exc.name}: pip install 'pmll-async[otel]'", name=exc.name
    ) from exc

from .telemetry import Telemetry as Telemetry

__all__ = ["Telemetry"]
