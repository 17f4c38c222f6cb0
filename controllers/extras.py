"""What is said where an optional package is missing."""

from __future__ import annotations


def missing(what: str, extra: str, error: ModuleNotFoundError) -> ModuleNotFoundError:
    """The error to raise instead: it says what to install."""
    return ModuleNotFoundError(
        f"{what} needs {error.name}: pip install 'pmll-async[{extra}]'", name=error.name
    )
