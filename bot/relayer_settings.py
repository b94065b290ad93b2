"""The relayer's settings, from those of the bot."""

from __future__ import annotations

from bot.settings import Settings
from contracts.relayer.planning.draft import DraftSettings
from contracts.relayer.relayer import RelayerSettings
from contracts.units import GWEI

RELAYER_LEASE_S = 15.0  # a killed bot's successor relays after that long


def relayer_settings(settings: Settings) -> RelayerSettings:
    """Return how the relayer of a bot with these settings works."""
    return RelayerSettings(
        drafts=DraftSettings(flush_age_s=settings.flush_s),
        confirmations=settings.confirmations,
        final_tag=None if settings.final_tag == "none" else settings.final_tag,
        max_fee=None if settings.max_fee_gwei is None else round(settings.max_fee_gwei * GWEI),
        bumps={"auto": None, "on": True, "off": False}[settings.fee_bumps],
        poll_s=min(1.0, settings.flush_s),
        lease_s=RELAYER_LEASE_S,
    )
