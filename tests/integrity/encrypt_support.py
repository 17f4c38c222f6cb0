"""What the tests of encryption share."""

from __future__ import annotations

from typing import Final

from pmll_async.integrity import RawKey

RAW: Final = RawKey(bytes(range(100, 132)))
OTHER: Final = RawKey(bytes(range(32)))
SUITE_NAMES: Final = ("aes-256-gcm", "xchacha20-poly1305")
