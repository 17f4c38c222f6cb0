"""The `pmll` command.

What it needs beyond the library comes with the extra `cli`; the commands are in
`pmll_async.cli`.
"""

from __future__ import annotations

import sys
from typing import Final, NoReturn

_EXTRA: Final = frozenset({"click", "rich", "typer"})
_CALLED_WRONGLY: Final = 2


def main() -> NoReturn:
    """Run `pmll` with the arguments of the process, and exit with its code."""
    try:
        _run()
    except ModuleNotFoundError as exc:
        if (exc.name or "").partition(".")[0] not in _EXTRA:
            raise
        sys.exit(_missing())
    sys.exit(0)


def _run() -> None:
    from pmll_async.cli.app import app  # `main` says what to install

    for stream in (sys.stdout, sys.stderr):
        # Stored text may have characters that the terminal's encoding lacks.
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # text streams
    app(prog_name="pmll")


def _missing() -> int:
    sys.stderr.write("pmll: its terminal parts are missing: pip install 'pmll-async[cli]'\n")
    return _CALLED_WRONGLY
