"""What a person decides about a call: asked for one at a time, in the words that people use."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from pydantic import JsonValue

from pmll_async import InvalidInputError, thaw

from ..steps import Pause
from ..tools.signatures import ArgumentsError
from ..tools.tools import Tools
from .moves import ToolCall

# What approves, in the languages that people most often answer in, if nothing but fillers stands
# beside it: who writes more may mean "yes, but", which is no yes.
_WORDS: Final = (
    "y yes yep yeah yup sure ok okay fine approve approved allow allowed accept accepted agree"
    " agreed confirm confirmed true proceed granted permitted lgtm go-ahead do-it of-course"
    " ja jawohl oui sí si sì sim да はい 是 好 好的 可以 同意 네 예 نعم evet tak 👍 ✅ ✔"
)
_YES: Final = frozenset(_WORDS.split())
_FILLERS: Final = frozenset(("please", "thanks", "thank-you", "it", "i", "bitte", "danke"))
_PHRASES: Final = ("go ahead", "do it", "of course", "thank you")
_KNOWN: Final = {"approved", "arguments", "reason"}
_HOW: Final = 'answer "yes" or "no", or {"approved": true, "arguments": {…}} to change arguments'


class UnclearAnswerError(InvalidInputError):
    """An answer that is neither a yes nor a no; the message says how to give one."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What an answer was understood as.

    `said` are its words, `arguments` those that it puts in the place of the model's.
    """

    approved: bool
    said: str = ""
    arguments: Mapping[str, JsonValue] = field(default_factory=dict)


def understood(answer: Any) -> Decision:
    """What is meant by an answer to "May it call …?".

    True and False; words of consent alone, such as "Yes", "ok, go ahead" or "approve"; any other
    text is a refusal, which is told to the model; ``{"approved": …}`` with, where some are to be
    changed, ``"arguments"``, and with a ``"reason"``. `UnclearAnswerError` for the rest.
    """
    if isinstance(answer, bool):
        return Decision(answer, "yes" if answer else "no")
    if isinstance(answer, str) and answer.strip():
        return Decision(_consents(answer), answer.strip())
    if isinstance(answer, Mapping):
        return _in_full(answer)
    raise UnclearAnswerError(f"{_shown(answer)} is neither yes nor no; {_HOW}.")


def _in_full(answer: Mapping[str, Any]) -> Decision:
    if unknown := sorted(map(str, answer.keys() - _KNOWN)):
        raise UnclearAnswerError(f"an answer has no {unknown[0]!r}; {_HOW}.")
    if not isinstance(answer.get("approved"), bool | str):
        raise UnclearAnswerError(f"the answer does not say whether it is approved; {_HOW}.")
    decision = understood(answer["approved"])
    changed, said = answer.get("arguments") or {}, answer.get("reason") or decision.said
    if not isinstance(changed, Mapping) or not isinstance(said, str):
        raise UnclearAnswerError(f"arguments are an object, and a reason is a text; {_HOW}.")
    return Decision(decision.approved, said, thaw(changed))


def _consents(text: str) -> bool:
    if "?" in text:
        return False
    plain = unicodedata.normalize("NFKC", text).casefold().replace("\ufe0f", "")
    bare = "".join(" " if unicodedata.category(sign)[0] == "P" else sign for sign in plain)
    words = " ".join(bare.split())
    for phrase in _PHRASES:
        words = words.replace(phrase, phrase.replace(" ", "-"))
    meant = [word for word in words.split() if word not in _FILLERS]
    return bool(meant) and all(word in _YES for word in meant)


@dataclass(frozen=True, slots=True)
class Decided:
    """A call that was decided about, as it is to be made; `fresh`: by the newest answer."""

    call: ToolCall
    decision: Decision
    fresh: bool

    @property
    def record(self) -> dict[str, JsonValue]:
        """What the journal and the model are told of it."""
        told: dict[str, JsonValue] = {"approved": self.decision.approved}
        if self.decision.said:
            told["said"] = self.decision.said
        if self.decision.arguments:
            told["changed"] = [*sorted(self.decision.arguments)]
        return told


@dataclass(slots=True)
class Approvals:
    """Goes through the calls of one turn with the answers that were given, in their order."""

    tools: Tools
    confirm: frozenset[str]
    decided: dict[int, Decided] = field(default_factory=dict)

    def decide(self, calls: Sequence[ToolCall], answers: Sequence[Any]) -> Pause | None:
        """Each answer is for one call; the next question, where one is open."""
        wanted = [number for number, call in enumerate(calls) if self._asks(call)]
        given = iter(enumerate(answers))
        heard = ""
        for place, number in enumerate(wanted, 1):
            call, count = calls[number], f" ({place} of {len(wanted)})" if len(wanted) > 1 else ""
            found = _next(given, partial(self._check, call))
            if isinstance(found, str) or found is None:
                asked = f"May it call {_written(call)}?{count}"
                question = " ".join(part for part in (found or heard, asked) if part)
                return Pause(question, [call.model_dump()])
            answer, decision = found
            made = call.model_copy(
                update={"arguments": {**call.arguments, **thaw(decision.arguments)}}
            )
            self.decided[number] = Decided(made, decision, fresh=answer == len(answers) - 1)
            heard = f"Understood: {_written(made)} is {'' if decision.approved else 'not '}allowed."
        return None

    def _asks(self, call: ToolCall) -> bool:
        if call.tool not in self.confirm:
            return False
        # What the tool would refuse anyway is no question for a person.
        try:
            self.tools[call.tool].signature.bind(call.arguments)
        except ArgumentsError:
            return False
        return True

    def _check(self, call: ToolCall, decision: Decision) -> None:
        try:
            changed = {**call.arguments, **decision.arguments}
            self.tools[call.tool].signature.bind(changed)
        except ArgumentsError as exc:
            raise UnclearAnswerError(f"{exc}.") from exc


def _next(
    answers: Iterator[tuple[int, Any]], check: Callable[[Decision], None]
) -> tuple[int, Decision] | str | None:
    """The next answer that can be used; why the last one cannot, if there is none; None: asked."""
    reason = None
    for place, answer in answers:
        try:
            decision = understood(answer)
            check(decision)
        except UnclearAnswerError as exc:
            reason = str(exc)
        else:
            return place, decision
    return reason


def _written(call: ToolCall) -> str:
    return f"{call.tool}({json.dumps(call.arguments, ensure_ascii=False)})"


def _shown(answer: object) -> str:
    return repr(answer) if len(repr(answer)) <= 60 else f"{repr(answer)[:60]}…"
