"""The typer application: what the commands are called, take and say about themselves.

What a command does is imported when it runs, so that none waits for what the others need.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from typer.core import TyperCommand, TyperGroup

from pmll_async.cli import arguments, converting, encryption, evaluate, plugins, sql
from pmll_async.cli.arguments import (
    AsJson,
    KeyFile,
    LatticePath,
    PassphraseFile,
    SecretKeyFile,
    TrustFile,
)
from pmll_async.cli.embedders import AnyEmbedderOption, any_embedder
from pmll_async.cli.failures import expected_errors
from pmll_async.cli.secrets import secret_of
from pmll_async.cli.terminal import say
from pmll_async.values.anchors import Hasher

EXIT_CODES: Final = """\b
Exit codes:
  0    all is well
  1    an error, or damage or another log than was sealed, found by `verify`
  2    the command was called wrongly
  3    `verify` found a torn end, which the next opening for writing mends
  130  interrupted with Ctrl-C
  141  whoever was reading the output stopped
"""


class PmllGroup(TyperGroup):
    """Our commands, and behind them those of other packages."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Ours in the order of a first visit, then the others by name."""
        ours = super().list_commands(ctx)
        return ours + sorted(name for name in plugins.found() if name not in ours)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """One of ours, or what the help shows of another's."""
        known = super().get_command(ctx, cmd_name)
        point = plugins.found().get(cmd_name) if known is None else None
        if point is None:
            return known
        try:
            return TyperCommand(cmd_name, help=plugins.summary(point))
        except plugins.BrokenPluginError as exc:
            say(str(exc))
            return None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command to run; another's is imported only now."""
        # Ours come first: no package takes over a command of this one.
        name = args[0]
        if name not in self.commands and name in plugins.found():
            self.add_command(plugins.command(plugins.found()[name]), name)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run, with every expected error reported in the same way."""
        with expected_errors():
            return super().invoke(ctx)


app = typer.Typer(
    cls=PmllGroup,
    name="pmll",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    epilog=EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import PackageNotFoundError, version

        try:
            sys.stdout.write(f"pmll {version('pmll-async')}\n")
        except PackageNotFoundError:
            sys.stdout.write("pmll (run from its sources)\n")
        raise typer.Exit


@app.callback()
def pmll(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Look into, check and move the memories of agents: lattices of hash-chained lines.

    `pmll COMMAND --help` says more and gives an example.
    """


def _example(*lines: str) -> str:
    return "\b\n" + "\n".join(
        ["Examples:" if len(lines) > 1 else "Example:", *map("  ".__add__, lines)]
    )


@app.command(epilog=_example("pmll info memory", "pmll info memory --json | jq .head"))
def info(
    path: LatticePath,
    as_json: AsJson = False,
    key_file: KeyFile = None,
    passphrase_file: PassphraseFile = None,
    secret_key_file: SecretKeyFile = None,
) -> None:
    """Say what a lattice holds, and who is writing to it.

    Dimensions, lines, revision, head, digest, files. Reads only, also beside a writer.
    """
    from pmll_async.cli import info as command

    secret = secret_of(path, passphrase_file, secret_key_file)
    command.info(path, arguments.key_in(key_file), secret, as_json=as_json)


@app.command(
    epilog=_example(
        "pmll log memory --limit 10",
        """pmll log memory --where '{"topic": "recursion", "step": {"$gte": 3}}'""",
        "pmll log memory --start 6c976a2684fc5c1f --json",
    )
)
def log(
    path: LatticePath,
    limit: Annotated[
        int | None, typer.Option("--limit", "-n", min=0, help="At most so many lines.")
    ] = None,
    where: Annotated[
        str | None, typer.Option(metavar="JSON", help="Only lines whose context fits this filter.")
    ] = None,
    start: Annotated[
        str | None, typer.Option(metavar="ANCHOR", help="Begin at this line and not at the head.")
    ] = None,
    vectors: Annotated[
        bool, typer.Option("--vectors", help="With --json: keys and values as well.")
    ] = False,
    as_json: AsJson = False,
    key_file: KeyFile = None,
    passphrase_file: PassphraseFile = None,
    secret_key_file: SecretKeyFile = None,
) -> None:
    """Print the chain, newest line first, notes included.

    Reads only, also beside a writer, and as it goes: a long chain takes no more memory. With --json
    one document a line.
    """
    from pmll_async.cli import log as command

    wanted = None if where is None else arguments.filter_of(where)
    command.log(
        path,
        arguments.key_in(key_file),
        secret_of(path, passphrase_file, secret_key_file),
        limit=limit,
        where=wanted,
        start=start,
        as_json=as_json,
        vectors=vectors,
    )


@app.command(epilog=_example("pmll verify memory && echo every byte is what was written"))
def verify(
    path: LatticePath,
    expect: Annotated[
        Path | None,
        typer.Option(metavar="SEAL", help="The log must begin with what this seal states."),
    ] = None,
    public_key: Annotated[
        str | None,
        typer.Option(metavar="HEX", help="Whose the seal must be: a public Ed25519 key."),
    ] = None,
    trust: TrustFile = None,
    as_json: AsJson = False,
    key_file: KeyFile = None,
    passphrase_file: PassphraseFile = None,
    secret_key_file: SecretKeyFile = None,
) -> None:
    """Check every byte of a lattice, and change nothing.

    Files, records, anchors, digest, cache; with --expect or --trust also that the log begins with
    what was sealed. Exits with 0 when clean, 1 when damaged or not what was sealed, 3 when only the
    end is torn.
    """
    from pmll_async.cli import seals
    from pmll_async.cli import verify as command

    expected = seals.expected(expect, public_key, trust)
    key, secret = arguments.key_in(key_file), secret_of(path, passphrase_file, secret_key_file)
    raise typer.Exit(command.verify(path, key, expected, secret, as_json=as_json))


@app.command(
    epilog=_example(
        "pmll seal memory",
        "pmll seal memory --output seal.json --sign-key-file seal.key --trust trust.json",
        "pmll verify memory --expect seal.json --trust trust.json",
    )
)
def seal(
    path: LatticePath,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write the seal here as well."),
    ] = None,
    sign_key_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Sign with Ed25519: the 32 bytes of this file."),
    ] = None,
    trust: TrustFile = None,
    as_json: AsJson = False,
    key_file: KeyFile = None,
    passphrase_file: PassphraseFile = None,
    secret_key_file: SecretKeyFile = None,
) -> None:
    """State what a lattice is now, in its `seal.json` and elsewhere.

    Whoever has the seal finds whatever is changed, cut off or left out from then on. A keyed
    lattice is sealed with its key. Beside a live writer only --output is written.
    """
    from pmll_async.cli import seals

    signer = None if sign_key_file is None else arguments.seed_in(sign_key_file)
    key, secret = arguments.key_in(key_file), secret_of(path, passphrase_file, secret_key_file)
    seals.seal(path, key, output, signer, trust, secret, as_json=as_json)


@app.command(
    epilog=_example(
        "pmll prove memory 6c976a2684fc5c1f -o proof.json",
        "pmll prove memory --since older-seal.json",
    )
)
def prove(
    path: LatticePath,
    anchor: Annotated[
        str | None, typer.Argument(metavar="ANCHOR", help="The line that was there.")
    ] = None,
    since: Annotated[
        Path | None,
        typer.Option(metavar="SEAL", help="Prove that since this seal records were only added."),
    ] = None,
    seal: Annotated[
        Path | None,
        typer.Option("--seal", metavar="SEAL", help="For who has this seal, not the newest."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write here and not to stdout."),
    ] = None,
    key_file: KeyFile = None,
    passphrase_file: PassphraseFile = None,
    secret_key_file: SecretKeyFile = None,
) -> None:
    """Write a proof for somebody who has a seal and not the lattice.

    Of one line that it was committed before the seal, or of two seals that nothing between them was
    changed.
    """
    from pmll_async.cli import seals

    if (anchor is None) == (since is None):
        raise typer.BadParameter("give the anchor of a line, or --since an older seal")
    key, secret = arguments.key_in(key_file), secret_of(path, passphrase_file, secret_key_file)
    seals.prove(path, key, anchor or since, seal, output, secret)


@app.command(
    epilog=_example("pmll export memory -o memory.jsonl", "pmll export memory | gzip > memory.gz")
)
def export(
    path: LatticePath,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write here and not to stdout."),
    ] = None,
    as_json: AsJson = False,
    key_file: KeyFile = None,
    passphrase_file: PassphraseFile = None,
    secret_key_file: SecretKeyFile = None,
) -> None:
    """Write every record of a lattice as JSON lines.

    A header comes first. Reads only, also beside a writer. With --output the file takes its name
    when it is complete, and --json reports what was done.
    """
    from pmll_async.cli import moving

    hasher = Hasher(arguments.key_in(key_file))
    secret = secret_of(path, passphrase_file, secret_key_file)
    moving.export(path, hasher, output, secret, as_json=as_json)


@app.command(
    "import",
    epilog=_example("pmll import memory.jsonl copy", "pmll export memory | pmll import - copy"),
)
def import_(
    source: Annotated[
        str, typer.Argument(metavar="FILE", help="An export, or - for stdin.", show_default=False)
    ],
    path: LatticePath,
    as_json: AsJson = False,
    key_file: KeyFile = None,
    passphrase_file: PassphraseFile = None,
    secret_key_file: SecretKeyFile = None,
) -> None:
    """Read an export into a lattice; its anchors stay the same.

    Every anchor and the digest are checked.

    The lattice is a new one, or holds the beginning of the same export: then what is missing is
    added, so that an interrupted import goes on and a copy can be brought up to date.
    """
    from pmll_async.cli import moving

    hasher = Hasher(arguments.key_in(key_file))
    secret = secret_of(path, passphrase_file, secret_key_file)
    moving.import_(source, path, hasher, secret, as_json=as_json)


@app.command(
    epilog=_example(
        "pmll reembed memory memory-minilm --embedder minilm --map anchors.jsonl",
        "pmll reembed memory memory-mine --embedder my_agent:embedder",
    )
)
def reembed(
    path: LatticePath,
    target: Annotated[
        Path, typer.Argument(metavar="NEW", help="An empty or new folder.", show_default=False)
    ],
    embedder: AnyEmbedderOption,
    anchors: Annotated[
        Path | None,
        typer.Option("--map", metavar="FILE", help="Write the new anchor of each old one here."),
    ] = None,
    as_json: AsJson = False,
    key_file: KeyFile = None,
    passphrase_file: PassphraseFile = None,
    secret_key_file: SecretKeyFile = None,
) -> None:
    """Copy a text memory with the vectors of another embedder.

    Texts, contexts, times and history stay; keys change, and with them every anchor. The map has
    one JSON object a line. Anchors that contexts of yours mention are not changed.
    """
    from pmll_async.cli import reembed as command

    key = arguments.key_in(key_file)
    made = any_embedder(embedder)
    secret = secret_of(path, passphrase_file, secret_key_file)
    command.reembed(path, target, made, key, anchors, secret, as_json=as_json)


app.command(epilog=_example("pmll convert memory memory.lmdb", "pmll convert memory.lmdb memory"))(
    converting.convert
)
app.command(
    epilog=_example(
        'pmll sql memory "select hour, topic, lines from topics_by_hour"',
        'pmll sql memory "select * from lines" --vectors -o lines.parquet',
    )
)(sql.sql)
app.command(
    epilog=_example(
        "pmll encrypt memory memory-encrypted",
        "pmll encrypt memory hidden --new-secret-key-file secret.key",
    )
)(encryption.encrypt)
app.command(
    epilog=_example(
        "pmll rekey memory --secret-key-file secret.key",
        "pmll rekey memory --passphrase",
    )
)(encryption.rekey)
app.add_typer(evaluate.app, name="eval")
