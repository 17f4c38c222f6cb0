"""Families of puzzles: what they draw, what they hold to be right, and what they find again."""

from __future__ import annotations

import numpy as np
import pytest

from controllers.trm import Family, Frame, Maze, Sudoku, puzzle_from, text_of

FAMILIES: list[Family] = [Sudoku(4, pool=12), Sudoku(6, pool=3), Maze(pool=30)]


@pytest.fixture(params=FAMILIES, ids=lambda family: family.name)
def family(request: pytest.FixtureRequest) -> Family:
    found: Family = request.param
    return found


def rows(family: Family, count: int, seed: int = 0) -> list[tuple[tuple[int, ...], ...]]:
    puzzles, answers = family.draw(np.random.default_rng(seed), count)
    pairs = zip(puzzles.tolist(), answers.tolist(), strict=True)
    return [(tuple(puzzle), tuple(answer)) for puzzle, answer in pairs]


def cosine(left: np.ndarray, right: np.ndarray) -> float:
    return float(left @ right / np.linalg.norm(left) / np.linalg.norm(right))


def test_what_is_drawn_has_its_answer_and_no_other(family: Family) -> None:
    drawn = rows(family, 40)
    assert all(family.check(puzzle, answer) for puzzle, answer in drawn)
    assert len({puzzle for puzzle, _ in drawn}) > 25
    puzzle, answer = drawn[0]
    assert not family.check(puzzle, puzzle)
    for cell in range(family.cells):
        other = [*answer]
        other[cell] = (other[cell] + 1) % family.tokens
        assert not family.check(puzzle, other)


def test_the_seed_alone_decides(family: Family) -> None:
    assert rows(family, 5) == rows(family, 5)
    assert rows(family, 5) != rows(family, 5, seed=1)


def test_a_sudoku_has_no_second_answer() -> None:
    for family in FAMILIES[:2]:
        assert isinstance(family, Sudoku)
        for puzzle, answer in rows(family, 5):
            assert list(family._answers(list(puzzle))) == [list(answer)]


def test_what_breaks_a_rule_or_a_given_is_wrong() -> None:
    family = Sudoku(4, pool=4)
    puzzle, answer = rows(family, 1)[0]
    swapped = Frame(family.turns[0], (0, 2, 1, 3, 4)).seen(answer)
    assert family.check((0,) * 16, swapped)
    assert not family.check(puzzle, swapped)
    assert not family.check((0,) * 16, (1, 2, 3, 4) * 4)


def test_a_maze_with_two_shortest_ways_or_none_has_no_answer() -> None:
    maze = Maze(3, pool=1)
    assert not maze.check((2, 0, 0, 0, 0, 0, 0, 0, 3), (2, 4, 4, 0, 0, 4, 0, 0, 3))
    assert not maze.check((2, 1, 0, 1, 1, 0, 0, 0, 3), (2, 1, 0, 1, 1, 0, 0, 0, 3))
    assert maze.check((2, 1, 0, 0, 1, 0, 0, 0, 3), (2, 1, 0, 4, 1, 0, 4, 4, 3))


def test_a_frame_shows_a_puzzle_and_takes_the_answer_back(family: Family) -> None:
    puzzle, answer = rows(family, 1)[0]
    names = tuple(np.roll(range(family.tokens), 1).tolist())
    for turn in family.turns:
        frame = Frame(turn, names)
        assert frame.back(frame.seen(puzzle)) == puzzle
        turned = Frame(turn, tuple(range(family.tokens)))
        assert family.check(turned.seen(puzzle), turned.seen(answer))


def test_a_puzzle_met_again_is_found_by_one_of_its_turns(family: Family) -> None:
    rng = np.random.default_rng(3)
    drawn = rows(family, 20)
    for puzzle, answer in drawn:
        again = family.again(rng, puzzle)
        plain = tuple(range(family.tokens))
        seen = [Frame(turn, plain).seen(again) for turn in family.turns]
        best = max(seen, key=lambda one: cosine(family.key(one), family.key(puzzle)))
        assert cosine(family.key(best), family.key(puzzle)) > 0.6
        names = family.names(best, answer)
        if names is not None and isinstance(family, Sudoku):
            assert family.check(Frame(family.turns[0], names).seen(best), answer)


def test_renaming_digits_does_not_change_a_key_and_is_found_out() -> None:
    family = Sudoku(6, pool=3)
    puzzle, answer = rows(family, 1)[0]
    renamed = Frame(family.turns[0], (0, 3, 1, 2, 6, 4, 5)).seen(puzzle)
    assert np.array_equal(family.key(renamed), family.key(puzzle))
    names = family.names(renamed, answer)
    assert names is not None
    assert Frame(family.turns[0], names).seen(renamed) == puzzle
    assert family.names((1, 1, *puzzle[2:]), answer) is None
    # Two digits have no name in common.
    assert family.names((*answer[:35], 0), (1,) * 36) is None


def test_a_puzzle_has_a_text(family: Family) -> None:
    puzzle, _ = rows(family, 1)[0]
    text = text_of(puzzle)
    assert "0" not in text
    assert puzzle_from(f" {text[:5]}\n{text[5:]}", family) == puzzle
    for wrong in (text[1:], f"{text[1:]}9", f"{text[1:]}x", f"{text[1:]}²"):
        with pytest.raises(
            ValueError, match=rf"a {family.name} is a text of {family.cells} digits"
        ):
            puzzle_from(wrong, family)


def test_other_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="4 or 6, not 9"):
        Sudoku(9)
