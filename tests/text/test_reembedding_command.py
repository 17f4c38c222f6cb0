"""`pmll reembed` with embedders of the user's own, of OpenAI and of Sentence Transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import embedding_server as scripts
import numpy as np
import pytest
from embedding_server import serving
from embedding_support import DIM, expected

from pmll_async.text import TextMemory
from tests.cli_support import environment, pmll

OWN = """
import numpy as np

class Lengths:
    id, dim = "lengths", 3

    def embed(self, texts):
        return np.array([[len(text), 1, 1] for text in texts], dtype=np.float32)

class Waiting:
    id, dim, closed = "waiting", 2, False

    async def aembed(self, texts):
        return np.ones((len(texts), 2), dtype=np.float32)

    async def aclose(self):
        print("closed")

def wants(model):
    return Lengths()

lengths = Lengths()
"""
SENTENCES = """
import numpy as np

class SentenceTransformer:
    def __init__(self, name, revision=None):
        self.vector = [len(name), len(revision or ""), 1.0, 1.0]

    def encode(self, sentences, *, convert_to_numpy, show_progress_bar):
        return np.array([self.vector for _ in sentences], dtype=np.float32)
"""


class Pinned:
    """An embedder that is asked nothing."""

    def __init__(self, name: str, dim: int) -> None:
        self.id, self.dim = name, dim

    def embed(self, texts: Any) -> Any:
        raise AssertionError("asked for vectors")


@pytest.fixture
async def old(tmp_path: Path) -> Path:
    async with TextMemory.open(tmp_path / "old") as memory:
        await memory.remember("tea")
        await memory.remember("Ann lives in Oslo.", speaker="Ann")
    (tmp_path / "own_embedders.py").write_text(OWN)
    return tmp_path / "old"


async def keys(path: Path, name: str, dim: int) -> list[list[float]]:
    """The keys of a memory, newest first, which must be pinned to that embedder."""
    async with TextMemory.open(path, Pinned(name, dim), read_only=True) as memory:
        return [line.key.tolist() async for line in memory.lattice.rewind()]


@pytest.mark.parametrize("name", ["lengths", "Lengths"])
async def test_an_object_or_a_class_of_the_users(old: Path, name: str) -> None:
    new = old.with_name("new")
    done = pmll("reembed", old, new, "--embedder", f"own_embedders:{name}", cwd=old.parent)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"wrote 2 lines of {old} to {new} with lengths\n"
    assert await keys(new, "lengths", 3) == [[len("Ann: Ann lives in Oslo."), 1, 1], [3, 1, 1]]


async def test_one_that_waits_for_another_machine_is_closed_in_the_end(old: Path) -> None:
    new = old.with_name("new")
    done = pmll("reembed", old, new, "--embedder", "own_embedders:Waiting", cwd=old.parent)
    assert (done.returncode, done.stderr, done.stdout[:7]) == (0, "", "closed\n")
    assert await keys(new, "waiting", 2) == [[1, 1], [1, 1]]


async def test_a_server_that_speaks_the_protocol_of_openai(old: Path) -> None:
    pytest.importorskip("openai", reason="openai is missing: pip install 'pmll-async[openai]'")
    new = old.with_name("new")
    with serving(scripts.good) as server:
        env = environment(OPENAI_API_KEY="secret", OPENAI_BASE_URL=server.url)
        # Some models have a colon in their names.
        done = pmll("reembed", old, new, "--embedder", f"openai:bge:small:{DIM}", "--json", env=env)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["embedder"] == f"openai-bge:small-{DIM}"
    assert server.keys == ["Bearer secret"]
    assert server.requests[0]["model"] == "bge:small"
    made = await keys(new, f"openai-bge:small-{DIM}", DIM)
    assert np.array_equal(made, expected(["Ann: Ann lives in Oslo.", "tea"]))


@pytest.mark.parametrize(("name", "vector"), [("mini", [4, 0, 1, 1]), ("mini@abc", [4, 3, 1, 1])])
async def test_a_sentence_transformer_of_a_revision(
    old: Path, name: str, vector: list[float]
) -> None:
    new, packages = old.with_name("new"), old.with_name("packages")
    packages.mkdir()
    (packages / "sentence_transformers.py").write_text(SENTENCES)
    env = environment([packages])
    done = pmll("reembed", old, new, "--embedder", f"sentence-transformers:{name}", env=env)
    assert (done.returncode, done.stderr) == (0, "")
    assert await keys(new, name, 4) == [vector, vector]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("own_embedders", "'own_embedders' is not of the form"),
        ("own_embedders:none", "there is no 'none' in the module 'own_embedders'"),
        ("nowhere:none", "there is no module 'nowhere'"),
        ("own_embedders:wants", "'wants' takes arguments"),
        ("own_embedders:OWN", "there is no 'OWN'"),
        ("own_embedders:np", "is, or gives, module"),
        ("openai:text-embedding-3-small", "how many dimensions"),
        ("openai:text-embedding-3-small:1536", "OPENAI_API_KEY is not set"),
        ("sentence-transformers:", "the name or the folder of a model"),
    ],
)
async def test_what_is_no_embedder_is_refused_before_anything_is_made(
    old: Path, name: str, reason: str
) -> None:
    new = old.with_name("new")
    env = {key: value for key, value in environment().items() if key != "OPENAI_API_KEY"}
    done = pmll("reembed", old, new, "--embedder", name, cwd=old.parent, env=env)
    assert done.returncode == 2
    said = " ".join(done.stderr.split())
    assert reason in said
    assert "wanted is hashing" in said
    assert not new.exists()
