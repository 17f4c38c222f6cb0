"""Controllers: PLAN → ACT → REFLECT over a memory, with steps that the user plugs in.

It is imported as `controllers` or as `pmll_controllers`: the same modules, as `aliases` sees to.
"""

if __name__ == "controllers":
    from . import aliases

    aliases.share()
elif __name__ == "pmll_controllers":
    from os.path import realpath

    # In a checkout it is a link: tracebacks and debuggers name the file that is edited.
    __path__[:] = map(realpath, __path__)

from .controller import RTMController as RTMController
from .events import Acted as Acted
from .events import Decided as Decided
from .events import EffectBegun as EffectBegun
from .events import EffectDone as EffectDone
from .events import Event as Event
from .events import GoalEnded as GoalEnded
from .events import GoalStarted as GoalStarted
from .events import Judged as Judged
from .events import PhaseStarted as PhaseStarted
from .events import PlanFailed as PlanFailed
from .events import Planned as Planned
from .events import Proposed as Proposed
from .events import Reflected as Reflected
from .events import RunEnded as RunEnded
from .events import RunInfo as RunInfo
from .events import RunResult as RunResult
from .events import RunResumed as RunResumed
from .events import RunStarted as RunStarted
from .events import Status as Status
from .events import Told as Told
from .journal.history import replay as replay
from .journal.history import runs as runs
from .journal.journal import RunExistsError as RunExistsError
from .journal.resume_point import RunNotFoundError as RunNotFoundError
from .journal.resume_point import RunPausedError as RunPausedError
from .outages import OutageError as OutageError
from .outages import Patience as Patience
from .policies import Allowance as Allowance
from .policies import Budget as Budget
from .policies import Rule as Rule
from .policies import Usage as Usage
from .policies import cost_budget as cost_budget
from .policies import max_cycles as max_cycles
from .policies import max_depth as max_depth
from .policies import retry_limit as retry_limit
from .policies import time_budget as time_budget
from .policies import total_cycles as total_cycles
from .reports.logs import log_events as log_events
from .run.claim import RunActiveError as RunActiveError
from .run.effects import EffectRepeatedError as EffectRepeatedError
from .run.effects import EffectUnknownError as EffectUnknownError
from .run.setup import Observer as Observer
from .run.streams import Listener as Listener
from .run.streams import RunStream as RunStream
from .steps import ActStep as ActStep
from .steps import Continue as Continue
from .steps import Done as Done
from .steps import Failed as Failed
from .steps import GoalResult as GoalResult
from .steps import Judge as Judge
from .steps import Outcome as Outcome
from .steps import Pause as Pause
from .steps import Phase as Phase
from .steps import Plan as Plan
from .steps import PlanStep as PlanStep
from .steps import ReflectStep as ReflectStep
from .steps import Retry as Retry
from .steps import StepContext as StepContext
from .steps import Verdict as Verdict
from .tools.signatures import InvalidToolError as InvalidToolError
from .tools.tools import RacedEffectError as RacedEffectError
from .tools.tools import Tool as Tool
from .tools.tools import ToolResult as ToolResult
from .tools.tools import Tools as Tools

__all__ = [
    "ActStep",
    "Acted",
    "Allowance",
    "Budget",
    "Continue",
    "Decided",
    "Done",
    "EffectBegun",
    "EffectDone",
    "EffectRepeatedError",
    "EffectUnknownError",
    "Event",
    "Failed",
    "GoalEnded",
    "GoalResult",
    "GoalStarted",
    "InvalidToolError",
    "Judge",
    "Judged",
    "Listener",
    "Observer",
    "OutageError",
    "Outcome",
    "Patience",
    "Pause",
    "Phase",
    "PhaseStarted",
    "Plan",
    "PlanFailed",
    "PlanStep",
    "Planned",
    "Proposed",
    "RTMController",
    "RacedEffectError",
    "ReflectStep",
    "Reflected",
    "Retry",
    "Rule",
    "RunActiveError",
    "RunEnded",
    "RunExistsError",
    "RunInfo",
    "RunNotFoundError",
    "RunPausedError",
    "RunResult",
    "RunResumed",
    "RunStarted",
    "RunStream",
    "Status",
    "StepContext",
    "Told",
    "Tool",
    "ToolResult",
    "Tools",
    "Usage",
    "Verdict",
    "cost_budget",
    "log_events",
    "max_cycles",
    "max_depth",
    "replay",
    "retry_limit",
    "runs",
    "time_budget",
    "total_cycles",
]
