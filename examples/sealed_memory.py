"""Seal a memory, and find what somebody who can write its files has changed.

Run it with ``python examples/sealed_memory.py``. It needs ``pip install 'pmll-async[secure]'``.
"""

import asyncio
import secrets
import shutil
import tempfile
from pathlib import Path

from pmll_async import Lattice
from pmll_async.integrity import Ed25519Key, read_trust


async def main(folder: Path) -> None:
    """Write, seal, let somebody tamper, and verify."""
    store, trust = folder / "memory", folder / "elsewhere.json"
    # Whoever seals has the key; whoever verifies needs its public half alone.
    signer = Ed25519Key(secrets.token_bytes(32))

    async with Lattice.open(store, dim=2) as lattice:
        await lattice.put([1.0, 0.0], context={"text": "Ada may open the safe"})
        seal = await lattice.seal(signer=signer, trust=trust)
        print(f"Seal {seal.number} of {seal.records} record, {seal.mode}")
    shutil.copytree(store, folder / "older")

    async with Lattice.open(store) as lattice:
        denied = await lattice.put([0.0, 1.0], context={"text": "Ada may not any more"})
        seal = await lattice.seal(signer=signer, trust=trust)
        proof = await lattice.prove(denied, seal)
        print(f"Seal {seal.number}: that Ada may not is proven to who has it: {proof.holds}")

    # Somebody brings back the state of before, together with the seal of that time.
    shutil.rmtree(store)
    (folder / "older").rename(store)

    async with Lattice.open(store) as lattice:
        found = await lattice.verify(trust=read_trust(trust), checker=signer.checker)
        print(f"Every byte is what was written: {found.report.status}")
        print(f"It is what was sealed: {found.holds}")
        for flaw in found.standing.flaws if found.standing else ():
            print(f"  {flaw}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(main(Path(directory)))
