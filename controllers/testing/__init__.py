"""For the tests of those who write steps: scripts, a model that plays its part, outlines, crashes.

    Scripted, FakeModel       play what they are given and keep what they were asked
    outline, assert_outline   a run's events as a few lines of text, and how they differ
    crash_everywhere          the run again for each of its commits, with a crash there
    ManualClock               seconds that pass when a test says so

Works with any test runner, and imports none.
"""

from pmll_async.testing import ManualClock as ManualClock

from .crashes import Crashed as Crashed
from .crashes import crash_everywhere as crash_everywhere
from .outlines import assert_outline as assert_outline
from .outlines import outline as outline
from .scripts import FakeModel as FakeModel
from .scripts import Scripted as Scripted
from .scripts import ScriptOver as ScriptOver

__all__ = [
    "Crashed",
    "FakeModel",
    "ManualClock",
    "ScriptOver",
    "Scripted",
    "assert_outline",
    "crash_everywhere",
    "outline",
]
