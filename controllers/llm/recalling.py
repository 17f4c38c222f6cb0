"""What a step recalls for its model: whose memories, how they are ranked, and what is evidence."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Unpack

from typing_extensions import TypedDict

from pmll_async import Where

from .. import StepContext
from ..kept import Kept, Whose, check_evidence, filter_of, seen
from ..outages import PATIENCE, Patience, patiently

if TYPE_CHECKING:
    from pmll_async.text import Preset, Recollection


class RecallOptions(TypedDict, total=False):
    """What a step may be told about recalling.

    `where` filters, or gives a filter for the step's context: so many users share a lattice. What
    is kept then has its plain equalities in its context. `preset` ranks in place of the memory's
    own. What runs have kept is left out but for the kinds in `evidence`: "answer", "result".
    """

    where: Whose | None
    preset: Preset | None
    evidence: Collection[Kept]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recalling:
    """The same with what is not said; `memories` is how many."""

    memories: int
    where: Whose | None = None
    preset: Preset | None = None
    evidence: Collection[Kept] = ()
    patience: Patience = PATIENCE

    @classmethod
    def of(cls, memories: int, patience: Patience, **options: Unpack[RecallOptions]) -> Recalling:
        """With these options. `InvalidInputError` for evidence of no known kind."""
        made = cls(memories=memories, patience=patience, **options)
        check_evidence(made.evidence)
        return made

    async def for_step(
        self, ctx: StepContext[Any], question: str, *, besides: str | None = None
    ) -> list[Recollection]:
        """What the memory has for a question; nothing of the run `besides`."""
        if not self.memories:
            return []
        where = seen(filter_of(self.where, ctx), self.evidence, besides)
        return await self.among(ctx, question, self.memories, where)

    async def among(
        self, ctx: StepContext[Any], question: str, k: int, where: Where
    ) -> list[Recollection]:
        """The same among other lines; an embedder that is down is waited for."""
        ask = partial(ctx.texts.recall, question, k, where=where, preset=self.preset)
        return await patiently("the memory's embedder", ask, self.patience)
