"""The signer that the settings name: a bare key file, a keystore with its password, or a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from bot.domain.errors import OperatorError
from bot.settings import Settings
from bot.signer import open_signer
from contracts.signers.keystore import create_keystore


async def test_a_keystore_is_opened_with_its_password(tmp_path: Path) -> None:
    """With another one it stays closed."""
    keystore = tmp_path / "key.json"
    address = await create_keystore(keystore, "a password")
    good = Settings(_env_file=None, keystore=keystore, keystore_password=SecretStr("a password"))
    assert (await open_signer(good)).address == address
    with pytest.raises(OperatorError, match="password"):
        await open_signer(good.model_copy(update={"keystore_password": SecretStr("another")}))


async def test_a_bare_key_file_needs_no_password(tmp_path: Path) -> None:
    """It must be its owner's alone."""
    key = tmp_path / "key"
    key.write_text("11" * 32)
    key.chmod(0o600)
    settings = Settings(_env_file=None, keystore=key)
    assert (await open_signer(settings)).address.startswith("0x")
    key.chmod(0o644)
    with pytest.raises(OperatorError, match="chmod 600"):
        await open_signer(settings)


async def test_without_a_keystore_the_setting_is_named() -> None:
    """A sentence, before anything is opened."""
    with pytest.raises(OperatorError, match="FLOCK_KEYSTORE is missing"):
        await open_signer(Settings(_env_file=None))
