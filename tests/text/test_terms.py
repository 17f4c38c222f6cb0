# ruff: noqa: RUF001 - letters of many scripts are what this is about.
"""The terms of texts and of questions."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pmll_async.text.index.spelling import _kept, folded_words
from pmll_async.text.index.terms import date_terms, question_terms, terms


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Walking, walked and walks", ["walk", "walk", "and", "walk"]),
        ("", []),
        ("  \n\t\x00", ["\x00"]),
        ("?!", ["?", "!"]),
        ("東京都へ行く", ["東京", "京都", "都へ", "へ行", "行く", "東", "京", "都", "行"]),
        ("iPhone を買う", ["iphon", "を買", "買う", "買"]),
        ("สวัสดี", ["สวั", "วัส", "สดี"]),
        ("열쇠는", ["열쇠", "쇠는", "열", "쇠", "는"]),
        ("I ❤ tea ☕", ["i", "tea", "❤", "☕"]),
        ("👩‍👩‍👧", ["👩", "👩", "👧"]),
        ("cafe\u0301 CAFÉ", ["cafe", "cafe", "café", "café"]),
        ("naïve ﬁre", ["naiv", "fire", "naïve"]),
        ("दिन दान", ["दिन", "दान"]),
        ("दौड़", ["दौड", "दौड़"]),
        ("ключ зелёный", ["ключ", "зеленый", "зелёный"]),
        ("getUserById", ["get", "user", "by", "id", "getuserbyid"]),
        ("parseXMLResponse", ["pars", "xml", "respons", "parsexmlrespons"]),
        ("max_retry-count", ["max", "retri", "count", "maxretrycount"]),
        ("wi-fi", ["wi", "fi", "wifi"]),
        ("E1234 utf8", ["e1234", "utf8"]),
        ("well --cold", ["well", "cold"]),
        ("ig\u200bno\u00adre", ["ignor"]),
    ],
)
def test_terms_of_texts(text: str, expected: list[str]) -> None:
    assert terms(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$1,299.99", ["1299", "99", "1299.99"]),
        ("1.299,99 €", ["1299", "99", "1299.99"]),
        ("1\u202f299,99 €", ["1299", "99", "1299.99"]),
        ("1 299,99 €", ["1299", "99", "1299.99"]),
        ("45 000 ₽", ["45000"]),
        ("room 12 300 metres off", ["room", "12", "300", "metr", "off"]),
        ("1299.00", ["1299", "1299.00"]),
        ("₹1,29,999", ["129999"]),
        ("3.11", ["3", "11", "3.11"]),
        ("10.0.0.1", ["10", "0", "0", "1", "10.0.0.1"]),
        ("٤٢ ４２", ["42", "42"]),
    ],
)
def test_a_number_is_its_whole_and_its_fraction(text: str, expected: list[str]) -> None:
    assert terms(text) == expected


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Café Zürich", "CAFE zurich"),
        ("İSTANBUL", "istanbul"),
        ("IŞIK ılık", "ışık ILIK"),
        ("Weiß", "WEISS"),
        ("Łódź", "lodz"),
        ("cà phê sữa đá", "CA PHE SUA DA"),
        ("مِفْتَاح السَّيَّارَة", "مفتاح السيارة"),
        ("الأول", "الاول"),
        ("הַמַּפְתֵּחַ", "המפתח"),
        ("ΡΑΝΤΕΒΟΎ", "ραντεβου"),
        ("Алёна", "АЛЕНА"),
        ("ﾋﾟｰﾅｯﾂ", "ピーナッツ"),
    ],
)
def test_what_people_leave_out_is_folded_away(one: str, other: str) -> None:
    assert folded_words(one) == folded_words(other)
    assert set(terms(one)) & set(terms(other))


@pytest.mark.parametrize(("one", "other"), [("दिन", "दान"), ("мой", "мои"), ("がく", "かく")])
def test_marks_that_carry_meaning_stay(one: str, other: str) -> None:
    assert not set(terms(one)) & set(terms(other))


@given(st.text())
def test_terms_do_not_depend_on_what_was_read_before(text: str) -> None:
    # Half of them from the cache.
    assert terms(text) == terms(text)
    assert terms(f"{text} end")[-1] or not text


@given(st.text())
def test_any_text_with_something_to_see_has_terms(text: str) -> None:
    found = terms(text)
    assert bool(found) == bool(text.split())
    assert all(0 < len(term) <= 64 for term in found)


@given(st.text())
def test_any_text_is_a_question(text: str) -> None:
    asked = question_terms(text)
    assert bool(asked.wanted) == bool(text.split())
    assert len(set(asked.wanted)) == len(asked.wanted)
    assert asked.confirming <= set(asked.wanted)
    assert set(asked.wholes) <= set(asked.wanted)


def test_what_only_builds_a_sentence_is_asked_for_only_if_there_is_nothing_else() -> None:
    assert question_terms("What did you buy?").wanted == ("bui",)
    assert not question_terms("What did you buy?").is_empty
    asked = question_terms("How are you?")
    assert asked.is_empty
    assert asked.wanted == ("how", "ar", "you")
    assert question_terms("the concert in May").wanted == ("concert", "mai")
    assert question_terms("may I?").is_empty


@pytest.mark.parametrize(
    ("question", "wanted"),
    [
        ("Good morning, how is it going?", ()),
        ("How's life going", ()),
        ("Nice to meet you! See you soon.", ()),
        ("How is it going with the pottery?", ("potteri",)),
        ("Where is Ann going?", ("ann", "go")),
        ("Whom did Ann see later?", ("ann", "see", "later")),
    ],
)
def test_sayings_say_nothing_as_a_whole(question: str, wanted: tuple[str, ...]) -> None:
    asked = question_terms(question)
    assert asked.is_empty == (not wanted)
    assert asked.is_empty or asked.wanted == wanted


@pytest.mark.parametrize(
    ("question", "wanted"),
    [
        ("Do you remember what I said about the cello?", ("cello",)),
        ("Weißt du noch, was ich über die Klarinette gesagt habe?", ("klarinett",)),
        ("Te souviens-tu de ce que j'ai dit sur l'asthme ?", ("asthm",)),
        ("¿Te acuerdas de lo que dije sobre Perugia?", ("perugia",)),
        ("Ti ricordi cosa ho detto di Perugia?", ("perugia",)),
        ("Você lembra o que eu disse sobre Perugia?", ("perugia",)),
        ("Weet je nog wat ik over Perugia heb gezegd?", ("perugia",)),
        ("Perugia hakkında ne söylediğimi hatırlıyor musun?", ("perugia",)),
        ("Bạn có nhớ tôi đã nói gì về Perugia không?", ("perugia",)),
        ("Czy pamiętasz, co mówiłem o Perugia?", ("perugia",)),
        ("Ты помнишь, что я говорил про ключ?", ("ключ",)),
        ("Θυμάσαι τι είπα για Perugia;", ("perugia",)),
        ("هل تتذكر ماذا قلت لك عن مفتاح", ("مفتاح",)),
        ("אתה זוכר מה אמרתי על מפתח?", ("מפתח",)),
        ("क्या तुम्हें याद है कि मैंने नदी के बारे में क्या कहा था?", ("नदी",)),
        ("你还记得我说过钥匙的事吗?", ("钥匙",)),
        ("鍵について私が何を言ったか覚えていますか?", ("鍵",)),
        ("คุณจำได้ไหมว่าฉันพูดอะไรเกี่ยวกับชา", ("ชา",)),
        ("내가 화분에 대해 뭐라고 말했는지 기억해?", ("화분", "분에")),
        ("Apakah kamu ingat apa yang saya katakan tentang Perugia?", ("perugia",)),
    ],
)
def test_words_of_asking_weigh_nothing(question: str, wanted: tuple[str, ...]) -> None:
    assert question_terms(question).wanted == wanted


def test_a_word_of_asking_in_one_language_may_be_the_subject_in_another() -> None:
    assert question_terms("Who wore the hat in the war?").wanted == ("wore", "hat", "war")
    assert question_terms("Wer hat wann den Krieg erwähnt?").wanted == ("krieg",)


def test_parts_of_a_word_have_its_whole_as_another_form() -> None:
    asked = question_terms("the wi-fi password")
    assert asked.wanted == ("wi", "fi", "password", "wifi")
    assert asked.wholes == {"wi": "wifi", "fi": "wifi"}
    assert asked.confirming == {"wifi"}
    assert question_terms("Zürich").confirming == {"zürich"}


def test_pairs_are_neighbours_of_which_one_says_something() -> None:
    assert question_terms("the red fox in the snow").pairs == (
        ("the", "red"),
        ("red", "fox"),
        ("fox", "in"),
        ("the", "snow"),
    )


def test_a_question_of_a_book_is_asked_by_its_beginning() -> None:
    asked = question_terms(" ".join(f"word{number} red" for number in range(5000)))
    assert len(asked.wanted) == len(asked.pairs) == 512
    assert asked.wanted[:2] == ("word0", "red")


def test_pages_without_a_space_do_not_stay_in_memory() -> None:
    page = "東京" * 40_000
    assert len(terms(page)) == len(page) - 1 + 2
    assert terms("x" * 200_000) == ["x" * 64]
    size = _kept.cache_info().currsize
    for number in range(50):
        terms(f"{'y' * 100}{number}")
    assert _kept.cache_info().currsize == size


def test_a_time_beyond_the_years_has_no_date() -> None:
    assert date_terms(1_700_000_000) == ["14", "novemb", "2023"]
    assert date_terms(1e18) == date_terms(-1e300) == []


def test_threads_do_not_mix_up_their_words() -> None:
    words = [f"{stem}{ending}" for stem in ("walk", "talk", "jump") for ending in ("ing", "ed")]
    ready = threading.Barrier(4)

    def work() -> list[list[str]]:
        ready.wait(10)
        return [terms(f"{word} {number}") for number in range(200) for word in words]

    with ThreadPoolExecutor(4) as pool:
        answers = [job.result() for job in [pool.submit(work) for _ in range(4)]]
    assert answers[0] == answers[1] == answers[2] == answers[3]
