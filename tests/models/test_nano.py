"""The nano GPT: what it learns, how fast, and that the same seed gives the same model."""

from __future__ import annotations

import random

import pytest
from model_support import CHARACTERS, TINY, VOCABULARY, taught, text_of_the_library, torch

from pmll_async.errors import InvalidInputError
from pmll_async.models import NanoConfig, NanoGPT, library_text
from pmll_async.models.nano import ALPHABET, UNKNOWN, nll, trained

ENTROPY_OF_NOTHING_LEARNED = 4.58  # ln 97


def test_characters_come_back_and_others_are_one_unknown() -> None:
    text = "Ünïcode, tabs\tand\nlines ~"
    ids = CHARACTERS.encode(text)
    assert CHARACTERS.decode(ids) == f"{UNKNOWN}n{UNKNOWN}code, tabs{UNKNOWN}and\nlines ~"
    assert len(CHARACTERS) == len(ALPHABET) == len(set(ALPHABET))


def test_no_token_sees_what_comes_behind_it() -> None:
    model, ids = taught(), torch.tensor([text_of_the_library(16)])
    changed = ids.clone()
    changed[0, 10:] = 3
    with torch.no_grad():
        one, other = model(ids), model(changed)
    assert torch.equal(one[:, :10], other[:, :10])
    assert not torch.equal(one[:, 10:], other[:, 10:])


def test_more_than_its_window_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="17 tokens, and this NanoGPT sees 16"):
        taught()(torch.zeros(1, 17, dtype=torch.long))
    with pytest.raises(InvalidInputError, match="5 tokens, and a window needs 17"):
        trained(NanoGPT(TINY), [1] * 5)


def test_a_little_training_helps_and_is_the_same_for_the_same_seed() -> None:
    ids, losses = text_of_the_library(), []
    runs = [
        trained(NanoGPT(TINY, seed=1), ids, steps=60, rate=1e-2, seed=seed).state_dict()
        for seed in (0, 0, 1)
    ]
    trained(NanoGPT(TINY, seed=1), ids, steps=3, told=lambda step, loss: losses.append(loss))
    assert losses[0] == pytest.approx(ENTROPY_OF_NOTHING_LEARNED, abs=0.1)
    assert nll(NanoGPT(TINY, seed=1), ids) == pytest.approx(ENTROPY_OF_NOTHING_LEARNED, abs=0.1)
    assert nll(taught(), ids) < 3.2
    assert all(torch.equal(runs[0][name], runs[1][name]) for name in runs[0])
    assert not all(torch.equal(runs[0][name], runs[2][name]) for name in runs[0])


def test_training_leaves_no_gradient_and_no_mode_behind() -> None:
    model = taught()
    assert not model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    with pytest.raises(ZeroDivisionError):
        trained(NanoGPT(TINY), text_of_the_library(), steps=1, told=lambda *_: 1 / 0)


def test_a_seed_gives_the_same_weights() -> None:
    one, same, other = (NanoGPT(TINY, seed=seed).state_dict() for seed in (4, 4, 5))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["head.weight"], other["head.weight"])
    assert NanoConfig().vocabulary == VOCABULARY


@pytest.mark.slow
def test_it_learns_to_two_nats_a_character_held_out() -> None:
    topics = library_text()
    random.Random(0).shuffle(topics)
    cut = len(topics) * 9 // 10
    learned, held_out = ("\n".join(part) for part in (topics[:cut], topics[cut:]))
    model = trained(NanoGPT(), CHARACTERS.encode(learned), steps=600)
    assert nll(model, CHARACTERS.encode(held_out)) <= 2.0
