"""Text in which nothing is hidden, and which is still the same text."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pmll_async import visible

# They show as marks around numbers and verses.
_SHOWN = {"\u06dd", "\u070f", "\u08e2", *map(chr, range(0x600, 0x606)), "\u0890", "\u0891"}
_SHOWN |= {"\U000110bd", "\U000110cd"}


@pytest.mark.parametrize(
    "hidden",
    [
        "\u202e",
        "\u2066",
        "\u200b",
        "\ufeff",
        "\U000e0041",
        "\x85",
        "\x9b",
        "\x00",
        "\x7f",
        "\ufe01",
    ],
)
def test_what_is_hidden_is_spelled_out(hidden: str) -> None:
    shown = visible(f"pay {hidden}now")
    assert hidden not in shown
    assert shown.startswith("pay \\u")
    assert json.loads(f'"{shown}"') == f"pay {hidden}now"


def test_every_format_and_control_character_is_hidden() -> None:
    kept = {
        chr(code)
        for code in range(0x110000)
        if unicodedata.category(chr(code)) in ("Cf", "Cc") and visible(chr(code)) == chr(code)
    }
    assert kept == {"\t", "\n", "\r"} | _SHOWN


@pytest.mark.parametrize(
    "text",
    [
        "plain, and\n\ton two lines",
        "Zürich – Ægir — 東京 दिन كتاب",
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
        "क्\u200dष",
        "👨\u200d👩\u200d👧",
        "❤\ufe0f\u200d🔥",
        "1\ufe0f\u20e3",
    ],
)
def test_what_writing_needs_stays(text: str) -> None:
    assert visible(text) == text


@pytest.mark.parametrize("text", ["a\u200c\u200db", "a\ufe0f\ufe0f", "\u200da", "❤\ufe0f\ufe0f"])
def test_joiners_that_join_nothing_are_spelled_out(text: str) -> None:
    assert "\\u" in visible(text)


@given(st.text())
def test_a_json_string_stays_the_same(text: str) -> None:
    told = json.dumps(text, ensure_ascii=False)
    assert json.loads(visible(told)) == text
