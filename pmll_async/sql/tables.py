"""A state of a lattice as tables, asked off the event loop."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

import duckdb
from duckdb import DuckDBPyConnection

from pmll_async.errors import InvalidInputError, LatticeClosedError
from pmll_async.lattice import Lattice
from pmll_async.loop.jobs import Jobs
from pmll_async.loop.lifecycle import Openable
from pmll_async.loop.workers import CALLS
from pmll_async.moving.files import replacing
from pmll_async.sql import answers
from pmll_async.sql.answers import Parameters, SqlAnswer
from pmll_async.sql.filling import BATCH_LINES, fill
from pmll_async.sql.schema import schema_of
from pmll_async.values import checks
from pmll_async.values.extras import require
from pmll_async.values.moments import Moment, optional_moment
from pmll_async.views import LatticeView

if TYPE_CHECKING:
    from pmll_async.views import Survey

Result = TypeVar("Result")
Progress = Callable[[int, int], None]
"""Told now and then how many records are in the tables, and how many there are."""
_AGAIN_SECONDS: Final = 0.05
_SETTINGS: Final[dict[str, str | bool | int | float | list[str]]] = {
    # What the SQL names are tables of ours, and neither variables nor files.
    "python_enable_replacements": False,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    # What an encrypted lattice holds goes to no disk.
    "temp_directory": "",
}


class LatticeTables(Openable):
    """The lines of a lattice, or of a past state (`lattice.at`), to be asked in SQL.

    Opening copies that state into an in-memory DuckDB; what is written later is not in it. It must
    be closed before the lattice. `vectors` adds the columns `key` and `value`, which take most of
    the time and memory. SQL reads and can neither write nor see any file. `now` (epoch seconds, or
    an aware datetime) is what recency is of: the time now, or of a past state.
    """

    def __init__(
        self,
        lattice: Lattice | LatticeView,
        *,
        vectors: bool = False,
        now: Moment | None = None,
        progress: Progress | None = None,
    ) -> None:
        if not isinstance(lattice, Lattice | LatticeView):
            raise InvalidInputError(
                f"tables are made of a Lattice or lattice.at(...), not {type(lattice).__name__}"
            )
        self._lattice, self._progress = lattice, progress
        self._vectors = checks.flag(vectors, "vectors")
        self._given_now = optional_moment(now, "now")
        self._turn = asyncio.Lock()
        self._jobs: Jobs | None = None
        self._database: DuckDBPyConnection | None = None
        self._running: dict[DuckDBPyConnection, asyncio.Future[Any]] = {}
        # Made only where a file is written: until then nothing of that name exists.
        self._folder = Path(tempfile.gettempdir()) / f"pmll-sql-{secrets.token_hex(16)}"

    async def sql(self, query: str, parameters: Parameters | None = None) -> SqlAnswer:
        """All rows that a SELECT gives; `parameters` are bound to `?`, or by name to `$name`.

        Anything but one SELECT, and an error in it: `InvalidInputError`. Cancelled, it is
        interrupted.
        """
        answer: SqlAnswer = await self._ask(answers.rows, query, parameters)
        return answer

    async def arrow(self, query: str, parameters: Parameters | None = None) -> Any:
        """The same as a `pyarrow.Table`."""
        require("duckdb", "pyarrow")
        return await self._ask(answers.arrow, query, parameters)

    async def frame(self, query: str, parameters: Parameters | None = None) -> Any:
        """The same as a `pandas.DataFrame`."""
        require("duckdb", "pandas")
        return await self._ask(answers.frame, query, parameters)

    async def write(
        self,
        query: str,
        path: str | os.PathLike[str],
        parameters: Parameters | None = None,
    ) -> int:
        """Write the rows to a file, Parquet, CSV or JSON lines by its suffix; how many there are.

        It takes its name when it is complete, and is its owner's alone; a file that is there is
        replaced. Until then it grows in the temporary folder.
        """
        target = Path(path)
        answers.check(query, target)
        written: int = await self._ask(
            partial(_written, folder=self._folder, target=target), query, parameters
        )
        return written

    async def aclose(self) -> None:
        """Interrupt what is asked, and give the memory back. Idempotent."""
        async with self._turn:
            database, self._database = self._database, None
            if database is None or self._jobs is None:
                return
            for connection, job in self._running.items():
                _interrupt(job, connection)
            await self._jobs.close()
            database.close()
            shutil.rmtree(self._folder, ignore_errors=True)

    # --- opening -------------------------------------------------------------------------------

    async def _opened(self) -> Self:
        async with self._turn:
            if self._database is None:
                if self._jobs is not None:
                    raise LatticeClosedError("these tables are closed; make them anew")
                jobs = Jobs()
                self._database = await self._filled(jobs)
                self._jobs = jobs
        return self

    async def _filled(self, jobs: Jobs) -> DuckDBPyConnection:
        survey = await self._lattice.survey()
        database = await jobs.run(self._made, survey)
        first, stop = 0, survey.revision
        while first < stop:
            after = survey.batch_stop(first, BATCH_LINES)
            await jobs.run(partial(fill, database, survey, first, after, vectors=self._vectors))
            first = after
            if self._progress is not None:
                self._progress(first, stop)
        await jobs.run(_lock, database, self._folder)
        return database

    def _made(self, survey: Survey) -> DuckDBPyConnection:
        database = duckdb.connect(":memory:", config=_SETTINGS)
        # Of every connection, so that an hour is the same one wherever this runs.
        database.execute("set global TimeZone = 'UTC'")
        dim, value_dim = survey.dimensions
        for statement in schema_of(dim, value_dim, vectors=self._vectors):
            database.execute(statement)
        state = survey.revision, self._now(), survey.concert.tau, dim
        database.execute("insert into state values (?, to_timestamp(?), ?, ?)", state)
        return database

    def _now(self) -> float:
        if self._given_now is not None:
            return self._given_now
        return self._lattice.now if isinstance(self._lattice, LatticeView) else time.time()

    # --- asking --------------------------------------------------------------------------------

    async def _ask(
        self,
        ask: Callable[[DuckDBPyConnection, str, Parameters | None], Result],
        query: str,
        parameters: Parameters | None,
    ) -> Result:
        if self._database is None or self._jobs is None:
            raise LatticeClosedError("these tables are not open: use `async with LatticeTables(…)`")
        connection = self._database.cursor()
        job = self._jobs.start(ask, connection, query, parameters, workers=CALLS)
        self._running[connection] = job
        job.add_done_callback(lambda _: self._ended(connection))
        try:
            return await asyncio.shield(job)
        except asyncio.CancelledError:
            _interrupt(job, connection)
            raise

    def _ended(self, connection: DuckDBPyConnection) -> None:
        self._running.pop(connection)
        connection.close()


def _interrupt(job: asyncio.Future[Any], connection: DuckDBPyConnection) -> None:
    """End a question; again and again, since one that has not begun yet cannot be interrupted."""
    if not job.done():
        connection.interrupt()
        asyncio.get_running_loop().call_later(_AGAIN_SECONDS, _interrupt, job, connection)


def _lock(database: DuckDBPyConnection, folder: Path) -> None:
    """From here on no statement reaches a file but in this folder, or changes that."""
    place = f"{folder}/".replace("'", "''")
    database.execute(f"set allowed_directories = ['{place}']")
    database.execute("set enable_external_access = false")
    database.execute("set lock_configuration = true")


def _written(
    connection: DuckDBPyConnection,
    query: str,
    parameters: Parameters | None,
    *,
    folder: Path,
    target: Path,
) -> int:
    folder.mkdir(0o700, exist_ok=True)
    made = folder / f"{secrets.token_hex(8)}{target.suffix}"
    try:
        count = answers.write(connection, query, parameters, made)
        with made.open("rb") as rows, replacing(target) as file:
            shutil.copyfileobj(rows, file)
        return count
    finally:
        made.unlink(missing_ok=True)
