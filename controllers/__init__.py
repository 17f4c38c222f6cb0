"""Controllers: PLAN → ACT → REFLECT over a lattice, with steps that the user plugs in."""

from .controller import RTMController as RTMController
from .controller import RunStream as RunStream
from .events import Acted as Acted
from .events import Event as Event
from .events import Planned as Planned
from .events import Reflected as Reflected
from .events import RunEnded as RunEnded
from .events import RunResult as RunResult
from .events import RunStarted as RunStarted
from .events import Status as Status
from .journal import RunExistsError as RunExistsError
from .policies import Budget as Budget
from .policies import Rule as Rule
from .policies import max_cycles as max_cycles
from .policies import retry_limit as retry_limit
from .policies import time_budget as time_budget
from .steps import ActStep as ActStep
from .steps import Continue as Continue
from .steps import Done as Done
from .steps import Judge as Judge
from .steps import Outcome as Outcome
from .steps import Plan as Plan
from .steps import PlanStep as PlanStep
from .steps import ReflectStep as ReflectStep
from .steps import Retry as Retry
from .steps import StepContext as StepContext
from .steps import Verdict as Verdict

__all__ = [
    "ActStep",
    "Acted",
    "Budget",
    "Continue",
    "Done",
    "Event",
    "Judge",
    "Outcome",
    "Plan",
    "PlanStep",
    "Planned",
    "RTMController",
    "ReflectStep",
    "Reflected",
    "Retry",
    "Rule",
    "RunEnded",
    "RunExistsError",
    "RunResult",
    "RunStarted",
    "RunStream",
    "Status",
    "StepContext",
    "Verdict",
    "max_cycles",
    "retry_limit",
    "time_budget",
]
