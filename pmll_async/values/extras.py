"""What is said where the packages of an extra are missing."""

from __future__ import annotations

from importlib.util import find_spec


def missing(what: str, extra: str, error: ModuleNotFoundError) -> ModuleNotFoundError:
    """The error to raise instead: it says what to install."""
    return ModuleNotFoundError(
        f"{what} needs {error.name}: pip install 'pmll-async[{extra}]'", name=error.name
    )


def require(extra: str, *modules: str) -> None:
    """Raise `ImportError` with the command that installs them if top-level modules are missing."""
    absent = [module for module in modules if find_spec(module) is None]
    if absent:
        raise ImportError(
            f"{' and '.join(absent)} missing: pip install 'pmll-async[{extra}]'", name=absent[0]
        )
