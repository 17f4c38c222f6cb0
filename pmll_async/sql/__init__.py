"""SQL: a lattice's lines as tables of an in-memory database, to be asked (extra `duckdb`)."""

from __future__ import annotations

from pmll_async.values.extras import require

require("duckdb", "duckdb")

from pmll_async.sql.answers import SqlAnswer as SqlAnswer  # noqa: E402  # says what to install
from pmll_async.sql.tables import LatticeTables as LatticeTables  # noqa: E402  # as above

__all__ = ["LatticeTables", "SqlAnswer"]
