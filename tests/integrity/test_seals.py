"""Seals of an open lattice: what they state, in which order, and what is refused."""

from __future__ import annotations

import asyncio
import json
from hashlib import blake2b, sha256
from itertools import pairwise
from pathlib import Path

import pytest
from integrity_support import DIM, KEY, SEED, SIGNERS, fill, lattice_at

from pmll_async import InvalidInputError, Lattice, LineNotFoundError, SealError
from pmll_async.integrity import (
    Ed25519Key,
    MacKey,
    Seal,
    Sealing,
    read_seal,
    read_trust,
)
from pmll_async.integrity.fnv import fnv1a
from pmll_async.integrity.merkle import root_of
from pmll_async.records.record import leaf
from pmll_async.stores.jsonl import JsonlStore
from pmll_async.stores.memory import MemoryStore
from pmll_async.values.anchors import Hasher


def leaves_of(path: Path) -> list[bytes]:
    store = JsonlStore(path, read_only=True)
    store.open(None, Hasher())
    count = sum(len(block.times) for block in store.load())
    leaves = [leaf(store.read(n)) for n in range(count)]
    store.close()
    return leaves


async def test_a_seal_states_what_the_log_is(tmp_path: Path) -> None:
    async with lattice_at(tmp_path / "memory") as lattice:
        anchors = await fill(lattice, 5)
        await lattice.decay(anchors[0], 0.5)
        seal = await lattice.seal()
        assert (seal.number, seal.previous, seal.mode) == (1, "0" * 64, "plain")
        assert (seal.records, seal.head, seal.digest) == (6, anchors[-1], lattice.digest)
    leaves = leaves_of(tmp_path / "memory")
    joined = b"".join(leaves)
    assert seal.root == root_of(joined).hex()
    assert seal.fnv == f"{fnv1a(joined):016x}"
    log = (tmp_path / "memory/log-00000001.jsonl").read_bytes()
    assert seal.log_bytes == len(log)
    digest = bytes(32)
    for each in leaves:
        digest = blake2b(digest + each, digest_size=32).digest()
    assert digest.hex() == seal.digest
    assert read_seal(tmp_path / "memory/seal.json") == seal


@pytest.mark.parametrize("kind", ["jsonl", "lmdb"])
async def test_seals_follow_each_other_without_gaps(tmp_path: Path, kind: str) -> None:
    path, seals = tmp_path / ("memory.lmdb" if kind == "lmdb" else "memory"), list[Seal]()
    for session in range(3):
        async with lattice_at(path) as lattice:
            for turn in range(2):
                await fill(lattice, 3, 10 * session + 3 * turn)
                seals.append(await lattice.seal())
                assert await lattice.seal() == seals[-1], "nothing came after it"
    assert [seal.number for seal in seals] == [1, 2, 3, 4, 5, 6]
    for before, after in pairwise(seals):
        assert after.previous == sha256(before.to_bytes()).hexdigest()


async def test_two_places_get_the_same_seals(tmp_path: Path) -> None:
    async with lattice_at(tmp_path / "memory") as lattice:
        await fill(lattice, 2)
        first = await lattice.seal(tmp_path / "first.json")
        await fill(lattice, 2, 2)
        second = await lattice.seal(tmp_path / "second.json")
        assert second.previous == first.own_digest
        assert await lattice.seal(tmp_path / "first.json") == second
    assert read_seal(tmp_path / "first.json") == second
    assert (tmp_path / "first.json").stat().st_mode & 0o777 == 0o600


async def test_an_empty_lattice_can_be_sealed(tmp_path: Path) -> None:
    async with lattice_at(tmp_path / "memory") as lattice:
        empty = await lattice.seal()
        assert (empty.records, empty.root) == (0, sha256(b"").hexdigest())
        await fill(lattice, 1)
        assert (await lattice.prove_growth(empty, await lattice.seal())).holds
        assert (await lattice.verify(expect=empty)).holds


@pytest.mark.parametrize("name", SIGNERS)
async def test_a_proof_holds_for_its_key_alone(tmp_path: Path, name: str) -> None:
    signer = SIGNERS[name]()
    async with lattice_at(tmp_path / "memory") as lattice:
        await fill(lattice, 2)
        seal = await lattice.seal(signer=signer)
    assert seal.mode == name
    assert seal.proof_flaw(signer.checker if signer else None) == ""
    assert seal.proof_flaw(MacKey(b"somebody else's key")) != ""
    assert seal.proof_flaw(Ed25519Key(bytes(32)).checker) != ""
    if signer is not None:
        for field, value in [("head", "0" * 16), ("records", 1), ("time", 0.0), ("number", 7)]:
            changed = seal.model_copy(update={field: value})
            assert changed.proof_flaw(signer.checker) != "", field


async def test_a_keyed_lattice_seals_with_its_key(tmp_path: Path) -> None:
    async with lattice_at(tmp_path / "memory", integrity_key=KEY) as lattice:
        await fill(lattice, 2)
        seal = await lattice.seal()
        assert seal.mode == "mac"
        assert (await lattice.verify(expect=seal)).holds
        stripped = seal.model_copy(update={"mode": "plain", "key": "", "proof": ""})
        assert not (await lattice.verify(expect=stripped)).holds


async def test_less_than_the_last_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "memory"
    async with lattice_at(path) as lattice:
        await fill(lattice, 1)
        plain = await lattice.seal()
        signed = await lattice.seal(signer=Ed25519Key(SEED))
        assert (signed.number, signed.previous) == (2, plain.own_digest), "more is welcome"
        await fill(lattice, 1, 1)
        for other in (None, MacKey(KEY), Ed25519Key(bytes(32))):
            with pytest.raises(SealError, match="seal with that key"):
                await lattice.seal(signer=other)
        assert read_seal(path / "seal.json") == signed


async def test_a_changed_last_seal_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "memory"
    async with lattice_at(path) as lattice:
        await fill(lattice, 2)
        seal = await lattice.seal(signer=Ed25519Key(SEED))
        seal.model_copy(update={"number": 9}).write(path / "seal.json")
        await fill(lattice, 1, 2)
        with pytest.raises(SealError, match="proof does not hold"):
            await lattice.seal(signer=Ed25519Key(SEED))


async def test_a_seal_of_another_log_is_refused(tmp_path: Path) -> None:
    async with lattice_at(tmp_path / "one") as one, lattice_at(tmp_path / "two") as two:
        await fill(one, 2)
        await fill(two, 2)
        await one.seal(tmp_path / "seal.json")
        with pytest.raises(SealError, match="another store"):
            await two.seal(tmp_path / "seal.json")


async def test_a_log_that_was_cut_off_is_not_sealed(tmp_path: Path) -> None:
    path, trust = tmp_path / "memory", tmp_path / "trust.json"
    async with lattice_at(path) as lattice:
        await fill(lattice, 2)
    older = {file.name: file.read_bytes() for file in path.iterdir() if file.is_file()}
    async with lattice_at(path) as lattice:
        await fill(lattice, 2, 2)
        newest = await lattice.seal(trust=trust)
    (path / "cache/blocks.bin").unlink()
    (path / "seal.json").unlink()
    for name, data in older.items():
        (path / name).write_bytes(data)
    async with lattice_at(path) as lattice:
        assert len(lattice) == 2
        with pytest.raises(SealError, match="it was cut off, replaced or changed"):
            await lattice.seal(trust=trust)
        # As long, and of other records.
        await fill(lattice, 2, 50)
        with pytest.raises(SealError, match="its fnv is not that of the log"):
            await lattice.seal(trust=trust)
        assert read_trust(trust).seal == newest
        assert not (path / "seal.json").exists(), "nothing is written then"


async def test_trust_goes_on_where_the_seals_were_taken_away(tmp_path: Path) -> None:
    path, trust = tmp_path / "memory", tmp_path / "trust.json"
    async with lattice_at(path) as lattice:
        await fill(lattice, 2)
        first = await lattice.seal(trust=trust)
        (path / "seal.json").unlink()
        await fill(lattice, 2, 2)
        second = await lattice.seal(trust=trust)
    assert (second.number, second.previous) == (2, first.own_digest)


async def test_trust_in_a_keyed_lattice_refuses_one_without_a_key(tmp_path: Path) -> None:
    trust = tmp_path / "trust.json"
    async with lattice_at(tmp_path / "keyed", integrity_key=KEY) as lattice:
        await lattice.seal(trust=trust)
    async with lattice_at(tmp_path / "plain") as lattice:
        with pytest.raises(SealError, match="this has no key"):
            await lattice.seal(trust=trust)


async def test_a_store_without_a_place_needs_a_path(tmp_path: Path) -> None:
    async with Lattice(MemoryStore(), dim=DIM) as lattice:
        anchors = await fill(lattice, 3)
        with pytest.raises(SealError, match=r"pass seal"):
            await lattice.seal()
        seal = await lattice.seal(tmp_path / "seal.json")
        assert seal.log_bytes is None
        assert (await lattice.prove(anchors[1], seal)).holds
        assert (await lattice.verify(expect=seal)).holds


async def test_a_reader_seals_only_elsewhere(tmp_path: Path) -> None:
    async with lattice_at(tmp_path / "memory") as lattice:
        await fill(lattice, 3)
        async with Lattice.open(tmp_path / "memory", read_only=True) as reader:
            with pytest.raises(SealError, match=r"pass seal"):
                await reader.seal()
            seal = await reader.seal(tmp_path / "seal.json")
            assert seal.digest == lattice.digest
    assert not (tmp_path / "memory/seal.json").exists()


async def test_closing_seals(tmp_path: Path) -> None:
    how = Sealing(tmp_path / "seal.json", signer=Ed25519Key(SEED), trust=tmp_path / "trust.json")
    async with lattice_at(tmp_path / "memory", seal_on_close=how) as lattice:
        puts = [lattice.put([1.0, 0, 0, n], None, {"n": n}) for n in range(20)]
        await asyncio.gather(*puts)
    seal = read_seal(tmp_path / "seal.json")
    assert (seal.records, seal.mode) == (20, "ed25519")
    assert read_trust(tmp_path / "trust.json").seal == seal


async def test_a_seal_that_fails_at_the_end_loses_nothing_and_is_told(tmp_path: Path) -> None:
    nowhere = tmp_path / "no such folder" / "seal.json"
    lattice = await lattice_at(tmp_path / "memory", seal_on_close=nowhere)
    await fill(lattice, 4)
    with pytest.raises(SealError, match="no such folder"):
        await lattice.aclose()
    async with lattice_at(tmp_path / "memory") as again:
        assert len(again) == 4


async def test_a_witness_is_told_of_new_seals(tmp_path: Path) -> None:
    told: list[Seal] = []
    async with lattice_at(tmp_path / "memory") as lattice:
        await fill(lattice, 1)
        seal = await lattice.seal(witness=told.append)
        await lattice.seal(witness=told.append)
        assert told == [seal]

        def refuse(_: Seal) -> None:
            raise ConnectionError("the witness is away")

        await fill(lattice, 1, 1)
        with pytest.raises(ConnectionError):
            await lattice.seal(witness=refuse)
        assert read_seal(tmp_path / "memory/seal.json").number == 2, "the seal stays"


async def test_many_seals_at_once_are_one_sequence(tmp_path: Path) -> None:
    told: list[Seal] = []
    async with lattice_at(tmp_path / "memory") as lattice:

        async def write_and_seal(n: int) -> None:
            await fill(lattice, 1, n)
            await lattice.seal(witness=told.append)

        await asyncio.gather(*map(write_and_seal, range(30)))
        last = await lattice.seal()
    assert sorted(seal.number for seal in told) == list(range(1, last.number + 1))
    assert last.records == 30


async def test_a_cut_caller_leaves_a_whole_seal(tmp_path: Path) -> None:
    path = tmp_path / "memory"
    async with lattice_at(path) as lattice:
        for n in range(12):
            await fill(lattice, 1, n)
            cut = asyncio.ensure_future(lattice.seal())
            for _ in range(n):
                await asyncio.sleep(0)
            cut.cancel()
            await asyncio.wait([cut])
        seal = await lattice.seal()
        assert seal == read_seal(path / "seal.json")
        assert (await lattice.verify(expect=seal)).holds


async def test_leaves_are_kept_and_a_wrong_file_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "memory"
    async with lattice_at(path) as lattice:
        await fill(lattice, 10)
        seal = await lattice.seal()
    leaves = (path / "leaves.bin").read_bytes()
    assert leaves == b"".join(leaves_of(path))
    damages = [b"", leaves[:-1], leaves[:64], bytes(len(leaves)), leaves[32:] + leaves[:32]]
    for damage in [*damages, leaves + b"more"]:
        (path / "leaves.bin").write_bytes(damage)
        async with lattice_at(path) as lattice:
            assert await lattice.seal() == seal
            await fill(lattice, 1)
            assert (await lattice.verify(expect=await lattice.seal())).holds
            await lattice.rollback(10)
        seal = read_seal(path / "seal.json")
        async with lattice_at(path) as lattice:
            seal = await lattice.seal()
        assert (path / "leaves.bin").read_bytes() == b"".join(leaves_of(path))


async def test_seals_and_proofs_at_once_after_opening(tmp_path: Path) -> None:
    async with lattice_at(tmp_path / "memory") as lattice:
        anchors = await fill(lattice, 40)
        seal = await lattice.seal()
    async with lattice_at(tmp_path / "memory") as lattice:
        await fill(lattice, 3, 40)
        proofs = [lattice.prove(anchor, seal) for anchor in anchors]
        later, *proven = await asyncio.gather(lattice.seal(), *proofs)
        assert all(proof.holds for proof in proven)
        assert (await lattice.prove_growth(seal, later)).holds
        await fill(lattice, 1, 43)
        assert (await lattice.verify(expect=await lattice.seal())).holds


# --- proofs ------------------------------------------------------------------------------------


async def test_proofs_of_lines_and_of_growth(tmp_path: Path) -> None:
    async with lattice_at(tmp_path / "memory") as lattice:
        anchors = await fill(lattice, 9)
        older = await lattice.seal()
        later = await fill(lattice, 4, 9)
        newer = await lattice.seal()
        for anchor in anchors:
            proof = await lattice.prove(anchor, older)
            assert proof.holds
            assert json.loads(proof.record)["anchor"] == anchor
            assert type(proof).from_bytes(proof.to_bytes(), "a proof") == proof
        with pytest.raises(InvalidInputError, match="not sealed yet"):
            await lattice.prove(later[0], older)
        with pytest.raises(LineNotFoundError):
            await lattice.prove("0123456789abcdef", older)
        growth = await lattice.prove_growth(older, newer)
        assert growth.holds
        with pytest.raises(InvalidInputError, match="the other way round"):
            await lattice.prove_growth(newer, older)
    other = proof.model_copy(update={"record": proof.record.replace(anchors[-1], anchors[0])})
    assert not other.holds
    forged = newer.model_copy(update={"root": older.root})
    assert not growth.model_copy(update={"newer": forged}).holds


async def test_no_proof_for_a_seal_of_another_log(tmp_path: Path) -> None:
    async with lattice_at(tmp_path / "memory") as lattice:
        anchors = await fill(lattice, 3)
        seal = await lattice.seal()
        for changed in ({"root": "0" * 64}, {"store": "another"}, {"records": 4}):
            with pytest.raises(SealError):
                await lattice.prove(anchors[0], seal.model_copy(update=changed))
