"""Replies as models give them: what is read, what is refused and why, and that nothing hangs."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llm_support import Answer

from controllers.llm import ReplyError, parse

GOOD = {
    "plain": '{"text": "a", "n": 1}',
    "spaced": '\n\n  {"text": "a", "n": 1}\n',
    "fenced": '```json\n{"text": "a", "n": 1}\n```',
    "fenced without a name": '```\n{"text": "a", "n": 1}\n```',
    "fenced in prose": 'Sure! Here it is:\n\n```JSON5\n{"text": "a", n: 1}\n```\nAnything else?',
    "fenced and commented": '```json\n// the answer\n{"text": "a", "n": 1}\n```',
    "never closed fence": '```json\n{"text": "a", "n": 1}',
    "behind another fence": '```python\nx = {"text": "b"}\n```\n```\n{"text": "a", "n": 1}\n```',
    "behind a draft": 'Say {"text": "b"}?\n```json\n{"text": "a", "n": 1}\n```',
    "in prose": 'The answer is {"text": "a", "n": 1}, as [said] before {so} it is.',
    "behind citations": 'By [1], [2] and {x}: {"text": "a", "n": 1}',
    "two of them": '{"text": "a", "n": 1} {"text": "b"}',
    "thought about": '<think>\nPerhaps {"text": "b"}?\n</think>\n{"text": "a", "n": 1}',
    "thought, tag kept": 'Perhaps {"text": "b"}?\n</think>\n\n{"text": "a", "n": 1}',
    "comments": '{"text": "a", // {no\n /* "n": 2, */ "n": 1}',
    "trailing commas": '{"text": "a", "n": 1,}',
    "single quotes": "{'text': 'a', 'n': 1}",
    "bare keys": "{text: 'a', n: +1}",
}


@pytest.mark.parametrize("reply", GOOD.values(), ids=GOOD)
def test_what_is_meant_is_read(reply: str) -> None:
    assert parse(reply, Answer) == Answer(text="a", n=1)


INSIDE = [
    "http://example.org//a/*b*/c",
    "// no comment, /* nor this",
    "{ [ } ] \\ \" ' , ,} ,]",
    "```json\n{}\n```",
    "<think>no</think>",
    "line\nbreak\ttab \u2028 😀",
]


@pytest.mark.parametrize("text", INSIDE)
@pytest.mark.parametrize(
    "around", ["{}", "```json\n{}\n```", "So:\n{}", "{}// http://a//b", "<think>x</think>{}"]
)
@pytest.mark.parametrize("comma", ["", ","])
def test_what_stands_in_a_string_is_left_alone(text: str, around: str, comma: str) -> None:
    document = json.dumps({"text": text}, ensure_ascii=False)[:-1] + comma + "}"
    assert parse(around.replace("{}", document), Answer).text == text


def test_a_line_break_in_a_string_is_let_pass() -> None:
    assert parse('{"text": "a\nb"}', Answer).text == "a\nb"


REFUSED = {
    "nothing": ("", "it is empty"),
    "prose": ("I cannot do that.", "no JSON document; it begins 'I cannot"),
    "thoughts alone": ("<think>hm {", "it ends at 1:12 inside <think>"),
    "cut in a string": (
        '{"text": "a\nbc',
        r"cut off at 2:3, inside the string from 1:10, before it closes { from 1:1$",
    ),
    "cut in a list": ('{"n": [1,\n[2', r"at 2:3, before it closes { from 1:1, \[ from 1:7, \[ f"),
    "cut in a comment": ('{"text": "a" /* and', "inside a comment, before it closes"),
    "cut in a last line": ('{"text": "a" // }', "inside a comment, before it closes"),
    "cut in a fence": ('```json\n{"text": "a"\n```\n', "at the end of its fence, before it closes"),
    "cut behind a whole one inside": ('{"a": {"text": "a"}', "cut off at 1:20"),
    "crossed": ('{"text": ["a"}', r"} at 1:14 closes \[ from 1:10"),
    "two commas": ('{"text": "a",, "n": 1}', "it is no JSON: Stray comma near 14, in '"),
    "python": ('{"text": None}', "it is no JSON: Expected 'a' near 10, found 'o', in .*None"),
    "not a number": ('{"text": "a", "n": NaN}', "not JSON compliant"),
    "infinite": ('{"text": "a", "n": -Infinity,}', "not JSON compliant"),
    "overflowing": ('{"text": "a", "n": 1e999}', "not JSON compliant"),
    "endless": ('{"text": "a", "n": ' + "9" * 5000 + "}", "it is no JSON|digits"),
    "endless hex": ('{"text": "a", "n": 0x' + "9" * 5000 + "}", "digits"),
    "half a pair": (r'{"text": "\ud800"}', "hex escape"),
    "a list of it": ('[{"text": "a"}]', "valid dictionary|object"),
    "a list of it in prose": ('So: [{"text": "a"}, {"text": "b"}]', "valid dictionary|object"),
    "misfit": ('{"n": "x"}', "text: Field required; n: Input should be a valid integer"),
}


@pytest.mark.parametrize(("reply", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_read_is_refused_with_a_reason(reply: str, reason: str) -> None:
    with pytest.raises(ReplyError, match=f"^the reply cannot be used: .*(?:{reason})") as caught:
        parse(reply, Answer)
    assert caught.value.text == reply
    assert len(caught.value.reason) < 400


def test_of_a_key_that_is_there_twice_the_last_counts() -> None:
    for comma in ("", ","):
        assert parse(f'{{"text": "a", "text": "b"{comma}}}', Answer).text == "b"


@dataclass
class Day:
    day: date
    places: tuple[str, ...]


@pytest.mark.parametrize(
    ("reply", "type_", "value"),
    [
        ("42", int, 42),
        ("Two: [1, 2,]", list[int], [1, 2]),
        ('```\n["a"]\n```', list[str], ["a"]),
        ("true", bool, True),
        ('{"day": "2025-01-02", "places": ["x"]}', Day, Day(date(2025, 1, 2), ("x",))),
        ('By [1]: {"a": 1}', dict[str, int], {"a": 1}),
    ],
)
def test_any_type_that_pydantic_makes_of_json(reply: str, type_: type[Any], value: Any) -> None:
    assert parse(reply, type_) == value


HOSTILE = [
    *("[", "{", '"', "'", "/*", "//", "\\", " ", "```\n", "```json\n", "<think>", "</think>", "[ "),
    *('{"a":', "{a", "[[{ ", '"\\', "/", "\n", "{'", "]", "[1,", "`", "{ ", "[{'a':["),
]


@pytest.mark.parametrize("start", ["", "{", '{"text": "', "So: ", "```\n", "<think>"])
@pytest.mark.parametrize("part", HOSTILE)
def test_a_hostile_reply_neither_crashes_nor_stalls(part: str, start: str) -> None:
    reply = start + part * (300_000 // len(part))
    began = time.perf_counter()
    with pytest.raises(ReplyError):
        parse(reply, Answer)
    # Linear work takes some milliseconds, quadratic work minutes.
    assert time.perf_counter() - began < 5


@pytest.mark.parametrize("part", ["[", "{'a':", '{"a":[', "[/**/"])
def test_nesting_is_bounded(part: str) -> None:
    closing = "".join({"[": "]", "{": "}"}.get(char, "") for char in reversed(part))
    with pytest.raises(ReplyError, match="nested over 64 levels deep"):
        parse(part * 100_000 + closing * 100_000, list[Any])
    assert parse("[" * 64 + "/**/" + "]" * 64, list[Any])


# --- properties --------------------------------------------------------------------------------

scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
)
texts = st.text(st.characters(exclude_categories=["Cs"]))
values = st.recursive(
    scalars | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)
documents = st.lists(values, max_size=4) | st.dictionaries(texts, values, max_size=4)
fillers = st.sampled_from(
    ["", " ", "\n", "// http://a//b {[\"'\n", "/* , ] } \" ' // */", "\t/**/ ", "/* ``` */"]
)


@st.composite
def decorated(draw: st.DrawFn, value: Any) -> str:
    """The value as JSON with comments and trailing commas where they may stand."""

    def joined(parts: list[str], brackets: str) -> str:
        comma = draw(st.sampled_from(["", ","])) if parts else ""
        inside = ",".join(f"{draw(fillers)}{part}{draw(fillers)}" for part in parts)
        return f"{brackets[0]}{inside}{comma}{draw(fillers)}{brackets[1]}"

    if isinstance(value, list):
        return joined([draw(decorated(item)) for item in value], "[]")
    if isinstance(value, dict):
        items = [(json.dumps(key), draw(decorated(item))) for key, item in value.items()]
        return joined([f"{key}{draw(fillers)}:{draw(fillers)}{item}" for key, item in items], "{}")
    return json.dumps(value, ensure_ascii=draw(st.booleans()))


@given(st.data(), documents)
def test_comments_and_trailing_commas_change_nothing(data: st.DataObject, value: Any) -> None:
    document = data.draw(decorated(value))
    for reply in (document, f"```json5\n{document}\n```\n"):
        if "```" in document and reply is not document:
            continue
        assert parse(reply, type(value)) == value


@given(st.data(), documents)
def test_no_beginning_of_a_document_is_read(data: st.DataObject, value: Any) -> None:
    document = data.draw(decorated(value))
    cut = data.draw(st.integers(0, len(document) - 1))
    with pytest.raises(ReplyError):
        parse(document[:cut], type(value))


@given(st.text("{}[]\"'`\\/*,: \nab1<think>") | st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    for type_ in (Answer, list[Any], str):
        try:
            parse(text, type_)
        except ReplyError:
            continue
