"""Keep a memory whose files tell nobody anything, and give it another passphrase.

Run it with ``python examples/encrypted_memory.py``. It needs ``pip install 'pmll-async[secure]'``.
"""

import asyncio
import tempfile
from pathlib import Path

from pmll_async import WrongSecretError
from pmll_async.integrity import Passphrase, rekey
from pmll_async.stores.jsonl import JsonlStore
from pmll_async.text import TextMemory


async def main(folder: Path) -> None:
    """Remember, look at the files, change the passphrase, and recall."""
    path = folder / "memory"
    # Whoever loses it loses the memory: ask for it, and write it nowhere near the folder.
    old, new = Passphrase("plain to guess"), Passphrase("seven herons on a tin roof")

    async with TextMemory.open(path, secret=old) as memory:
        await memory.remember("The door code is 4711", speaker="Ann")
    files = b"".join(file.read_bytes() for file in path.rglob("*") if file.is_file())
    print(f"The files say so: {b'4711' in files or b'Ann' in files}")

    # Only the keys are wrapped anew, however long the memory is. It blocks, so it has a thread.
    await asyncio.to_thread(rekey, JsonlStore(path), old, new)
    try:
        await TextMemory.open(path, secret=old)
    except WrongSecretError:
        print("The old passphrase opens nothing any more")

    async with TextMemory.open(path, secret=new) as memory:
        found = await memory.recall("What is the door code?", k=1)
        print(f"Recalled: {found[0].text}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(main(Path(directory)))
