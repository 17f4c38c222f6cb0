"""Names with numbers, which only grow: one thread adds, any may read what was there."""

from __future__ import annotations


class Numbering:
    """Numbers what it is told, such as terms, from 0 on; `vocabulary` has it all by number."""

    def __init__(self) -> None:
        self.vocabulary: list[str] = []
        self._numbers: dict[str, int] = {}

    def number(self, name: str) -> int | None:
        """The number of a name; None if it has none."""
        return self._numbers.get(name)

    def numbered(self, name: str) -> int:
        """The number of a name, a new one for a new name."""
        number = self._numbers.get(name)
        if number is None:
            # The name goes in first: a reader that finds the number must find the name.
            number = len(self.vocabulary)
            self.vocabulary.append(name)
            self._numbers[name] = number
        return number
