"""Documents: small files of canonical JSON, read strictly and replaced as a whole."""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Final, Self

import rfc8785
from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from pmll_async.errors import SealError

Hash = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
"""32 bytes in lower-case hex."""
Word64 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]
"""8 bytes in lower-case hex."""
_MOST_BYTES: Final = 1 << 24
"""Far more than any document has, and so little that reading it harms nobody."""
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW


class Document(BaseModel):
    """Frozen; one value has one form in bytes, RFC 8785 and a line feed."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True)

    def to_bytes(self) -> bytes:
        """What a file of it holds."""
        return rfc8785.dumps(self.model_dump()) + b"\n"

    @classmethod
    def from_bytes(cls, data: bytes, name: str) -> Self:
        """The document of these bytes; `SealError` for anything that `to_bytes` does not give."""
        try:
            made = cls.model_validate_json(data)
            same = made.to_bytes() == data
        # Numbers may be too large to be written, texts no Unicode.
        except (ValidationError, ValueError) as exc:
            raise SealError(name, f"it is no {cls.__name__.lower()}: {_said(exc)}") from exc
        if not same:
            raise SealError(name, f"it is not written as a {cls.__name__.lower()} is")
        return made

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """The document in a file, None if there is no file or nothing in it; blocks."""
        try:
            with os.fdopen(os.open(path, _READ), "rb") as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise SealError(str(path), "it is not a plain file")
                data = file.read(_MOST_BYTES + 1)
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise SealError(str(path), f"it cannot be read: {exc.strerror}") from exc
        if len(data) > _MOST_BYTES:
            raise SealError(str(path), "it is too large to be one of ours")
        return cls.from_bytes(data, str(path)) if data else None

    def write(self, path: Path) -> None:
        """Make the file, or replace it, durably: a crash leaves the old one or this; blocks."""
        # Others may be writing theirs.
        new = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
        try:
            with os.fdopen(os.open(new, _NEW, 0o600), "wb") as file:
                file.write(self.to_bytes())
                file.flush()
                os.fsync(file.fileno())
            new.replace(path)
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as exc:
            with suppress(OSError):
                new.unlink()
            raise SealError(str(path), f"it cannot be written: {exc.strerror}") from exc


def check_place(path: Path) -> None:
    """Refuse a path that no file can be written at, before anything is: `SealError`."""
    if not path.parent.is_dir():
        raise SealError(str(path), "there is no such folder; make it first")
    if not os.access(path.parent, os.W_OK):
        raise SealError(str(path), "its folder may not be written to; nothing was written")


def _said(error: ValueError) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors(include_input=False, include_url=False)[0]
    place = ".".join(map(str, first["loc"]))
    return f"{place}: {first['msg']}" if place else first["msg"]
