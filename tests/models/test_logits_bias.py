"""α · b on a model's scores: sizes, rows, dtypes, order, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from model_support import CHARACTERS, VOCABULARY, Stub, llama, torch

from pmll_async.errors import InvalidInputError, InvalidVectorError
from pmll_async.models import Bias, LogitsBias, hidden_bias, sample, token_bias, vocabulary_bias

IDS = torch.tensor([[5, 6, 7], [8, 9, 10]])


def one_hot(token: int, vocabulary: int = VOCABULARY) -> torch.Tensor:
    return torch.eye(vocabulary)[token]


def generated(model: Any, bias: LogitsBias | None, **options: Any) -> Any:
    asked = {"max_new_tokens": 4, "do_sample": False, **options}
    processors = [] if bias is None else [bias]
    return model.generate(IDS, logits_processor=processors, **asked)


# --- what it does --------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.0, lambda _: 0.0], ids=["number", "schedule"])
@pytest.mark.parametrize("beams", [1, 3])
def test_a_bias_of_nothing_changes_no_bit(alpha: Any, beams: int) -> None:
    model = llama()
    options = {"num_beams": beams, "output_scores": True, "return_dict_in_generate": True}
    plain = generated(model, None, **options)
    with_it = generated(model, LogitsBias(Bias(one_hot(3)), alpha=alpha), **options)
    assert torch.equal(plain.sequences, with_it.sequences)
    for one, other in zip(plain.scores, with_it.scores, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("alpha", [1e3, 1e30])
def test_the_larger_alpha_the_surer_the_token(alpha: float) -> None:
    texts = generated(llama(), LogitsBias(Bias(one_hot(41)), alpha=alpha))
    assert texts[:, IDS.shape[1] :].unique().tolist() == [41]


@pytest.mark.parametrize(
    ("options", "rows"),
    [
        ({}, 1),
        ({"num_beams": 3}, 1),
        ({"do_sample": True, "num_return_sequences": 2}, 2),
        ({"num_beams": 4, "num_return_sequences": 2}, 2),
    ],
    ids=["greedy", "beams", "samples", "beams and sequences"],
)
def test_each_sequence_has_its_own_row(options: dict[str, Any], rows: int) -> None:
    bias = Bias.of([Bias(one_hot(41)), Bias(one_hot(42))])
    texts = generated(llama(), LogitsBias(bias, alpha=1e4), **options)
    new = texts[:, IDS.shape[1] :]
    assert len(new) == 2 * rows
    # Beams beside the best must differ from it, so only first tokens are alike in all.
    first = new[:, 0] if "num_beams" not in options else new[::rows, 0]
    per_sequence = rows if "num_beams" not in options else 1
    assert first.tolist() == [41] * per_sequence + [42] * per_sequence


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_scores_keep_their_kind_and_what_is_forbidden_stays_so(dtype: torch.dtype) -> None:
    scores = torch.zeros(2, VOCABULARY, dtype=dtype)
    scores[:, 7] = -torch.inf
    given = LogitsBias(Bias(one_hot(7) - one_hot(8)), alpha=1e30)(IDS, scores)
    assert given.dtype == dtype
    assert bool((given[:, 7] == -torch.inf).all())
    assert bool(torch.isfinite(torch.cat([given[:, :7], given[:, 8:]], dim=1)).all())
    assert not bool(torch.softmax(given.float(), dim=1).isnan().any())


def test_alpha_may_be_a_schedule_of_the_step() -> None:
    steps: list[int] = []

    def alpha(step: int) -> float:
        steps.append(step)
        return 1e4 if step == 2 else 0.0

    model = llama()
    plain = generated(model, None)[:, 3:]
    texts = generated(model, LogitsBias(Bias(one_hot(41)), alpha=alpha))[:, 3:]
    assert steps == [0, 1, 2, 3]
    assert torch.equal(texts[:, :2], plain[:, :2])
    assert texts[:, 2].tolist() == [41, 41]


def test_one_that_counts_is_for_one_generation() -> None:
    bias = LogitsBias(Bias(one_hot(41)), alpha=lambda _: 1.0)
    generated(llama(), bias)
    with pytest.raises(InvalidInputError, match="make another"):
        generated(llama(), bias)


def test_a_clip_bounds_what_is_added() -> None:
    scores = torch.zeros(1, VOCABULARY)
    given = LogitsBias(Bias(one_hot(1) - one_hot(2)), alpha=10.0, clip=2.5)(IDS[:1], scores)
    assert given[0, :4].tolist() == [0.0, 2.5, -2.5, 0.0]


def test_it_is_applied_before_temperature() -> None:
    model, row = llama(), torch.linspace(-1, 1, VOCABULARY)
    options = {"output_scores": True, "return_dict_in_generate": True, "max_new_tokens": 1}
    plain = generated(model, None, **options).scores[0]
    warm = {"do_sample": True, "temperature": 0.5, "top_k": 0, **options}
    given = generated(model, LogitsBias(Bias(row), alpha=2.0), **warm).scores[0]
    torch.testing.assert_close(given, (plain + 2 * row) / 0.5)


async def test_any_module_that_gives_logits_may_have_it() -> None:
    bias = LogitsBias(Bias(one_hot(41)), alpha=1e4, model=Stub())
    assert await sample(Stub(), [1, 2], 3, window=8, processors=[bias]) == [41, 41, 41]
    plain = await sample(Stub(), [1, 2], 5, window=8, seed=2)
    assert plain == await sample(Stub(), [1, 2], 5, window=8, seed=2)
    assert plain != await sample(Stub(), [1, 2], 5, window=8, seed=3)


# --- how it is made ------------------------------------------------------------------------------


def test_a_hidden_vector_goes_through_the_models_own_head() -> None:
    model = llama()
    with torch.no_grad():
        output = model(IDS, output_hidden_states=True)
    state, logits = output.hidden_states[-1][:, -1], output.logits[:, -1]
    given = hidden_bias(state.numpy(), model)
    torch.testing.assert_close(given.rows, logits - logits.mean(1, keepdim=True))


def test_a_state_of_before_the_norm_is_normed_first() -> None:
    model, before = llama(), []
    hook = model.model.norm.register_forward_pre_hook(lambda _, given: before.append(given[0]))
    with torch.no_grad():
        logits = model(IDS).logits[:, -1]
    hook.remove()
    given = hidden_bias(before[0][:, -1].detach(), model, norm=model.model.norm)
    torch.testing.assert_close(given.rows, logits - logits.mean(1, keepdim=True))


def test_no_gradient_reaches_the_model() -> None:
    model = llama()
    vector = torch.ones(16, requires_grad=True)
    given = hidden_bias(vector, model).rows
    assert not given.requires_grad
    assert all(parameter.grad is None for parameter in model.parameters())


def test_tokens_of_lines_weigh_what_they_tell() -> None:
    bias = token_bias([("ab", 1.0), ("b", 0.5)], CHARACTERS, llama(), idf=lambda token: token / 100)
    a, b, space = CHARACTERS.encode("ab ")
    row = bias.rows[0]
    assert row.count_nonzero() == 3
    assert row[b] == 1
    assert row[a].item() == pytest.approx(a / (1.5 * b))
    assert row[space].item() == pytest.approx(space / b)
    assert not token_bias([], CHARACTERS, llama()).rows.any()


def test_a_bias_is_a_copy() -> None:
    given = one_hot(3)
    bias = Bias(given)
    given += 1
    assert bias.rows.sum() == 1


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_what_is_no_finite_number_is_refused(number: float) -> None:
    row = np.zeros(VOCABULARY, np.float32)
    row[11] = number
    with pytest.raises(InvalidVectorError, match=r"LlamaForCausalLM.*token 11"):
        vocabulary_bias(row, llama())
    with pytest.raises(InvalidVectorError, match="no finite number"):
        hidden_bias(np.full(16, number), llama())
    with pytest.raises(InvalidInputError, match="finite"):
        LogitsBias(Bias(one_hot(1)), alpha=number)


def test_other_sizes_are_refused_before_anything_is_computed() -> None:
    model = llama(vocabulary=50)
    with pytest.raises(InvalidInputError, match="97 numbers where LlamaForCausalLM has 50"):
        LogitsBias(Bias(one_hot(1)), model=model)
    with pytest.raises(InvalidInputError, match="97 numbers where LlamaForCausalLM has 50"):
        vocabulary_bias(one_hot(1), model)
    with pytest.raises(InvalidVectorError, match=r"\(1, 97\) where the head reads 16"):
        hidden_bias(one_hot(1), model)
    with pytest.raises(InvalidInputError, match="97 numbers where the scores has 50"):
        LogitsBias(Bias(one_hot(1)))(IDS, torch.zeros(2, 50))


def test_rows_that_belong_to_nobody_are_refused() -> None:
    bias = Bias(torch.zeros(3, VOCABULARY), "three rows")
    with pytest.raises(InvalidInputError, match="three rows has 3 rows, and 2 rows"):
        LogitsBias(bias)(IDS, torch.zeros(2, VOCABULARY))


@pytest.mark.parametrize("rows", [torch.zeros(1, 2, 3), torch.zeros(0), torch.tensor(1.0)])
def test_what_is_no_row_is_refused(rows: torch.Tensor) -> None:
    with pytest.raises(InvalidVectorError, match="rows of a vocabulary"):
        Bias(rows)


def test_a_negative_clip_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="clip"):
        LogitsBias(Bias(one_hot(1)), clip=-1.0)


def test_a_model_without_a_head_is_asked_for_it() -> None:
    with pytest.raises(InvalidInputError, match="Linear does not say"):
        hidden_bias(torch.zeros(3), torch.nn.Linear(3, 3))
