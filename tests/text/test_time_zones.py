"""Days are those of the memory's time zone, and "yesterday" counts from now."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from text_support import HASHING, opened, texts

from pmll_async import InvalidInputError, PinnedError
from pmll_async.text import NOTES, TextMemory
from pmll_async.text.relative import resolved

TOKYO = ZoneInfo("Asia/Tokyo")
MORNING = datetime(2024, 5, 3, 8, tzinfo=TOKYO)
FRIDAY = datetime(2024, 5, 3, 12, tzinfo=UTC).timestamp()


async def diary(path: Path, zone: str | None) -> list[str]:
    async with TextMemory.open(path, HASHING, preset=NOTES, sync="os", time_zone=zone) as memory:
        if not len(memory.lattice):
            await memory.remember("The van was washed.", timestamp=MORNING)
            await memory.remember("The bike was sold.", timestamp=MORNING.replace(hour=12))
        return await texts(memory, "What was on 3 May?", min_score=0.2)


async def test_a_morning_in_tokyo_is_of_its_day(tmp_path: Path) -> None:
    both = {"The van was washed.", "The bike was sold."}
    assert set(await diary(tmp_path / "tokyo", "Asia/Tokyo")) == both
    assert set(await diary(tmp_path / "tokyo", None)) == both, "it is pinned"
    async with opened(preset=NOTES, time_zone="Asia/Tokyo") as memory:
        await memory.remember("The van was washed.", timestamp=MORNING)
        assert await texts(memory, "2 May 2024") == ["The van was washed."]
        [there] = await memory.recall("3 May 2024")
        [elsewhere] = await memory.recall("2 May 2024")
        assert there.score > elsewhere.score


async def test_another_zone_is_refused_naming_both(tmp_path: Path) -> None:
    await diary(tmp_path, "Asia/Tokyo")
    with pytest.raises(PinnedError, match=r"Asia/Tokyo.*Europe/Berlin"):
        await diary(tmp_path, "Europe/Berlin")


async def test_an_index_of_other_days_is_made_anew(tmp_path: Path) -> None:
    async def evidence(zone: str | None) -> float:
        async with TextMemory.open(tmp_path, HASHING, preset=NOTES, time_zone=zone) as memory:
            if not len(memory.lattice):
                await memory.remember("The van was washed.", timestamp=MORNING)
            [found] = await memory.recall("3 May 2024")
            return found.score

    before = await evidence(None)
    assert (tmp_path / "text.sqlite").exists()
    after = await evidence("Asia/Tokyo")
    assert await evidence(None) == after > before


@pytest.mark.parametrize("name", ["Mars/Olympus", "", "../etc/passwd", "a\0b"])
async def test_a_zone_that_is_none_is_refused_with_its_cure(name: str) -> None:
    with pytest.raises(InvalidInputError, match="tzdata"):
        async with opened(time_zone=name):
            pass


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("What did I do yesterday?", "What did I do 2 May 2024?"),
        ("Who came on 2024-05-02?", "Who came on 2024-05-02 2 May 2024?"),
        (
            "Wer kam am 2.5.2024, und wer am 12. 5. 2024?",
            "Wer kam am 2.5.2024 2 May 2024, und wer am 12. 5. 2024 12 May 2024?",
        ),
        ("Is 2024-13-45 or 31.2.2024 a day?", "Is 2024-13-45 or 31.2.2024 a day?"),
        ("What did I do last night", "What did I do 2 May 2024"),
        ("Whom do I meet the day after tomorrow?", "Whom do I meet 5 May 2024?"),
        ("What did I say last Friday?", "What did I say 26 April 2024?"),
        ("next friday or this monday", "10 May 2024 or 29 April 2024"),
        ("two days ago", "1 May 2024"),
        ("3 weeks ago, a year ago", "April 2024, 2023"),
        ("five months ago", "December 2023"),
        ("last week, last month, this year", "April 2024, April 2024, 2024"),
        ("What happened in June?", "What happened in June 2023?"),
        ("since April", "since April 2024"),
        ("in June 2021 and in May 5", "in June 2021 and in May 5"),
        ("100000 days ago and 9999 weeks ago", "100000 days ago and September 1832"),
        ("nothing of the kind", "nothing of the kind"),
    ],
)
def test_relative_times_become_dates(asked: str, expected: str) -> None:
    assert resolved(asked, FRIDAY, UTC) == expected


def test_they_are_those_of_the_zone_and_of_any_time() -> None:
    late = datetime(2024, 5, 2, 23, tzinfo=UTC).timestamp()
    assert resolved("today", late, TOKYO) == "3 May 2024"
    assert resolved("9999 days ago", 0.0, UTC) == "17 August 1942"
    assert resolved("today", 1e300, UTC) == "today"


async def test_yesterday_counts_from_now_and_in_a_view_from_then() -> None:
    async with opened(preset=NOTES) as memory:
        for day, text in ((2, "The cat was ill."), (12, "The dog was ill.")):
            await memory.remember(text, timestamp=datetime(2024, 5, day, tzinfo=UTC))
        asked = "Who was ill yesterday?"
        assert (await texts(memory, asked, now=FRIDAY))[0] == "The cat was ill."
        later = datetime(2024, 5, 13, 1, tzinfo=UTC)
        assert (await texts(memory.at(2), asked, now=later))[0] == "The dog was ill."
        with pytest.raises(InvalidInputError, match="now"):
            await memory.recall(asked, now=FRIDAY * 1000)
