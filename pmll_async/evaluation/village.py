"""A made-up conversation: people tell each other small things, and are asked for them later.

Everybody tells one thing of each kind, between small talk that uses the same words. A question asks
in other words than it was told in. Names, values and order follow from a seed, so that no model has
read any of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

from pmll_async.text import Utterance

PEOPLE: Final = "Ada Ben Cleo Dov Esra Finn Gita Hugo Iris Jonas Kaya Liam Mira Nils Olga Pavel"
_SYLLABLES: Final = "bel dor fen gra hul ket lim mor nas pel quo rin sut tam vek wil yar zon"
_MONTHS: Final = "January March April June July August October November"
_DAYS: Final = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday"
_VALUES: Final = {
    "key": "blue flowerpot,old piano,third brick,rain barrel,coat rack,tall fern",
    "drink": "plum tea,barley coffee,birch juice,ginger milk,quince cider,mint water",
    "trade": "glazier,saddler,beekeeper,locksmith,piano tuner,bookbinder",
}
_TOLD: Final = {
    "code": "My locker has a new combination, it is {} from today.",
    "dog": "We have got a dog at last, a puppy still, and we call it {}.",
    "key": "I keep the spare key behind the {}, just so you know.",
    "test": "They gave me a date for the driving test: {}.",
    "drink": "If I may choose, I drink {}, morning and evening.",
    "trade": "I have found work as a {}, and I begin on Monday.",
    "town": "I come from {}, a town that hardly anybody has heard of.",
    "boat": "My father's boat was painted again, the {}.",
}
_ASKED: Final = {
    "code": "Which number opens {}'s locker?",
    "dog": "What is the name of {}'s dog?",
    "key": "Where does {} hide a key of the house?",
    "test": "When does {} take the test?",
    "drink": "What does {} like to drink best?",
    "trade": "What is {}'s job?",
    "town": "In which town did {} grow up?",
    "boat": "What is the boat of {}'s family called?",
}
_ANSWERED: Final = {"key": "behind the {}", "trade": "a {}"}
_SMALL_TALK: Final = (
    "Has anybody seen my umbrella? I had it on {}.",
    "The lockers in the hall are to be painted on {}.",
    "My neighbour's dog barked all night, since {}.",
    "I lost a key on {}, but not one that matters.",
    "Nobody should drive when it is as icy as on {}.",
    "There was no tea left in the kitchen on {}.",
    "Work was quiet on {}, I read half a book.",
    "We should go out of town on {}, all of us.",
    "The boats were all in the harbour on {}.",
    "It rained the whole of {}.",
)


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, the answer, and the number of the line that has it."""

    text: str
    answer: str
    line: int


@dataclass(frozen=True, slots=True)
class Conversation:
    """Lines in the order in which they were said, and questions about them.

    α is chosen on the questions about one half of the people; those about the others are reported.
    """

    lines: tuple[Utterance, ...]
    chosen_on: tuple[Question, ...]
    reported: tuple[Question, ...]


def conversation(people: Sequence[str] = tuple(PEOPLE.split()), *, seed: int = 0) -> Conversation:
    """Eight facts a person, and two lines of small talk."""
    random = Random(seed)  # noqa: S311  # nothing is secret here
    days = _DAYS.split()
    facts = [(who, kind, _value(kind, random)) for who in people for kind in _TOLD]
    talk = [
        (who, _SMALL_TALK[(2 * number + more) % len(_SMALL_TALK)].format(random.choice(days)))
        for number, who in enumerate(people)
        for more in range(2)
    ]
    said = [*((who, _TOLD[kind].format(value)) for who, kind, value in facts), *talk]
    order = random.sample(range(len(said)), len(said))
    lines = tuple(Utterance(text=said[each][1], speaker=said[each][0]) for each in order)
    questions: tuple[list[Question], list[Question]] = [], []
    for number, (who, kind, value) in enumerate(facts):
        answer = _ANSWERED.get(kind, "{}").format(value)
        asked = Question(_ASKED[kind].format(who), answer, order.index(number))
        questions[people.index(who) % 2].append(asked)
    return Conversation(lines, *map(tuple, questions))


def _value(kind: str, random: Random) -> str:
    """What a person tells of a kind."""
    if kind in _VALUES:
        return random.choice(_VALUES[kind].split(","))
    if kind == "code":
        return f"{random.randrange(10_000):04}"
    if kind == "test":
        return f"{random.randrange(1, 29)} {random.choice(_MONTHS.split())}"
    return "".join(random.sample(_SYLLABLES.split(), 3)).capitalize()
