"""Keys that never leave a cloud's key service: AWS KMS and Google Cloud KMS, by their own libraries.

The service signs a hash and returns r and s in DER (X9.62). A chain wants s in its lower half (EIP-2), and the parity
of the point, which the service does not return and which is found by trying. The libraries are the extras `kms-aws` and
`kms-gcp`, and are loaded here only when asked for. They find their own credentials; none are ever read or shown here.
"""

from __future__ import annotations

import asyncio
import base64
import importlib
from collections.abc import Callable
from typing import Any, Protocol, TypeVarTuple

from eth_account.typed_transactions.typed_transaction import TypedTransaction
from eth_keys.datatypes import PublicKey, Signature
from eth_keys.exceptions import BadSignature
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from eth_utils.exceptions import ValidationError

from contracts.signers.keystore import Signed, SignerError, Transaction
from contracts.signers.secp256k1 import ORDER

Args = TypeVarTuple("Args")

# SubjectPublicKeyInfo of an uncompressed secp256k1 point (RFC 5480): all but the 64 bytes of the point.
SPKI = bytes.fromhex("3056301006072a8648ce3d020106052b8104000a03420004")


class KeyService(Protocol):
    """The calls of a key service. Both block; whatever they raise is reported without its details."""

    def public_key(self) -> bytes:
        """Return the public key as DER SubjectPublicKeyInfo."""

    def sign_digest(self, digest: bytes) -> bytes:
        """Return a signature of 32 bytes, as DER (a sequence of r and s)."""


class KmsSigner:
    """A signer whose key is in a key service. Every signature is checked against the public key before it is used."""

    def __init__(self, service: KeyService, public: PublicKey, name: str) -> None:
        self._service = service
        self._public = public
        self._name = name

    @property
    def address(self) -> str:
        """The account's checksummed address (EIP-55)."""
        return str(to_checksum_address(self._public.to_canonical_address()))

    async def sign(self, transaction: Transaction) -> Signed:
        """Sign an EIP-1559 transaction by its hash. Raises SignerError."""
        fields = {**transaction, "type": 2, "accessList": [], "data": "0x" + bytes(transaction["data"]).hex()}
        digest = bytes(TypedTransaction.from_dict(fields).hash())
        der = await _in_thread(self._service.sign_digest, self._name, digest)
        signature = recoverable(der, digest, self._public)
        signed = {**fields, "v": signature.v, "r": signature.r, "s": signature.s}
        raw = bytes(TypedTransaction.from_dict(signed).encode())
        return Signed(raw, "0x" + keccak(raw).hex())

    def __repr__(self) -> str:
        return f"KmsSigner({self.address})"

    def __reduce__(self) -> str:
        raise TypeError("A signer cannot be copied out of its process.")


def recoverable(der: bytes, digest: bytes, public: PublicKey) -> Signature:
    """Return the chain's form of a DER signature: low s, and the parity with which it recovers our key.

    Raises SignerError where it is malformed, or of another key or hash.
    """
    r, s = _integers(der)
    s = min(s, ORDER - s)
    for parity in (0, 1):
        try:
            signature = Signature(vrs=(parity, r, s))
            if signature.recover_public_key_from_msg_hash(digest) == public:
                return signature
        except (BadSignature, ValidationError, ValueError):
            continue
    raise SignerError("The key service's signature is not of its own public key; nothing was sent.")


def _integers(der: bytes) -> tuple[int, int]:
    """Return the numbers of SEQUENCE { INTEGER, INTEGER }, and nothing else. Raises SignerError."""
    integers, rest = [], der[2:]
    if len(der) < 8 or der[0] != 0x30 or der[1] != len(rest):
        raise SignerError("The key service's signature cannot be read.")
    while rest:
        size = rest[1] if len(rest) > 2 else 0
        if rest[0] != 0x02 or not 1 <= size <= 33 or len(rest) < 2 + size:
            raise SignerError("The key service's signature cannot be read.")
        integers.append(int.from_bytes(rest[2 : 2 + size], "big"))
        rest = rest[2 + size :]
    if len(integers) != 2 or not all(0 < number < ORDER for number in integers):
        raise SignerError("The key service's signature cannot be read.")
    return integers[0], integers[1]


def public_key(der: bytes) -> PublicKey:
    """Return the point of a SubjectPublicKeyInfo. Raises SignerError for a key of another curve."""
    if len(der) != len(SPKI) + 64 or not der.startswith(SPKI):
        raise SignerError("The key service's key is of another kind; it must be ECC_SECG_P256K1 (secp256k1).")
    return PublicKey(der[len(SPKI) :])


async def _in_thread(function: Callable[[*Args], bytes], name: str, *args: *Args) -> bytes:
    try:
        return bytes(await asyncio.to_thread(function, *args))
    except SignerError:
        raise
    except Exception as error:  # the libraries' messages quote accounts, addresses and requests
        raise SignerError(
            f"The key service {name} did not do what it was asked ({type(error).__name__}); check its credentials, "
            "the key's name, and that we may get its public key and sign with it."
        ) from None


async def open_kms(name: str, **options: Any) -> KmsSigner:
    """Return the signer of `aws-kms:KEY_ID` or `gcp-kms:RESOURCE`; `options` go to the library's client.

    RESOURCE is a key version: projects/…/locations/…/keyRings/…/cryptoKeys/…/cryptoKeyVersions/1. Raises SignerError
    when the library is not installed, or the service does not give a usable key.
    """
    service_name, _, key = name.partition(":")
    kinds: dict[str, type[AwsKey] | type[GoogleKey]] = {"aws-kms": AwsKey, "gcp-kms": GoogleKey}
    service_class = kinds.get(service_name)
    if service_class is None or not key:
        raise SignerError("FLOCK_SIGNER must be keystore, aws-kms:KEY_ID or gcp-kms:RESOURCE.")
    try:
        service: KeyService = await asyncio.to_thread(service_class, key, **options)
    except ImportError:
        raise SignerError(
            f"FLOCK_SIGNER={service_name} needs an extra: pip install 'flock[{service_class.extra}]'."
        ) from None
    except Exception as error:  # as in `_in_thread`
        raise SignerError(f"The key service {service_name} cannot be used ({type(error).__name__}).") from None
    public = public_key(await _in_thread(service.public_key, service_name))
    return KmsSigner(service, public, service_name)


class AwsKey:
    """A key of AWS KMS: key spec ECC_SECG_P256K1, usage SIGN_VERIFY.

    https://docs.aws.amazon.com/kms/latest/APIReference/API_Sign.html
    """

    extra = "kms-aws"

    def __init__(self, key: str, **options: Any) -> None:
        boto3 = importlib.import_module("boto3")
        self._key = key
        self._client = boto3.client("kms", **options)

    def public_key(self) -> bytes:
        """Return the public key as DER SubjectPublicKeyInfo."""
        return bytes(self._client.get_public_key(KeyId=self._key)["PublicKey"])

    def sign_digest(self, digest: bytes) -> bytes:
        """Return a signature of 32 bytes, as DER."""
        response = self._client.sign(
            KeyId=self._key, Message=digest, MessageType="DIGEST", SigningAlgorithm="ECDSA_SHA_256"
        )
        return bytes(response["Signature"])


class GoogleKey:
    """A key version of Google Cloud KMS: algorithm EC_SIGN_SECP256K1_SHA256, protection level HSM.

    https://cloud.google.com/kms/docs/reference/rest/v1/projects.locations.keyRings.cryptoKeys.cryptoKeyVersions
    """

    extra = "kms-gcp"

    def __init__(self, key: str, **options: Any) -> None:
        kms = importlib.import_module("google.cloud.kms_v1")
        self._key = key
        self._client = kms.KeyManagementServiceClient(**options)

    def public_key(self) -> bytes:
        """Return the public key as DER SubjectPublicKeyInfo."""
        pem = str(self._client.get_public_key(request={"name": self._key}).pem)
        return base64.b64decode("".join(line for line in pem.splitlines() if "-" not in line))

    def sign_digest(self, digest: bytes) -> bytes:
        # The field is called sha256 for its length: what is signed is these 32 bytes, here a Keccak hash.
        """Return a signature of 32 bytes, as DER."""
        request = {"name": self._key, "digest": {"sha256": digest}}
        return bytes(self._client.asymmetric_sign(request=request).signature)
