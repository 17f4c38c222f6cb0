"""An agent that orders and charges, and may die at each; its run by version 0.1.0 is in `golden`.

``python shop_agent.py FILE`` writes that run as an export, cut off in its second order.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from controllers import Done, Outcome, Plan, RTMController, StepContext, Verdict
from controllers.tools import Tool, Tools
from pmll_async import Candidate
from pmll_async.moving.transfer import export_records
from pmll_async.stores.jsonl import JsonlStore
from pmll_async.text import HashingEmbedder, TextMemory
from pmll_async.values.anchors import Hasher

RUN = "shop/1"
EMBEDDER = HashingEmbedder(dim=16)


class Death(BaseException):
    """Ends the process, as far as the run can tell."""


@dataclass
class Shop:
    """What really happened, and after how many deeds the process dies."""

    deeds: list[tuple[str, str]] = field(default_factory=list)
    last: int = sys.maxsize

    def do(self, what: str, key: str) -> None:
        self.deeds.append((what, key))
        if len(self.deeds) == self.last:
            raise Death

    def controller(self, memory: TextMemory) -> RTMController[Any, Any]:
        async def order(ctx: StepContext[Any], item: str) -> str:
            self.do(f"order {item}", ctx.idempotency_key)
            return f"{item} is on its way"

        tools = Tools([Tool(order, effect=True)])

        async def act(ctx: StepContext[Any], plan: Plan[Any]) -> Candidate:
            told = [await tools.call(ctx, "order", {"item": "tea"}) for _ in range(2)]
            return await ctx.texts.candidate(" and ".join(str(each.value) for each in told))

        async def reflect(ctx: StepContext[Any], outcome: Outcome) -> Verdict:
            async def charge() -> int:
                self.do("charge", ctx.idempotency_key)
                return 4200

            return Done("sold", await ctx.once("charge", charge))

        return RTMController(memory, plan=lambda ctx: Plan("sell"), act=[act], reflect=reflect)


def dies(error: BaseException) -> bool:
    return isinstance(error, Death) or (
        isinstance(error, BaseExceptionGroup) and error.split(Death)[1] is None
    )


async def cut_off(folder: Path, last: int) -> Shop:
    """A new run in the folder, up to so many deeds."""
    shop = Shop(last=last)
    async with TextMemory.open(folder, EMBEDDER) as memory:
        try:
            await shop.controller(memory).run("sell tea", run_id=RUN)
        except BaseException as error:
            if not dies(error):
                raise
    return shop


def exported(folder: Path) -> list[str]:
    """What the folder holds, line by line."""
    return list(export_records(JsonlStore(folder, read_only=True), Hasher()))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        asyncio.run(cut_off(Path(scratch), 2))
        Path(sys.argv[1]).write_text("".join(exported(Path(scratch))), encoding="utf-8")
