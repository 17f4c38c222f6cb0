"""The embedders that a command line can name."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pmll_async.protocols import Embedder


class EmbedderName(StrEnum):
    """The embedders that need no network."""

    hashing = "hashing"
    minilm = "minilm"
    wordllama = "wordllama"


EmbedderOption = Annotated[
    EmbedderName,
    typer.Option("--embedder", help="What makes the vectors; all but hashing are extras."),
]


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
