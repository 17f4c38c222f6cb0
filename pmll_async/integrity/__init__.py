"""Integrity: statements about a log that hold outside its folder, and who wrote its lines.

Seals and who signs them, the Merkle tree and its proofs, what is remembered of seals elsewhere;
sources, acts, and what of a log they let be shown; and encryption of the records of any store. A
leaf room: it may import values, records and protocols, and knows neither engine nor stores.
"""

from typing import TYPE_CHECKING

from pmll_async.lazy import lazily

if TYPE_CHECKING:
    from pmll_async.integrity.checking import SealStanding as SealStanding
    from pmll_async.integrity.checking import Verification as Verification
    from pmll_async.integrity.encrypted import EncryptedStore as EncryptedStore
    from pmll_async.integrity.fencing import fence as fence
    from pmll_async.integrity.keys import Ed25519Key as Ed25519Key
    from pmll_async.integrity.keys import Ed25519PublicKey as Ed25519PublicKey
    from pmll_async.integrity.keys import MacKey as MacKey
    from pmll_async.integrity.keys import SealChecker as SealChecker
    from pmll_async.integrity.keys import SealSigner as SealSigner
    from pmll_async.integrity.proofs import ConsistencyProof as ConsistencyProof
    from pmll_async.integrity.proofs import InclusionProof as InclusionProof
    from pmll_async.integrity.rekeying import rekey as rekey
    from pmll_async.integrity.sealing import Sealing as Sealing
    from pmll_async.integrity.seals import Seal as Seal
    from pmll_async.integrity.seals import read_seal as read_seal
    from pmll_async.integrity.secrets import Passphrase as Passphrase
    from pmll_async.integrity.secrets import RawKey as RawKey
    from pmll_async.integrity.source import Origin as Origin
    from pmll_async.integrity.source import Source as Source
    from pmll_async.integrity.source import source_of as source_of
    from pmll_async.integrity.source import trust_of as trust_of
    from pmll_async.integrity.trust import Trust as Trust
    from pmll_async.integrity.trust import read_trust as read_trust
else:
    __getattr__ = lazily(
        __name__,
        {
            "ConsistencyProof": "pmll_async.integrity.proofs",
            "Ed25519Key": "pmll_async.integrity.keys",
            "Ed25519PublicKey": "pmll_async.integrity.keys",
            "EncryptedStore": "pmll_async.integrity.encrypted",
            "InclusionProof": "pmll_async.integrity.proofs",
            "MacKey": "pmll_async.integrity.keys",
            "Origin": "pmll_async.integrity.source",
            "Passphrase": "pmll_async.integrity.secrets",
            "RawKey": "pmll_async.integrity.secrets",
            "Seal": "pmll_async.integrity.seals",
            "SealChecker": "pmll_async.integrity.keys",
            "SealSigner": "pmll_async.integrity.keys",
            "SealStanding": "pmll_async.integrity.checking",
            "Sealing": "pmll_async.integrity.sealing",
            "Source": "pmll_async.integrity.source",
            "Trust": "pmll_async.integrity.trust",
            "Verification": "pmll_async.integrity.checking",
            "fence": "pmll_async.integrity.fencing",
            "read_seal": "pmll_async.integrity.seals",
            "read_trust": "pmll_async.integrity.trust",
            "rekey": "pmll_async.integrity.rekeying",
            "source_of": "pmll_async.integrity.source",
            "trust_of": "pmll_async.integrity.source",
        },
    )

__all__ = [
    "ConsistencyProof",
    "Ed25519Key",
    "Ed25519PublicKey",
    "EncryptedStore",
    "InclusionProof",
    "MacKey",
    "Origin",
    "Passphrase",
    "RawKey",
    "Seal",
    "SealChecker",
    "SealSigner",
    "SealStanding",
    "Sealing",
    "Source",
    "Trust",
    "Verification",
    "fence",
    "read_seal",
    "read_trust",
    "rekey",
    "source_of",
    "trust_of",
]
