"""How probable it is that the best line answers: by words, by meaning, and in any language."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from text_support import opened

from pmll_async.text import ASSISTANT, DIALOGUE, NOTES, Part, Preset, Search, TextMemory
from pmll_async.values.concert import Float32

PASSES: Final = 0.2
LINES: Final = (
    "The cello lesson moved to Thursday at Marta's studio.",
    "The washing machine shows E1234 when the filter is blocked.",
    "The train to Oslo leaves on Friday from platform nine.",
    "Das Café Zürich in der Gerberstraße öffnet erst um neun.",
    "奶奶把备用钥匙放在蓝色花盆下面。",
    "娘はピーナッツのアレルギーがあります。",
    "घर की चाबी लाल डिब्बे में है।",
    "مفتاح السيارة في الدرج الأول من المكتب.",
    "getUserById returns None when the account was deleted.",
    "We paid $1,299.99 for the espresso machine.",
)
KNOWN: Final = {
    "E1234": 1,
    "cello": 0,
    "Do you remember what I said about the cello?": 0,
    "When does the train to Oslo leave?": 2,
    "Weißt du noch, was ich über das Cafe Zurich gesagt habe?": 3,
    "备用钥匙在哪里?": 4,
    "娘は何のアレルギーがありますか?": 5,
    "क्या तुम्हें याद है कि चाबी कहाँ है?": 6,
    "أين مِفْتَاح السَّيَّارَة؟": 7,
    "get_user_by_id": 8,
    "1299": 9,
}
UNKNOWN: Final = (
    "Who won the match?",
    "E9999",
    "Do you remember what I said about the violin?",
    "Welche Farbe haben die Vorhänge?",
    "新窗帘是什么颜色?",
    "上司の名前は何ですか?",
    "मैच कौन जीता?",
    "من فاز بالمباراة؟",
    "deleteInvoicePdf",
    "Hello, how are you?",
)
by_preset: Any = pytest.mark.parametrize(
    "preset", [DIALOGUE, NOTES, ASSISTANT], ids=lambda preset: preset.name
)


@by_preset
async def test_an_exact_hit_passes_and_the_unknown_does_not(preset: Preset) -> None:
    async with opened(preset=preset) as memory:
        await memory.remember_many(LINES)
        for question, place in KNOWN.items():
            [found] = await memory.recall(question, 1, min_score=PASSES)
            assert found.text == LINES[place], question
        for question in UNKNOWN:
            assert await memory.recall(question, min_score=PASSES) == [], question


@by_preset
async def test_the_same_question_scores_alike_in_every_language(preset: Preset) -> None:
    async with opened(preset=preset) as memory:
        await memory.remember_many(LINES)
        english = "When does the train to Oslo leave?"
        scores = [
            (await memory.recall(question, 1))[0].score
            for question in (english, "备用钥匙在哪里?", "娘は何のアレルギーがありますか?")
        ]
        assert max(scores) - min(scores) < 0.25, scores


class Thesaurus:
    """Knows that one question means one line; everything else is apart from everything."""

    id = "thesaurus-1"
    dim = 64

    def __init__(self, question: str, line: str, cosine: float) -> None:
        self._question, self._line, self._cosine = question, line, cosine

    def embed(self, texts: Sequence[str]) -> Float32:
        return np.stack([self._vector(text) for text in texts])

    def _vector(self, text: str) -> Float32:
        if text == self._question:
            beside = np.zeros(self.dim, np.float32)
            beside[-1] = np.sqrt(1 - self._cosine**2)
            return (self._vector(self._line) * self._cosine + beside).astype(np.float32)
        vector = np.zeros(self.dim, np.float32)
        place = 0 if text == self._line else 1 + sum(text.encode()) % (self.dim - 2)
        vector[place] = 1.0
        return vector


@pytest.mark.parametrize(("cosine", "is_known"), [(0.7, True), (0.0, False)])
async def test_other_words_of_the_same_meaning_pass(
    cosine: float, *, is_known: bool, tmp_path: Path
) -> None:
    question, line = "Which instrument do I practise?", LINES[0]
    others = [f"{number * 7} bottles" for number in range(40)]
    embedder = Thesaurus(question, line, cosine)
    async with TextMemory.open(tmp_path, embedder, preset=NOTES) as memory:
        await memory.remember_many([line, *others])
        found = await memory.recall(question, 1, min_score=PASSES)
        assert [each.text for each in found] == [line] * is_known


async def test_totals_of_any_size_give_scores() -> None:
    def far(search: Search) -> np.ndarray:
        return 1e12 * search.rows

    async with opened(preset=Preset("far", (Part("far", far),))) as memory:
        await memory.remember_many(LINES)
        found = await memory.recall("the cello and the train", 10)
        assert "train" in found[0].text
        assert all(0.0 <= each.score <= 1.0 for each in found)


async def test_without_a_line_nothing_is_found() -> None:
    async with opened() as memory:
        assert await memory.recall("cello") == []
        await memory.remember("The cello is in the attic.", context={"room": "attic"})
        assert await memory.recall("cello", where={"room": "cellar"}) == []
