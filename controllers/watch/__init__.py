"""Watching a run on a terminal: candidates and scores as they race, and what became of them.

::

    async with controller.stream("count to four") as run:
        await watch(run)
"""

from pmll_async.values.extras import missing

try:
    import rich  # noqa: F401  # says which package is missing, and what to install
except ModuleNotFoundError as exc:
    raise missing("watching", "cli", exc) from exc

from .entrants import Entrant as Entrant
from .picture import drawn as drawn
from .screen import Screen as Screen
from .screen import watch as watch
from .view import Cycle as Cycle
from .view import Effect as Effect
from .view import View as View

__all__ = ["Cycle", "Effect", "Entrant", "Screen", "View", "drawn", "watch"]
