"""The relayer as the settings describe it: opens the signer of its transactions, and gives its settings."""

from __future__ import annotations

from bot.domain.errors import OperatorError
from bot.domain.ledger_links import PublicLedger, deployment_of
from bot.settings import Settings, reveal
from contracts.relayer.planning.draft import DraftSettings
from contracts.relayer.relayer import RelayerSettings
from contracts.signers.keystore import Signer, SignerError, open_key_file, open_keystore
from contracts.signers.kms import open_kms
from contracts.units import GWEI

RELAYER_LEASE_S = 15.0  # a killed bot's successor relays after that long


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


def relayer_settings(settings: Settings) -> RelayerSettings:
    """Return the relayer's settings."""
    return RelayerSettings(
        drafts=DraftSettings(flush_age_s=settings.flush_s),
        confirmations=settings.confirmations,
        final_tag=None if settings.final_tag == "none" else settings.final_tag,
        max_fee=None if settings.max_fee_gwei is None else round(settings.max_fee_gwei * GWEI),
        bumps={"auto": None, "on": True, "off": False}[settings.fee_bumps],
        poll_s=min(1.0, settings.flush_s),
        lease_s=RELAYER_LEASE_S,
    )


def public_ledger(settings: Settings) -> PublicLedger:
    """Return the ledger as members reach it."""
    address = settings.ledger_address or ""
    deployment = deployment_of(settings.data_dir / "ledger.json", address)
    since, chain_id = (None, None) if deployment is None else (deployment.block, deployment.chain_id)
    return PublicLedger(address, settings.public_rpc_url, settings.explorer_tx_url, since, chain_id)
