"""A writer that others follow: run as `live_writer.py FOLDER RECORDS SEED [kill]`.

Writes the number of acknowledged records to standard output, 8 bytes each. With `kill` it leaves
without closing.
"""

from __future__ import annotations

import os
import struct
import sys
import time
from pathlib import Path

from kill_writer import make_store, resume
from make_records import Chain


def main() -> None:
    path, records, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    chain = Chain(dim=8, seed=seed)
    store = make_store(path)
    first = resume(store, chain)
    while len(chain.records) < first + records:
        chain.append(store, lambda: chain.group(1 + len(chain.records) % 3))
        os.write(1, struct.pack("<q", len(chain.records)))
        time.sleep(0.0005)
    if sys.argv[4:] == ["kill"]:
        os._exit(0)
    store.close()


if __name__ == "__main__":
    main()
