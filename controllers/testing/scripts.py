"""Steps and models that play what a test wrote down."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from copy import deepcopy
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from .. import StepContext

if TYPE_CHECKING:
    from ..llm import Message, Reply

T = TypeVar("T")


class ScriptOver(BaseException):  # the script is over, which may be the run's error
    """A step was called once more than its script has items.

    Not an `Exception`: a run would take it for a step that failed, and go on.
    """


class Scripted(Generic[T]):
    """An async function that plays its items, one a call, and keeps what it was called with.

    It stands in for any step, for a judge, or for the function of an effect::

        plan = Scripted(Plan("first"), ConnectionError("no network"), Plan("second"))
        act = Scripted(Candidate(key=[1, 0]), Candidate(key=[0, 1]), name="fast")
        reflect = Scripted(Continue("more"), lambda ctx, outcome: Retry(str(outcome)), Done())
        ...
        assert plan.contexts[1].previous == Continue("more")

    An exception, or its class, is raised; a function is called with what the step was called with;
    everything else is returned. One call too many is `ScriptOver`. `name` is what events call the
    step. `returns` is the return annotation of a step with typed data, such as ``Plan[Query]``.
    """

    def __init__(
        self,
        *items: T | BaseException | type[BaseException] | Callable[..., T | Awaitable[T]],
        name: str = "scripted",
        returns: Any = None,
    ) -> None:
        self.__name__ = self.__qualname__ = name
        self.calls: list[tuple[Any, ...]] = []
        self._items = items
        if returns is not None:
            # Where the controller looks for what the step's data is made of.
            vars(self)["__call__"] = _annotated(self.__call__, returns)

    async def __call__(self, *arguments: Any) -> T:
        """Play the next item."""
        number = len(self.calls)
        # Before anything can raise: a test wants to see the call that failed.
        self.calls.append(self._kept(arguments))
        if number >= len(self._items):
            raise ScriptOver(f"{self.__name__} was called {number + 1} times; {self._length()}")
        item = self._items[number]
        if isinstance(item, BaseException) or _is_error(item):
            raise cast(BaseException, item)
        said = item(*arguments) if callable(item) else item
        return cast(T, await said if inspect.isawaitable(said) else said)

    @property
    def contexts(self) -> list[StepContext[Any]]:
        """What it was called with as a step: one context a call."""
        return [call[0] for call in self.calls]

    def assert_played(self) -> None:
        """`AssertionError` if there are items that nobody asked for."""
        left = self._items[len(self.calls) :]
        if left:
            raise AssertionError(
                f"{self.__name__} was called {len(self.calls)} times; {self._length()}, of which"
                f" nobody asked for: {', '.join(map(repr, left))}"
            )

    def _kept(self, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        return arguments

    def _length(self) -> str:
        return f"its script has {len(self._items)} item{'s' * (len(self._items) != 1)}"


class FakeModel(Scripted["str | Reply"]):
    """A language model that says what it is told to, and keeps what it heard.

    ::

        model = FakeModel('{"text": "look"}', "no JSON", TimeoutError, Reply("{}", Usage(calls=1)))
        plan = llm_plan(model)
        ...
        assert "the goal" in model.heard[0][-1]["content"]
        model.assert_played()
    """

    def __init__(
        self,
        *replies: str | Reply | BaseException | type[BaseException] | Callable[..., Any],
        name: str = "model",
    ) -> None:
        super().__init__(*replies, name=name)

    @property
    def heard(self) -> list[list[Message]]:
        """The conversations it was sent, one a call."""
        return [call[0] for call in self.calls]

    def _kept(self, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        # The caller may go on with the list that it sent.
        return deepcopy(arguments)


def _is_error(item: object) -> bool:
    return isinstance(item, type) and issubclass(item, BaseException)


def _annotated(function: Callable[..., Awaitable[T]], returns: Any) -> Callable[..., Awaitable[T]]:
    async def call(*arguments: Any) -> T:
        return await function(*arguments)

    call.__annotations__["return"] = returns
    return call
