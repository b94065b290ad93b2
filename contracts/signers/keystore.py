"""The keys that sign for FLock on the chain: a keystore file with its password, or the embedded chain's own key file.

Another kind (a hardware module, a cloud's key service) only needs to be a `Signer`. No secret is ever shown.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import stat
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypedDict

from eth_account import Account
from eth_account.signers.local import LocalAccount


class SignerError(Exception):
    """The key cannot be used; the message says what to do."""


class Signed(NamedTuple):
    """A signed transaction: the bytes that are sent, and the hash under which the chain will know them."""

    raw: bytes
    tx: str


class Call(TypedDict):
    """A call as it is signed: all of a transaction but its fees."""

    chainId: int
    nonce: int
    to: str
    data: bytes
    value: int
    gas: int


class Transaction(Call):
    """An EIP-1559 transaction before it is signed; fees in wei for a unit of gas."""

    maxFeePerGas: int
    maxPriorityFeePerGas: int


class Signer(Protocol):
    """Signs transactions for one account."""

    @property
    def address(self) -> str:
        """The account's checksummed address (EIP-55)."""

    async def sign(self, transaction: Transaction) -> Signed:
        """Sign an EIP-1559 transaction."""


class KeySigner:
    """A signer that holds its key in memory. Neither `repr` nor pickling gives the key away."""

    def __init__(self, account: LocalAccount) -> None:
        self._account = account

    @property
    def address(self) -> str:
        """The account's checksummed address (EIP-55)."""
        return str(self._account.address)

    async def sign(self, transaction: Transaction) -> Signed:
        """Sign an EIP-1559 transaction."""
        fields: dict[str, Any] = {**transaction}  # the library's own type has lists in it
        signed = self._account.sign_transaction(fields)
        return Signed(bytes(signed.raw_transaction), "0x" + bytes(signed.hash).hex())

    def __repr__(self) -> str:
        return f"KeySigner({self.address})"

    def __reduce__(self) -> str:
        raise TypeError("A signer cannot be copied out of its process.")


def _read_private(path: Path) -> str:
    """Return a secret file's text. Raises SignerError when it is missing, or readable by anyone but its owner."""
    try:
        with path.open(encoding="utf-8") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                raise SignerError(f"The key file {path} can be read by others; run: chmod 600 {path}")
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise SignerError(f"The key file {path} cannot be read ({type(error).__name__}).") from error


async def open_keystore(path: Path, password: str) -> KeySigner:
    """Return the signer of a keystore v3 file (scrypt or pbkdf2), decrypted in a thread: it takes about a second.

    Raises SignerError for a missing, readable-by-others or broken file, and for a wrong password.
    """
    text = _read_private(path)

    def decrypt() -> KeySigner:
        try:
            return KeySigner(Account.from_key(Account.decrypt(json.loads(text), password)))
        except Exception:  # the library's messages may quote what it was given
            raise SignerError(
                f"The keystore {path} could not be opened: the password is wrong, or the file is no keystore (v3)."
            ) from None

    return await asyncio.to_thread(decrypt)


async def create_keystore(path: Path, password: str) -> str:
    """Create a new key, write it as a keystore v3 file of mode 0600, and return its address.

    Raises SignerError when the file exists already or the password is empty: a key is never overwritten.
    """
    if not password:
        raise SignerError("A keystore needs a password.")

    def write() -> str:
        account = Account.create()
        text = json.dumps(account.encrypt(password))
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            raise SignerError(f"The keystore {path} exists already and is never overwritten.") from None
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        return str(account.address)

    return await asyncio.to_thread(write)


def open_key_file(path: Path) -> KeySigner:
    """Return the signer of a file that holds a bare private key in hex: for the embedded chain's `dev.key` only.

    Raises SignerError for a missing, readable-by-others or broken file.
    """
    text = _read_private(path).strip()
    key = None
    with contextlib.suppress(ValueError):
        key = bytes.fromhex(text.removeprefix("0x"))
    if key is None or len(key) != 32:
        raise SignerError(f"The key file {path} does not hold a private key of 64 hex digits.")
    try:
        return KeySigner(Account.from_key(key))
    except Exception:  # the library's messages may quote the key
        raise SignerError(f"The key file {path} does not hold a usable private key.") from None
