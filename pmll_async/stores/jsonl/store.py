"""The JSONL store: a log of records in a folder of plain files (design, section 7)."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Final

from pmll_async.anchors import ROOT_DIGEST, Hasher
from pmll_async.columns import Block
from pmll_async.errors import (
    CorruptionError,
    DimensionMismatchError,
    ReadOnlyStoreError,
    StoreError,
    WrongKeyError,
)
from pmll_async.protocols import Recovery, StoreHeader
from pmll_async.records import Record
from pmll_async.stores.jsonl.cache import Cache
from pmll_async.stores.jsonl.files import Files
from pmll_async.stores.jsonl.folder import (
    LOCK,
    STORE,
    Manifest,
    SegmentEntry,
    make_folder,
    read_manifest,
    read_store,
    translated,
    write_manifest,
    write_store,
    write_synced,
)
from pmll_async.stores.jsonl.loading import Loader, Plan
from pmll_async.stores.jsonl.lock import WriterLock
from pmll_async.stores.jsonl.log import Log
from pmll_async.stores.jsonl.recovery import finish_cuts, move_torn, move_unproven, plain_table
from pmll_async.stores.jsonl.segments import locate, segment_files, segment_name
from pmll_async.stores.jsonl.writer import Sync, Writer

SEGMENT_BYTES: Final = 64 * 1024 * 1024
CACHE_RECORDS: Final = 1024
_ATTEMPTS: Final = 5
_PAUSE: Final = 0.02
