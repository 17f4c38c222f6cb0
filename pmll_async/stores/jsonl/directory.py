"""A folder held open: the one way in which the files of a store are reached, and its errors.

Its files are opened through its descriptor, so that a folder which is moved, or replaced by another
at its path, stays the one that was opened. No link below it is followed, and nothing but a plain
file is opened: opening a FIFO would wait for ever.

Every `OSError` of a store becomes a `StoreError` in `translated`.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, TypeAlias

from pmll_async.errors import (
    DurabilityUnknownError,
    NotStoredError,
    StoreError,
    StoreFullError,
)

FILE_MODE: Final = 0o600
FOLDER_MODE: Final = 0o700
"""A memory is its owner's alone, whatever the umask lets through."""
# Sixteen reads a segment, and little memory for it.
_CHUNK: Final = 1 << 22
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
# O_NONBLOCK, which a plain file ignores, lets nobody wait for the other end of a FIFO.
_PLAIN: Final = os.O_NOFOLLOW | os.O_NONBLOCK
_NOT_PLAIN: Final = frozenset({errno.ELOOP, errno.ENXIO, errno.EISDIR, errno.ENOTDIR})
_NO_DESCRIPTORS: Final = frozenset({errno.EMFILE, errno.ENFILE})
# No room on the disk, in the quota, or under the limit of a file's size.
FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


Part: TypeAlias = tuple[str, int, int] | bytes
"""Of a file from one byte on up to another, or bytes that no file has yet."""


class NotPlainError(OSError):
    """What has the name of a file is a link, a FIFO, a folder or the like."""

    def __init__(self, path: str) -> None:
        super().__init__(
            errno.EINVAL, "it is no plain file or folder, as all of a store's are", path
        )


class Directory:
    """The folder at `path`, open from its making to `close`. `path` itself may be a link.

    `place` is the path from the root, for the current folder of the process may change.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.place = path, path.absolute()
        self.fd = os.open(path, _FOLDER)

    def named(self, name: str) -> str:
        """The path of a file as errors tell it."""
        return str(self.path / name)

    def names(self) -> list[str]:
        """What is in the folder."""
        return os.listdir(self.fd)  # noqa: PTH208  # a path is what this goes around

    def stat(self, name: str) -> os.stat_result | None:
        """A file's facts, a link's own ones; None where there is nothing."""
        try:
            with self._parent(name) as (fd, last):
                return os.stat(last, dir_fd=fd, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def size(self, name: str) -> int:
        """The bytes of a file."""
        with self.opened(name, os.O_RDONLY) as fd:
            return os.fstat(fd).st_size

    def open(self, name: str, flags: int) -> int:
        """A descriptor of a plain file, a new one being the owner's alone."""
        with self._parent(name) as (parent, last):
            try:
                fd = os.open(last, flags | _PLAIN, FILE_MODE, dir_fd=parent)
            except OSError as exc:
                if exc.errno in _NOT_PLAIN:
                    raise NotPlainError(self.named(name)) from exc
                raise
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise NotPlainError(self.named(name))  # noqa: TRY301  # shares the clean-up
        # Whatever stopped it, the descriptor is nobody's.
        except BaseException:
            os.close(fd)
            raise
        return fd

    @contextmanager
    def opened(self, name: str, flags: int) -> Iterator[int]:
        """A descriptor of a plain file, for the block."""
        fd = self.open(name, flags)
        try:
            yield fd
        finally:
            os.close(fd)

    def read(self, name: str, most: int = -1) -> bytes:
        """The bytes of a file, the first `most` of them where that is given."""
        with os.fdopen(self.open(name, os.O_RDONLY), "rb") as file:
            return file.read(most)

    def write_synced(self, name: str, data: bytes) -> None:
        """A new file whose bytes are durable; its name is not yet."""
        with self.created(name) as fd:
            write_all(fd, data)
            os.fsync(fd)

    @contextmanager
    def created(self, name: str) -> Iterator[int]:
        """A descriptor of a new, empty file, for the block; what had the name before is gone."""
        try:
            fd = self.open(name, _NEW)
        except FileExistsError:
            self.unlink(name)
            fd = self.open(name, _NEW)
        try:
            yield fd
        finally:
            os.close(fd)

    def replace(self, name: str, data: bytes) -> None:
        """The file with these bytes, durably; a crash leaves the old bytes or the new ones.

        An error leaves the old bytes, but for `DurabilityUnknownError`.
        """
        # A crash leaves it behind; the next writer removes it.
        temporary = f"{name}.tmp"
        try:
            self.write_synced(temporary, data)
            self.rename(temporary, name)
        except OSError:
            with suppress(OSError):
                self.unlink(temporary)
            raise
        try:
            self.sync()
        except OSError as exc:
            raise DurabilityUnknownError(str(self.path)) from exc

    def rename(self, source: str, target: str) -> None:
        """Give a file another name in the folder."""
        os.rename(source, target, src_dir_fd=self.fd, dst_dir_fd=self.fd)

    def unlink(self, name: str) -> None:
        """Take a name away."""
        with self._parent(name) as (fd, last):
            os.unlink(last, dir_fd=fd)

    def cut(self, name: str, size: int) -> None:
        """Leave the first bytes of a file, durably; where another folder has it, too, in a copy."""
        with self.opened(name, os.O_RDWR) as fd:
            if os.fstat(fd).st_nlink == 1:
                os.ftruncate(fd, size)
                os.fsync(fd)
                return
        self.copy([(name, 0, size)], name)

    def copy(self, parts: Iterable[Part], target: str) -> None:
        """A file of these parts, durable before it has its name; an error leaves no trace."""
        temporary = f"{target}.tmp"
        try:
            with self.created(temporary) as fd:
                for part in parts:
                    if isinstance(part, bytes):
                        write_all(fd, part)
                    else:
                        self._append_part(fd, *part)
                os.fsync(fd)
        # Whatever stopped it, half a copy is of no use to anybody, and may hold what was erased.
        except BaseException:
            with suppress(OSError):
                self.unlink(temporary)
            raise
        self.rename(f"{target}.tmp", target)
        self.sync()

    def _append_part(self, fd: int, name: str, offset: int, stop: int) -> None:
        with self.opened(name, os.O_RDONLY) as source:
            while offset < stop:
                chunk = os.pread(source, min(_CHUNK, stop - offset), offset)
                if not chunk:
                    raise OSError(errno.EIO, "the file became shorter", self.named(name))
                write_all(fd, chunk)
                offset += len(chunk)

    def make_folder(self, name: str) -> None:
        """A folder in the folder, if there is none yet."""
        with suppress(FileExistsError):
            os.mkdir(name, FOLDER_MODE, dir_fd=self.fd)

    def sync(self) -> None:
        """Make the names in the folder durable."""
        os.fsync(self.fd)

    def is_at_its_path(self) -> bool:
        """Whether the path still leads here."""
        try:
            return os.path.samestat(self.place.stat(), os.fstat(self.fd))
        except OSError:
            return False

    def close(self) -> None:
        """Give the descriptor back; again is nothing."""
        if self.fd >= 0:
            fd, self.fd = self.fd, -1
            os.close(fd)

    @contextmanager
    def _parent(self, name: str) -> Iterator[tuple[int, str]]:
        """The descriptor of the folder that a name is in, and the last part of the name."""
        folder, _, last = name.rpartition("/")
        if not folder:
            yield self.fd, last
            return
        try:
            fd = os.open(folder, _FOLDER | os.O_NOFOLLOW, dir_fd=self.fd)
        except OSError as exc:
            if exc.errno in _NOT_PLAIN:
                raise NotPlainError(self.named(folder)) from exc
            raise
        try:
            yield fd, last
        finally:
            os.close(fd)


def store_folder(path: Path) -> Directory:
    """The folder of a store that must be there."""
    try:
        return Directory(path)
    except (FileNotFoundError, NotADirectoryError) as exc:
        raise StoreError(f"{path} is not a store") from exc


def remove(folder: Directory, names: Iterable[str]) -> None:
    """Take away what there is of these files."""
    for name in names:
        with suppress(FileNotFoundError):
            folder.unlink(name)


@contextmanager
def translated(path: str, *, before_writing: bool = False) -> Iterator[None]:
    """Turns the system's errors into those of the store at `path`.

    Those that come `before_writing` say that a later call may succeed.
    """
    try:
        yield
    except StoreError:
        raise
    except OSError as exc:
        if exc.errno in FULL:
            raise StoreFullError(path) from exc
        if before_writing:
            raise NotStoredError(path, _reason(exc)) from exc
        raise StoreError(f"{path}: {_reason(exc)}") from exc
    except MemoryError as exc:
        if before_writing:
            raise NotStoredError(path, "no memory is left") from exc
        raise


def _reason(error: OSError) -> str:
    if error.errno in _NO_DESCRIPTORS:
        return (
            "no file descriptor is left, of which an open lattice needs three; close lattices that "
            "nobody uses, or raise the limit (ulimit -n)"
        )
    where = f" ({error.filename})" if error.filename else ""
    return f"{error.strerror or error}{where}"


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Write everything; one write may take less than it was given."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def make_durable_folder(path: Path) -> None:
    """The folder and those above it, with durable names; others may be making them as well."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(FOLDER_MODE, parents=True, exist_ok=True)
    for folder in reversed(missing):
        fd = os.open(folder.parent, _FOLDER)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
