"""What a function's signature says about the arguments that it takes, as a JSON schema."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, NoReturn, cast, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PydanticUserError,
    TypeAdapter,
    ValidationError,
    create_model,
)
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import PydanticSerializationError, PydanticUndefined

from pmll_async import PmllError

from ..steps import StepContext

# What services for models let a tool be called.
_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_UNCLEAR: Final = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


class InvalidToolError(PmllError, TypeError):
    """A function that can be no tool: `tool` is its name, `reason` says why and how to mend it."""

    def __init__(self, tool: str, reason: str) -> None:
        self.tool, self.reason = tool, reason
        super().__init__(f"{tool} cannot be a tool: {reason}")


class ArgumentsError(ValueError):
    """Arguments that do not fit the signature, in words for who chose them."""


@dataclass(frozen=True, slots=True, eq=False)
class Signature:
    """The arguments of one tool. `takes_context`: a `StepContext` comes before them."""

    model: type[BaseModel]
    names: Mapping[str, str]
    takes_context: bool
    schema: Mapping[str, Any]

    def bind(self, arguments: Mapping[str, Any] | str) -> tuple[dict[str, Any], dict[str, Any]]:
        """The arguments as the function wants them, and as JSON, with defaults.

        They are a mapping, or the JSON text of an object. `ArgumentsError`.
        """
        try:
            if isinstance(arguments, str):
                model = self.model.model_validate_json(arguments)
            else:
                model = self.model.model_validate(arguments)
        except ValidationError as exc:
            raise ArgumentsError(self._complaint(exc)) from exc
        given = {name: getattr(model, field) for field, name in self.names.items()}
        try:
            return given, model.model_dump(mode="json", by_alias=True, warnings=False)
        except PydanticSerializationError as exc:
            raise ArgumentsError(f"the arguments are no JSON: {exc}") from exc

    def _complaint(self, error: ValidationError) -> str:
        found = error.errors(include_url=False, include_input=False, include_context=False)
        told = [_problem(detail["type"], detail["loc"], detail["msg"]) for detail in found]
        known = ", ".join(self.names.values()) or "none"
        return f"the arguments do not fit: {'; '.join(told)} (it takes: {known})"


def signature_of(function: Callable[..., Any], name: str) -> Signature:
    """The signature of the function that is to be the tool `name`. `InvalidToolError`."""
    if not _NAME.fullmatch(name):
        raise InvalidToolError(
            name or repr(function), "its name is not 1 to 64 of a-z A-Z 0-9 _ -; give it name=…"
        )
    try:
        parameters = [*inspect.signature(function, eval_str=True).parameters.values()]
    # An annotation is code, which may name what is imported for type checkers only.
    except Exception as exc:
        raise InvalidToolError(
            name,
            f"its annotations cannot be resolved ({type(exc).__name__}: {exc}); name types that"
            " exist at run time, at the top of a module",
        ) from exc
    takes_context = bool(parameters) and _is_context(parameters[0].annotation)
    taken = parameters[1:] if takes_context else parameters
    for parameter in taken:
        _check(name, parameter)
        _check_default(name, parameter)
    model = _model(name, taken)
    names = {f"p{number}": parameter.name for number, parameter in enumerate(taken)}
    return Signature(model, names, takes_context, _schema(name, model))


def described(function: Callable[..., Any]) -> str:
    """The first paragraph of the docstring, in one line."""
    while isinstance(function, partial):
        function = function.func
    text = inspect.getdoc(function) or ""
    return " ".join(text.partition("\n\n")[0].split())


def _is_context(annotation: Any) -> bool:
    return annotation is StepContext or get_origin(annotation) is StepContext


def _check(name: str, parameter: inspect.Parameter) -> None:
    def refuse(reason: str) -> NoReturn:
        raise InvalidToolError(name, f"parameter {parameter.name!r} {reason}")

    if parameter.kind in _UNCLEAR:
        refuse("takes any number of values; a list or a dict as one parameter has a schema")
    if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
        refuse("is positional-only, but arguments come by name")
    if parameter.annotation is inspect.Parameter.empty:
        refuse("has no annotation, so that it has no schema")
    if _is_context(parameter.annotation):
        refuse("is a StepContext, which only the first parameter can be")


def _check_default(name: str, parameter: inspect.Parameter) -> None:
    if parameter.default is inspect.Parameter.empty:
        return
    try:
        TypeAdapter(parameter.annotation).validate_python(parameter.default)
    except ValidationError as exc:
        raise InvalidToolError(
            name, f"the default of {parameter.name!r} is not what its annotation says: {exc}"
        ) from exc
    # What is no type has no default either; the model of all arguments says so better.
    except PydanticUserError:
        return


def _model(name: str, parameters: Iterable[inspect.Parameter]) -> type[BaseModel]:
    # The names are aliases, because a field of a model cannot be called `json` or `_x`.
    fields = {}
    for number, parameter in enumerate(parameters):
        is_required = parameter.default is inspect.Parameter.empty
        default = PydanticUndefined if is_required else parameter.default
        fields[f"p{number}"] = parameter.annotation, Field(default, alias=parameter.name)
    config = ConfigDict(extra="forbid", allow_inf_nan=False)
    try:
        return cast(type[BaseModel], create_model(name, __config__=config, **cast(Any, fields)))
    except (PydanticUserError, TypeError, ValueError) as exc:
        raise InvalidToolError(name, f"its arguments have no schema: {exc}") from exc


class _TerseSchema(GenerateJsonSchema):
    """Without titles, which say nothing that names don't, and with errors for warnings."""

    def field_title_should_be_set(self, _: Any) -> bool:
        return False

    def emit_warning(self, _: Any, detail: str) -> None:
        raise TypeError(detail)


def _schema(name: str, model: type[BaseModel]) -> dict[str, Any]:
    try:
        schema = model.model_json_schema(schema_generator=_TerseSchema)
        json.dumps(schema, allow_nan=False)
    except (PydanticUserError, TypeError, ValueError) as exc:
        raise InvalidToolError(name, f"its arguments have no JSON schema: {exc}") from exc
    # They are the model's, which is ours; the tool has a name and a description of its own.
    schema.pop("title", None)
    schema.pop("description", None)
    return schema


def _problem(kind: str, place: tuple[int | str, ...], message: str) -> str:
    where = ".".join(str(part) for part in place)
    if kind == "extra_forbidden":
        return f"there is no argument {where!r}"
    if kind == "missing":
        return f"{where!r} is missing"
    return f"{where}: {message}" if where else message
