"""What a user may meet, as one sentence and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import typer

from pmll_async.cli import plugins
from pmll_async.cli.arguments import KEY_FILE_VARIABLE
from pmll_async.cli.terminal import say
from pmll_async.errors import PmllError, WrongKeyError, WrongSecretError

_FAILED: Final = 1
# As shells report SIGINT and SIGPIPE: 128 and the signal's number.
_INTERRUPTED: Final = 130
_NOBODY_READS: Final = 141


@contextmanager
def expected_errors() -> Iterator[None]:
    """Turns what a user may meet into one sentence and an exit code; a bug keeps its traceback."""
    try:
        yield
        # Here and not at exit, where a closed pipe could no longer be kept quiet.
        sys.stdout.flush()
    # Else the interpreter would try once more at its end, and complain.
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(_NOBODY_READS) from None
    except KeyboardInterrupt as exc:
        say(str(exc) or "interrupted")
        raise typer.Exit(_INTERRUPTED) from None
    except WrongKeyError as exc:
        say(f"{exc} (--key-file, or {KEY_FILE_VARIABLE})")
        raise typer.Exit(_FAILED) from None
    except WrongSecretError as exc:
        options = "" if exc.what == "needless" else " (--passphrase-file, or --secret-key-file)"
        say(f"{exc}{options}")
        raise typer.Exit(_FAILED) from None
    except (PmllError, plugins.BrokenPluginError) as exc:
        say(str(exc))
        raise typer.Exit(_FAILED) from None
    except OSError as exc:
        say(f"{exc.filename}: {exc.strerror}" if exc.filename else str(exc))
        raise typer.Exit(_FAILED) from None
