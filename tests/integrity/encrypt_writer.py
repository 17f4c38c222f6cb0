"""Writers of an encrypted store that are killed: run as `encrypt_writer.py FOLDER FIRST`.

Tells a line for each append that was acknowledged; forks once, and tells what the child could do.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from encrypt_support import RAW, append

from pmll_async import StoreError
from pmll_async.integrity import EncryptedStore
from pmll_async.stores.jsonl import JsonlStore
from pmll_async.testing.chains import ChainBuilder


def main() -> None:
    path = Path(sys.argv[1])
    chain = ChainBuilder(dim=64, seed=1)
    store = EncryptedStore(JsonlStore(path, segment_bytes=30_000, cache_records=8), RAW)
    store.open(chain.header, chain.hasher)
    for _ in store.load():
        pass
    count = store.recovery.records
    # The same content as the writer before, so that the same records are written again.
    _grow(chain, count + 1)
    print(count, flush=True)
    _fork(store, chain, count)
    while True:
        size = 1 + count % 3
        _grow(chain, count + size)
        append(store, chain, count, count + size)
        count += size
        print(count, flush=True)


def _grow(chain: ChainBuilder, records: int) -> None:
    while len(chain.records) < records:
        chain.put({"n": len(chain.records)})


def _fork(store: EncryptedStore, chain: ChainBuilder, count: int) -> None:
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
        return
    told = "the child wrote"
    try:
        append(store, chain, count, count + 1)
    except StoreError:
        told = "the child was refused"
    try:
        session = store._session
        assert session is not None
        session.reading.envelopes.seal_record(0, bytes(16), b"", 0)
        told += ", and encrypted"
    except StoreError:
        told += " twice"
    print(told, flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
