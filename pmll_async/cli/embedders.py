"""The embedders that a command line can name."""

from __future__ import annotations

import os
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from pmll_async.cli.naming import Form, called, takes_arguments

if TYPE_CHECKING:
    from pmll_async.protocols import AsyncEmbedder, Embedder

_EMBEDS: Final = {"embed", "aembed"}
_FORM: Final = Form(
    "--embedder",
    "my_agent:embedder",
    """\
wanted is hashing, wordllama or minilm; openai:MODEL:DIM, with OPENAI_API_KEY and, for another
server, OPENAI_BASE_URL set; sentence-transformers:MODEL or …:MODEL@REVISION; or MODULE:EMBEDDER,
an object with `id`, `dim` and `embed` (or `async aembed`), or a function that gives one.""",
)


class EmbedderName(StrEnum):
    """The embedders that need no network."""

    hashing = "hashing"
    minilm = "minilm"
    wordllama = "wordllama"


EmbedderOption = Annotated[
    EmbedderName,
    typer.Option("--embedder", help="What makes the vectors; all but hashing are extras."),
]
AnyEmbedderOption = Annotated[
    str,
    typer.Option(
        "--embedder",
        metavar="EMBEDDER",
        show_default=False,
        help="What makes the vectors: hashing, wordllama, minilm, openai:MODEL:DIM, "
        "sentence-transformers:MODEL, or one of your own as MODULE:EMBEDDER.",
    ),
]


def any_embedder(name: str) -> Embedder | AsyncEmbedder:
    """The embedder, also one of the user's own; `typer.BadParameter` says what is wanted."""
    if name in list(EmbedderName):
        return embedder_named(EmbedderName(name))
    kind, _, rest = name.partition(":")
    try:
        match kind:
            case "openai":
                return _openai(rest)
            case "sentence-transformers":
                return _sentence_transformer(rest)
    except ImportError as exc:
        raise _FORM.wrong(str(exc)) from None
    return _own(name)


def embedder_named(name: EmbedderName) -> Embedder:
    """The embedder; `typer.BadParameter` says what to install for it."""
    # Imported by name: one that is not asked for need not be installed.
    try:
        match name:
            case EmbedderName.minilm:
                from pmll_async.text.embedders.minilm import MiniLMEmbedder

                return MiniLMEmbedder()
            case EmbedderName.wordllama:
                from pmll_async.text.embedders.wordllama import WordLlamaEmbedder

                return WordLlamaEmbedder()
            case EmbedderName.hashing:
                from pmll_async.text import HashingEmbedder

                return HashingEmbedder()
    except ImportError as exc:
        raise typer.BadParameter(str(exc), param_hint="--embedder") from None


def _openai(rest: str) -> AsyncEmbedder:
    from pmll_async.text.embedders.openai import OpenAIEmbedder

    # A model's name may have colons, as ollama's have.
    model, _, dim = rest.rpartition(":")
    if not (model and dim.isdecimal()):
        raise _FORM.wrong("openai wants the model and how many dimensions its vectors have")
    key = os.environ.get("OPENAI_API_KEY")
    if not key:
        raise _FORM.wrong("the variable OPENAI_API_KEY is not set")
    url = os.environ.get("OPENAI_BASE_URL")
    return OpenAIEmbedder(model, dim=int(dim), api_key=key, base_url=url)


def _sentence_transformer(rest: str) -> Embedder:
    from pmll_async.text.embedders.sentence_transformers import SentenceTransformerEmbedder
    from pmll_async.values.extras import require

    model, _, revision = rest.partition("@")
    if not model:
        raise _FORM.wrong("sentence-transformers wants the name or the folder of a model")
    require("sentence-transformers", "sentence_transformers")
    from sentence_transformers import SentenceTransformer

    return SentenceTransformerEmbedder(
        SentenceTransformer(model, revision=revision or None), id=rest
    )


def _own(name: str) -> Embedder | AsyncEmbedder:
    found = _FORM.attribute(name)
    made: Any = found
    if callable(found) and not _is_embedder(found):
        if takes_arguments(found):
            raise _FORM.wrong(f"{called(found)} takes arguments, and there are none to give")
        made = found()
    if not _is_embedder(made):
        raise _FORM.wrong(f"{called(found)} is, or gives, {type(made).__name__}")
    embedder: Embedder | AsyncEmbedder = made
    return embedder


def _is_embedder(found: object) -> bool:
    # A class has the methods of its instances, and is none.
    return not isinstance(found, type) and (
        hasattr(found, "dim") and hasattr(found, "id") and bool(_EMBEDS & set(dir(found)))
    )
