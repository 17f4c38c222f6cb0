"""Integrity: statements about a log that hold outside its folder.

Seals and who signs them, the Merkle tree and its proofs, and what is remembered of seals elsewhere.
A leaf room: it may import values, records and protocols, and knows neither engine nor stores.
"""

from typing import TYPE_CHECKING

from pmll_async.lazy import lazily

if TYPE_CHECKING:
    from pmll_async.integrity.checking import SealStanding as SealStanding
    from pmll_async.integrity.checking import Verification as Verification
    from pmll_async.integrity.keys import Ed25519Key as Ed25519Key
    from pmll_async.integrity.keys import Ed25519PublicKey as Ed25519PublicKey
    from pmll_async.integrity.keys import MacKey as MacKey
    from pmll_async.integrity.keys import SealChecker as SealChecker
    from pmll_async.integrity.keys import SealSigner as SealSigner
    from pmll_async.integrity.proofs import ConsistencyProof as ConsistencyProof
    from pmll_async.integrity.proofs import InclusionProof as InclusionProof
    from pmll_async.integrity.sealing import Sealing as Sealing
    from pmll_async.integrity.seals import Seal as Seal
    from pmll_async.integrity.seals import read_seal as read_seal
    from pmll_async.integrity.trust import Trust as Trust
    from pmll_async.integrity.trust import read_trust as read_trust
else:
    __getattr__ = lazily(
        __name__,
        {
            "ConsistencyProof": "pmll_async.integrity.proofs",
            "Ed25519Key": "pmll_async.integrity.keys",
            "Ed25519PublicKey": "pmll_async.integrity.keys",
            "InclusionProof": "pmll_async.integrity.proofs",
            "MacKey": "pmll_async.integrity.keys",
            "Seal": "pmll_async.integrity.seals",
            "SealChecker": "pmll_async.integrity.keys",
            "SealSigner": "pmll_async.integrity.keys",
            "SealStanding": "pmll_async.integrity.checking",
            "Sealing": "pmll_async.integrity.sealing",
            "Trust": "pmll_async.integrity.trust",
            "Verification": "pmll_async.integrity.checking",
            "read_seal": "pmll_async.integrity.seals",
            "read_trust": "pmll_async.integrity.trust",
        },
    )

__all__ = [
    "ConsistencyProof",
    "Ed25519Key",
    "Ed25519PublicKey",
    "InclusionProof",
    "MacKey",
    "Seal",
    "SealChecker",
    "SealSigner",
    "SealStanding",
    "Sealing",
    "Trust",
    "Verification",
    "read_seal",
    "read_trust",
]
