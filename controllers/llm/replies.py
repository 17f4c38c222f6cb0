"""Replies of models as values: JSON, or what is meant by it, checked by pydantic."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import is_dataclass
from typing import Any, Final, TypeVar, cast, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.json_schema import GenerateJsonSchema
from typing_extensions import is_typeddict

from pmll_async import PmllError
from pmll_async.values.extras import missing

from ..journal.forms import adapter_of
from .scanner import DEEPEST, document_in

try:
    import pyjson5
except ModuleNotFoundError as exc:
    raise missing("controllers.llm", "llm", exc) from exc

T = TypeVar("T")

_FEW_COMPLAINTS: Final = 5  # a model that mends these mends the others with them
_LONGEST_COMPLAINT: Final = 200  # characters; some quote what they complain about
_AROUND: Final = 20  # characters shown before and after what is wrong
_NEAR: Final = re.compile(r"near (\d+)")


class ReplyError(PmllError, ValueError):
    """A model's reply, or each of several, cannot be used.

    `reasons` tell why, in the order of the replies; `text` is the last reply.
    """

    def __init__(self, text: str, reasons: Sequence[str]) -> None:
        self.text, self.reasons = text, tuple(reasons)
        one = len(self.reasons) == 1
        which = "the reply cannot" if one else f"none of {len(self.reasons)} replies can"
        super().__init__(f"{which} be used: {self.reason}")

    @property
    def reason(self) -> str:
        """Why the last reply cannot be used."""
        return self.reasons[-1]


def parse(text: str, type_: type[T]) -> T:
    """The value in a reply: `type_` is a pydantic model, or whatever pydantic makes of JSON.

    Prose, a fence and `<think>` around the document, comments, trailing commas, single quotes and
    line breaks in strings are let pass. A document that is cut off is never completed, NaN and
    infinities are refused; of a key that is there twice the last value counts. `ReplyError`.
    """
    try:
        document = document_in(text, is_object=_is_object(type_))
        # By way of JSON, so that pydantic reads a date or a tuple as it would in any other JSON.
        plain = json.dumps(_value(document), allow_nan=False)
        return cast(T, adapter_of(type_).validate_json(plain))
    except ValidationError as exc:
        raise ReplyError(text, [_complaints(exc)]) from exc
    except ValueError as exc:
        raise ReplyError(text, [str(exc)]) from exc


def schema_of(type_: type[Any]) -> str:
    """What a reply must look like, for the model, in one line."""
    schema = adapter_of(type_).json_schema(schema_generator=_Terse)
    return json.dumps(schema, ensure_ascii=False, separators=(",", ":"))


def _value(document: str) -> Any:
    try:
        # Line breaks in strings are what models get wrong most.
        return json.loads(document, strict=False)
    except ValueError:
        pass
    try:
        return pyjson5.decode(document, DEEPEST + 1)
    except pyjson5.Json5DecoderException as exc:
        raise ValueError(_wrong(document, str(exc.args[0]))) from exc


def _wrong(document: str, complaint: str) -> str:
    """The parser's complaint, in plain words and with what stands there."""
    words = re.sub(r"b'(\w+)'", r"\1", complaint)
    words = re.sub(r"U\+([0-9a-f]+)", lambda code: repr(chr(int(code[1], 16))), words)
    where = _NEAR.search(words)
    if where is None:
        return f"it is no JSON: {words}"
    at = int(where[1])
    shown = document[max(0, at - _AROUND) : at + _AROUND]
    return f"it is no JSON: {words}, in {shown!r}"


def _complaints(error: ValidationError) -> str:
    found = error.errors(include_url=False, include_context=False, include_input=False)
    told = [_complaint(detail["loc"], detail["msg"]) for detail in found[:_FEW_COMPLAINTS]]
    more = len(found) - len(told)
    return "; ".join(told) + (f"; and {more} more" if more else "")


def _complaint(path: tuple[int | str, ...], message: str) -> str:
    where = ".".join(map(str, path))
    return (f"{where}: {message}" if where else message)[:_LONGEST_COMPLAINT]


def _is_object(type_: Any) -> bool:
    kind = get_origin(type_) or type_
    if not isinstance(kind, type):
        return False
    return issubclass(kind, BaseModel | dict) or is_dataclass(kind) or is_typeddict(kind)


class _Terse(GenerateJsonSchema):
    """Without titles, which say nothing that names don't and are paid for by the token."""

    def field_title_should_be_set(self, _: Any) -> bool:
        return False
