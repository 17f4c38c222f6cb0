"""What the program's owner should hear of, as structlog events."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger


def logger(name: str) -> FilteringBoundLogger:
    """The structlog logger of that name.

    structlog is imported by the first event: with what it finds installed that takes up to 100 ms,
    a quarter of the library's import, and a memory that is well has nothing to say.
    """
    import structlog  # noqa: PLC0415

    found: FilteringBoundLogger = structlog.get_logger(name)
    return found
