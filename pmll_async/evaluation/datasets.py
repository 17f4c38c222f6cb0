"""Reading data sets: JSON files that are what they should be, or an error that says what is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from pmll_async.errors import InvalidInputError

Content = TypeVar("Content")


def read_json(path: Path) -> Any:
    """The JSON value in a file; `OSError` without one."""
    try:
        return json.loads(path.read_bytes())
    except ValueError as exc:  # not JSON, or not UTF-8
        raise InvalidInputError(f"{path} is not JSON: {exc}") from exc
    except RecursionError:
        raise InvalidInputError(f"{path} is nested too deeply") from None


def checked(adapter: TypeAdapter[Content], value: object, place: str) -> Content:
    """The value as the adapter's type; `place` says in errors where it stands."""
    try:
        return adapter.validate_python(value)
    except ValidationError as exc:
        # Without the input: the data may be long, or somebody's.
        first = exc.errors(include_url=False, include_input=False)[0]
        where = "".join(
            f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]
        )
        others = f" (and {exc.error_count() - 1} more)" if exc.error_count() > 1 else ""
        raise InvalidInputError(f"{place}{where}: {first['msg']}{others}") from exc
