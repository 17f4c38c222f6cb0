"""The text index: postings and facts of every ranked line, by index row, growing with the log.

It never forgets: what a rollback or `forget` took out of a state is left out by whoever asks for
that state. So one index answers for the newest state and for every older one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pmll_async.text.index.neighbours import NONE, SessionOrder
from pmll_async.text.index.postings import Int32s, Int64s, Postings
from pmll_async.text.index.spelling import folded_words
from pmll_async.text.index.terms import date_terms, terms
from pmll_async.text.index.vocabulary import Numbering
from pmll_async.values.arrays import GrowingArray
from pmll_async.values.concert import Float64

FACTS: Final = "pmll"
ALONE: Final = -2
"""The session of a text that is of none: nothing around it says anything about it."""
ASKS: Final = 1
DATED: Final = 2
# Also as Chinese, Greek and Arabic write them.
_QUESTION_MARKS: Final = "?\uff1f\u037e\u061f"
_DAY: Final = 86400.0
_TIMES: Final = (
    r"\b(?:yesterday|today|tonight|tomorrow|last|next|ago|weeks?|weekend|months?|years?|recently"
    r"|since|soon|monday|tuesday|wednesday|thursday|friday|saturday|sunday|january|february|march"
    r"|april|june|july|august|september|october|november|december|(?:19|20)\d\d|summer|autumn"
    r"|winter|spring)\b"
)
_LOWER_TIMES: Final = re.compile(_TIMES)
_ANY_TIMES: Final = re.compile(_TIMES, re.IGNORECASE)


class Said(NamedTuple):
    """What a context says about its line; `text` None where there is none to recall."""

    text: str | None
    speaker: str | None
    session: str | None


def said_in(context: Mapping[str, Any]) -> Said:
    """The text, speaker and session in a line's context.

    Under `pmll`, where `TextMemory` writes them, or at the top, where others may have.
    """
    facts = _facts_in(context)
    text, speaker, session = (facts.get(name) for name in Said._fields)
    return Said(_if_text(text), _if_text(speaker), _if_text(session))


def told(text: str, speaker: str | None) -> str:
    """What an embedder is told of a text: who said it matters to what it means."""
    return f"{speaker}: {text}" if speaker else text


def carried(context: Mapping[str, Any]) -> dict[str, Any]:
    """What a newer text takes over of a line's context: all but what says the older text."""
    saying = {FACTS} if _facts_in(context) is not context else {FACTS, *Said._fields}
    return {name: value for name, value in context.items() if name not in saying}


def _facts_in(context: Mapping[str, Any]) -> Mapping[str, Any]:
    # Others than text memory may have anything under that name.
    facts = context.get(FACTS)
    if isinstance(facts, Mapping) and isinstance(facts.get("text"), str):
        return facts
    return context


def _if_text(value: object) -> str | None:
    return value if isinstance(value, str) else None


@dataclass(frozen=True, slots=True, eq=False)
class RowBlock:
    """The facts of a run of rows; what a shelf keeps.

    `vocabulary`, `speakers` and `sessions` are the names that are new in it, numbered on from those
    before. `tokens` int32 with `lengths` int64 (n,) by row; `speaker` and `session` int32 (n,) and
    `marks` uint8 (n,), of ASKS and DATED, by row.
    """

    tokens: Int32s
    lengths: Int64s
    speaker: Int32s
    session: Int32s
    marks: NDArray[np.uint8]
    vocabulary: Sequence[str]
    speakers: Sequence[str]
    sessions: Sequence[str]


class TextRows:
    """Grows by one thread at a time; any may read the rows that were there when it began."""

    def __init__(self) -> None:
        self.postings = Postings()
        self._speakers, self._sessions = Numbering(), Numbering()
        self.speakers, self.sessions = self._speakers.vocabulary, self._sessions.vocabulary
        self._speakers_by_word: dict[str, list[int]] = {}
        self._speaker, self._session = GrowingArray(np.int32), GrowingArray(np.int32)
        self._marks = GrowingArray(np.uint8)
        self.order = SessionOrder()

    def __len__(self) -> int:
        return len(self._speaker)

    @property
    def speaker(self) -> Int32s:
        """The number of each row's speaker, or NONE."""
        return self._speaker.view()

    @property
    def session(self) -> Int32s:
        """The number of each row's session, or ALONE; NONE for a row without text."""
        return self._session.view()

    @property
    def marks(self) -> NDArray[np.uint8]:
        """ASKS for a row whose text has a question mark, DATED for one that speaks of a time."""
        return self._marks.view()

    @property
    def before(self) -> Int32s:
        """The turn said before each row's within its session, or NONE."""
        return self.order.newest.before

    @property
    def after(self) -> Int32s:
        """The turn said after each row's within its session, or NONE."""
        return self.order.newest.after

    def speakers_with(self, word: str) -> Sequence[int]:
        """The numbers of the speakers who have the word in their names."""
        return self._speakers_by_word.get(word, ())

    # --- growing -------------------------------------------------------------------------------

    def read(self, contexts: Iterable[Mapping[str, Any]], timestamps: Sequence[float]) -> RowBlock:
        """The block of further rows; their terms and names are numbered, and then to be added.

        An error, of `contexts` say, leaves nothing numbered.
        """
        # All of them before any is numbered: reading may fail, numbering does not.
        every = [(said_in(context), at) for context, at in zip(contexts, timestamps, strict=True)]
        texts = [(said, list(_terms_of(said, timestamp))) for said, timestamp in every]
        postings = self.postings
        known = len(postings.vocabulary), len(self.speakers), len(self.sessions)
        tokens: list[Int32s] = [np.empty(0, np.int32)]
        lengths, speaker, session, marks = [], [], [], []
        for said, its_terms in texts:
            # A line at a time: no other thread can run while a list becomes an array.
            tokens.append(np.array([postings.numbered(term) for term in its_terms], np.int32))
            lengths.append(len(its_terms))
            speaker.append(self._number_speaker(said))
            session.append(self._number_session(said))
            marks.append(_marks_of(said.text or ""))
        return RowBlock(
            np.concatenate(tokens),
            np.array(lengths, np.int64),
            np.array(speaker, np.int32),
            np.array(session, np.int32),
            np.array(marks, np.uint8),
            postings.vocabulary[known[0] :],
            self.speakers[known[1] :],
            self.sessions[known[2] :],
        )

    def adopt(self, block: RowBlock) -> None:
        """Number the names of a block that was read in an earlier life."""
        adopted = (block.vocabulary, block.speakers, block.sessions)
        numberings = (self.postings, self._speakers, self._sessions)
        for names, numbering in zip(adopted, numberings, strict=True):
            for name in names:
                numbering.numbered(name)

    def add(self, block: RowBlock, chain: NDArray[np.bool_], times: Float64) -> None:
        """Append the rows. A race is in one block, which was read, or adopted, just before.

        Of all rows, these included, `chain` says which are no branches, `times` when they were.
        """
        unknown = len(self.speakers) - len(block.speakers)
        for number, name in enumerate(block.speakers, unknown):
            for word in set(folded_words(name)):
                self._speakers_by_word.setdefault(word, []).append(number)
        self.postings.extend(block.tokens, block.lengths)
        self._speaker.extend(block.speaker)
        self._session.extend(block.session)
        self._marks.extend(block.marks)
        self.order.add(self.session, chain, times)

    def _number_speaker(self, said: Said) -> int:
        if said.text is None or said.speaker is None:
            return NONE
        return self._speakers.numbered(said.speaker)

    def _number_session(self, said: Said) -> int:
        if said.text is None:
            return NONE
        return ALONE if said.session is None else self._sessions.numbered(said.session)


def _marks_of(text: str) -> int:
    asks = any(mark in text for mark in _QUESTION_MARKS)
    return ASKS * asks | DATED * _speaks_of_a_time(text)


def _speaks_of_a_time(text: str) -> bool:
    # Ignoring case takes four times as long, 40 ms for 200 kB, in which no other thread can run.
    return bool(_LOWER_TIMES.search(text.lower()) if text.isascii() else _ANY_TIMES.search(text))


def _terms_of(said: Said, timestamp: float) -> Iterator[str]:
    """What is said, by whom and when: a question may name any of it."""
    if said.text is not None:
        yield from terms(said.text)
        if said.speaker is not None:
            yield from terms(said.speaker)
        yield from _terms_of_day(timestamp // _DAY)


@lru_cache(4096)
def _terms_of_day(day: float) -> list[str]:
    return date_terms(day * _DAY)
