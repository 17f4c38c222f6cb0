"""A ready controller: questions over a text memory, with a language model or without."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Unpack

from pmll_async import Lattice, PmllError, Where
from pmll_async.text import TextMemory

from .. import RTMController, RunResult
from ..kept import Kept, check_evidence, seen
from ..outages import PATIENCE, Patience
from ..run.setup import Options
from .evidence import POOL, Evidence, Finding
from .lookups import LookUps, States, acts
from .steps import Steps, findings

if TYPE_CHECKING:
    from ..llm import Model
    from .adviser import Adviser


class ResearchStoppedError(PmllError):
    """The run stopped before it had its evidence, as `result` says; `resume` may go on with it."""

    def __init__(self, result: RunResult) -> None:
        self.result = result
        super().__init__(
            f"run {result.run_id!r} is {result.status}: {result.reason or result.text}"
        )


class ResearchController(RTMController[None, LookUps]):
    """Finds the texts of a memory that bear on a question; `run`, `stream`, … are the controller's.

    PLAN derives look-ups from the question, ACT races them, and REFLECT gathers what all of them
    found, learns words from the best and looks again; `result.data` is `Evidence` of up to `k`
    texts, at most 100. With a `model`, PLAN also asks it for look-ups, and REFLECT for an answer
    from the evidence, which is `result.text`, empty if the evidence holds none; a model that lacks
    something may ask for more look-ups, up to `max_cycles`. `attempts` bounds its replies to one
    question that cannot be used, `patience` how long it is waited for while it is down. Models need
    the extra `llm`.

    A run searches the memory as it was when the run began, also after a resume: what is remembered
    or forgotten meanwhile changes nothing. What it writes is never recalled; what other runs have
    kept is left out but for the kinds in `evidence`, "answer" and "result". `where` restricts what
    is searched. The rest is as in `RTMController`. One controller serves any number of runs.
    """

    def __init__(
        self,
        memory: TextMemory,
        *,
        model: Model | None = None,
        k: int = 10,
        where: Where | None = None,
        evidence: Collection[Kept] = (),
        attempts: int = 3,
        patience: Patience = PATIENCE,
        max_cycles: int = 4,
        max_retries: int = 2,
        **options: Unpack[Options],
    ) -> None:
        if isinstance(memory, Lattice):
            raise TypeError("research is done in texts: give it a TextMemory, not a Lattice")
        if not 1 <= k <= POOL:
            raise ValueError(f"k is between 1 and {POOL}, not {k}")
        self._memory, states = memory, States(seen(where, check_evidence(evidence)))
        steps = Steps(states, None if model is None else _adviser(model, attempts, patience), k)
        super().__init__(
            memory,
            plan=steps.plan,
            act=acts(states, k),
            reflect=steps.reflect,
            max_cycles=max_cycles,
            max_retries=max_retries,
            **options,
        )

    async def evidence(self, question: str) -> list[Finding]:
        """The texts that bear on a question, the best first: a run, and the texts it found.

        `ResearchStoppedError` if it came to no end.
        """
        return await self.findings(await self.run(question))

    async def findings(self, result: RunResult) -> list[Finding]:
        """The texts of a run's evidence; those erased since are left out.

        `ResearchStoppedError` if it has none.
        """
        if not isinstance(result.data, Evidence):
            raise ResearchStoppedError(result)
        return await findings(self._memory, result.data.found)


def _adviser(model: Model, attempts: int, patience: Patience) -> Adviser:
    from ..llm.asking import Asking  # noqa: PLC0415  # what models need is an extra
    from .adviser import Adviser  # noqa: PLC0415  # as is what asks them

    return Adviser(model, Asking.of(attempts=attempts, patience=patience))
