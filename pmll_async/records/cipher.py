"""The record of an encrypted store: another record, of which nothing shows but its length.

A store that wraps another one writes these into it. They have no lines and do nothing to older
ones: what they hold has, once it is decrypted.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, NoReturn

from pmll_async.records.content import WriteVector, base64_text, parse_frame
from pmll_async.records.record import PENDING, Record
from pmll_async.values.anchors import Hasher

_LINE: Final = re.compile(
    rb'\{"n":[0-9]+,"d":[0-9]+,(?:"g":(?P<following>[0-9]+),)?"op":"cipher","t":0,'
    rb'"epoch":(?P<epoch>[0-9]+),"salt":"(?P<salt>[A-Za-z0-9+/=]+)","nonce":(?P<nonce>[0-9]+),'
    rb'"sealed":"(?P<sealed>[A-Za-z0-9+/=]+)"'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CipherRecord(Record):
    """`sealed` under the key that `salt` and the master key of `epoch` give, the `nonce`-th of it.

    Its time is that of nobody: when something was committed is hidden as well.
    """

    op: ClassVar[str] = "cipher"
    t: float = PENDING
    epoch: int
    salt: bytes
    nonce: int
    sealed: bytes
    _made: tuple[str, str] | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def has_erased(self) -> bool:
        """What lies in it, the chain of those within tells."""
        return self.was is not None

    def event(self, revision: int) -> NoReturn:  # noqa: ARG002  # there is none
        """None: listeners are told of the record within."""
        raise TypeError("an encrypted record has no event before it is decrypted")

    @classmethod
    def decode(cls, fields: Mapping[str, Any], hasher: Hasher) -> CipherRecord:  # noqa: ARG003  # no lines
        """Two numbers and two texts in base64."""
        frame = parse_frame(fields)
        if frame["t"] != PENDING:
            raise ValueError("an encrypted record tells no time")
        return cls(
            **frame,
            epoch=int(fields["epoch"]),
            salt=binascii.a2b_base64(fields["salt"], strict_mode=True),
            nonce=int(fields["nonce"]),
            sealed=binascii.a2b_base64(fields["sealed"], strict_mode=True),
        )

    def log_text(self, write_vector: WriteVector) -> str:  # noqa: ARG002  # it has no vectors
        """Without a dict of fields, as puts are written."""
        salt, sealed = self._texts()
        return (
            f'"op":"cipher","t":0,"epoch":{self.epoch},"salt":"{salt}","nonce":{self.nonce},'
            f'"sealed":"{sealed}"'
        )

    def leaf_text(self) -> str:
        """What sorting its fields would give."""
        salt, sealed = self._texts()
        return (
            f'{{"epoch":{self.epoch},"nonce":{self.nonce},"op":"cipher","salt":"{salt}",'
            f'"sealed":"{sealed}","t":0}}'
        )

    def _texts(self) -> tuple[str, str]:
        """Salt and sealed bytes in base64; made once, for log and leaf have both."""
        if self._made is not None:
            return self._made
        made = base64_text(self.salt), base64_text(self.sealed)
        object.__setattr__(self, "_made", made)
        return made


def decode_cipher(line: bytes) -> CipherRecord | None:
    """The record of a log line that begins as one does; reading is half the work so."""
    found = _LINE.match(line)
    # Of one that was erased the rest says what it was.
    if found is None or not line.startswith(b',"c":"', found.end()):
        return None
    return CipherRecord(
        following=int(found["following"] or 0),
        epoch=int(found["epoch"]),
        salt=binascii.a2b_base64(found["salt"], strict_mode=True),
        nonce=int(found["nonce"]),
        sealed=binascii.a2b_base64(found["sealed"], strict_mode=True),
    )
