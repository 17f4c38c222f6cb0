"""Reading LoCoMo: what becomes of turns, times and evidence, and what an error says."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from evaluation_support import HARBOUR, harbour, real, write

from pmll_async import InvalidInputError
from pmll_async.evaluation.locomo import (
    Conversation,
    evidence_in,
    first_questions,
    read_conversations,
)


@pytest.fixture
def conversation() -> Conversation:
    (found,) = read_conversations(HARBOUR)
    return found


def evidence(conversation: Conversation, beginning: str) -> set[str]:
    return set(
        next(each for each in conversation.questions if each.text.startswith(beginning)).evidence
    )


def test_turns_have_their_speaker_and_session(conversation: Conversation) -> None:
    assert conversation.name == "harbour"
    assert [turn.id for turn in conversation.turns[9:12]] == ["D1:10", "D2:1", "D2:2"]
    assert {turn.speaker for turn in conversation.turns} == {"Nadia", "Tom"}
    assert [turn.session for turn in conversation.turns] == ["1"] * 10 + ["2"] * 10 + ["3"] * 10


def test_a_turn_is_half_a_minute_later_than_the_one_before(conversation: Conversation) -> None:
    begun = datetime(2024, 3, 17, 12, 30, tzinfo=UTC).timestamp()
    assert [turn.timestamp - begun for turn in conversation.turns[10:13]] == [0, 30, 60]


def test_noon_and_midnight_are_told_apart(tmp_path: Path) -> None:
    samples = harbour()
    samples[0]["conversation"]["session_1_date_time"] = "12:05 am on 3 March, 2024"
    (read,) = read_conversations(write(tmp_path / "data.json", samples))
    assert read.turns[0].timestamp == datetime(2024, 3, 3, 0, 5, tzinfo=UTC).timestamp()


def test_a_shared_picture_is_part_of_what_was_said(conversation: Conversation) -> None:
    assert conversation.turns[4].text == (
        "Look what I bought for the course! "
        "[shares a picture: a pair of green rubber boots on a table]"
    )
    assert "picture" not in conversation.turns[5].text


def test_sessions_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    samples = harbour()
    talk = samples[0]["conversation"]
    talk["session_10"] = talk.pop("session_1")
    talk["session_10_date_time"] = talk.pop("session_1_date_time")
    (read,) = read_conversations(write(tmp_path / "data.json", samples))
    assert [turn.session for turn in read.turns[::10]] == ["2", "3", "10"]


def test_evidence_is_found_in_malformed_strings(conversation: Conversation) -> None:
    assert evidence(conversation, "What might Nadia drink") == {"D3:4", "D3:5"}
    assert evidence(conversation, "Who painted") == {"D3:7", "D3:9"}
    assert evidence(conversation, "How much did the boots") == {"D1:7"}
    assert list(evidence_in(["D8:6; D9:17", "D01:005", "D:11:26", "D", ""])) == [
        "D8:6",
        "D9:17",
        "D1:5",
    ]


def test_questions_without_evidence_in_the_conversation_are_counted(
    conversation: Conversation,
) -> None:
    assert len(conversation.questions) == 9
    assert conversation.skipped == 2


def test_categories_have_names(conversation: Conversation) -> None:
    assert [each.category for each in conversation.questions] == [
        *("single-hop", "multi-hop", "temporal", "single-hop", "single-hop"),
        *("open-domain", "multi-hop", "single-hop", "adversarial"),
    ]


def test_the_first_questions_leave_out_conversations_without_any(
    conversation: Conversation,
) -> None:
    chosen = first_questions([conversation] * 3, 11)
    assert [len(each.questions) for each in chosen] == [9, 2]
    assert chosen[1].turns == conversation.turns


def remove(*path: Any) -> Any:
    def change(samples: Any) -> None:
        for step in path[:-1]:
            samples = samples[step]
        del samples[path[-1]]

    return change


def replace(value: object, *path: Any) -> Any:
    def change(samples: Any) -> None:
        for step in path[:-1]:
            samples = samples[step]
        samples[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (remove(0, "sample_id"), "samples[0].sample_id: Field required"),
        (remove(0, "qa"), "samples[0].qa: Field required"),
        (remove(0, "qa", 2, "question"), "samples[0].qa[2].question: Field required"),
        (replace(6, 0, "qa", 1, "category"), "samples[0].qa[1].category: Input should be"),
        (replace("D1:1", 0, "qa", 1, "evidence"), "samples[0].qa[1].evidence: Input should be"),
        (remove(0, "conversation", "session_2_date_time"), "has no session_2_date_time"),
        (
            replace("yesterday", 0, "conversation", "session_2_date_time"),
            "session_2_date_time: 'yesterday' is no time such as",
        ),
        (
            remove(0, "conversation", "session_3", 4, "speaker"),
            "harbour: session_3[4].speaker: Field required",
        ),
        (
            replace("4", 0, "conversation", "session_3", 3, "dia_id"),
            "session_3: no turn id: '4'",
        ),
        (replace({}, 0, "conversation"), "conversation has no session_1"),
        (replace([], 0, "qa"), "has no question with evidence"),
    ],
)
def test_an_error_names_the_file_and_what_is_wrong(
    tmp_path: Path, change: Any, complaint: str
) -> None:
    samples = harbour()
    change(samples)
    path = write(tmp_path / "data.json", samples)
    with pytest.raises(InvalidInputError) as caught:
        read_conversations(path)
    assert str(caught.value).startswith(str(path))
    assert complaint in str(caught.value)


@pytest.mark.parametrize("content", ["", "{", "\xff", "[" * 100_000])
def test_a_file_that_is_not_json_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "data.json"
    path.write_text(content, encoding="latin-1")
    with pytest.raises(InvalidInputError, match=r"data\.json is n"):
        read_conversations(path)


def test_another_kind_of_json_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="samples: Input should be a valid list"):
        read_conversations(write(tmp_path / "data.json", {"locomo": 1}))


def test_the_real_data_is_read() -> None:
    found = read_conversations(real("locomo/locomo_dev.json"))
    assert sum(len(each.turns) for each in found) == 2760
    assert sum(len(each.questions) for each in found) == 997
    assert sum(each.skipped for each in found) == 2
