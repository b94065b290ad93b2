"""Opens the signer of the relayer's transactions, as the settings name it."""

from __future__ import annotations

from bot.domain.errors import OperatorError
from bot.settings import Settings, reveal
from contracts.signers.keystore import Signer, SignerError, open_key_file, open_keystore
from contracts.signers.kms import open_kms


async def open_signer(settings: Settings) -> Signer:
    """Return a key service, a keystore with its password, or, without a password, the demo chain's bare key file.

    Raises OperatorError where it cannot be opened.
    """
    try:
        if settings.signer != "keystore":
            return await open_kms(settings.signer)
        if settings.keystore is None:
            raise OperatorError("FLOCK_KEYSTORE is missing. Set it to the relayer's keystore file.")
        if settings.keystore_password is not None:
            return await open_keystore(settings.keystore, reveal(settings.keystore_password))
        return open_key_file(settings.keystore)
    except SignerError as error:
        raise OperatorError(str(error)) from error
