"""Keys: kept private, never overwritten, never shown."""

from __future__ import annotations

import json
import pickle
import stat
from pathlib import Path

import pytest
from eth_account import Account

from contracts.signers.keystore import SignerError, create_keystore, open_key_file, open_keystore
from tests.builders.accounts import TRANSACTION


async def test_a_keystore_signs_for_its_address(tmp_path: Path) -> None:
    """What was created with a password opens with it, and with no other; it is a v3 file of mode 0600."""
    path = tmp_path / "relayer.json"
    address = await create_keystore(path, "correct horse")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert json.loads(path.read_text())["version"] == 3
    signer = await open_keystore(path, "correct horse")
    signed = await signer.sign(TRANSACTION)
    assert signer.address == address == Account.recover_transaction(signed.raw)
    with pytest.raises(SignerError, match="password is wrong") as caught:
        await open_keystore(path, "wrong horse")
    assert "wrong horse" not in str(caught.value)
    with pytest.raises(SignerError, match="never overwritten"):
        await create_keystore(path, "x")


async def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    """The sentence says how to mend it."""
    path = tmp_path / "dev.key"
    path.write_text("11" * 32)
    path.chmod(0o644)
    with pytest.raises(SignerError, match=r"chmod 600"):
        open_key_file(path)
    with pytest.raises(SignerError, match=r"chmod 600"):
        await open_keystore(path, "x")
    path.chmod(0o600)
    assert open_key_file(path).address == Account.from_key("11" * 32).address


@pytest.mark.parametrize("text", ["", "zz", "11" * 31, "00" * 32, "ff" * 32, '{"version": 3}'])
async def test_what_is_no_key_is_refused_without_being_quoted(tmp_path: Path, text: str) -> None:
    """Broken files give a sentence that does not contain them."""
    path = tmp_path / "dev.key"
    path.write_text(text)
    path.chmod(0o600)
    for opening in ("key", "keystore"):
        with pytest.raises(SignerError) as caught:
            _ = open_key_file(path) if opening == "key" else await open_keystore(path, "x")
        assert not text or text not in str(caught.value)


def test_a_missing_file_and_an_empty_password_are_named(tmp_path: Path) -> None:
    """The operator learns which file."""
    with pytest.raises(SignerError, match=r"nothing\.key cannot be read"):
        open_key_file(tmp_path / "nothing.key")


def test_a_signer_shows_its_address_only(tmp_path: Path) -> None:
    """Neither repr nor pickle gives the key away."""
    path = tmp_path / "dev.key"
    path.write_text("11" * 32)
    path.chmod(0o600)
    signer = open_key_file(path)
    assert "1111" not in repr(signer) + str(vars(signer))
    with pytest.raises(TypeError):
        pickle.dumps(signer)
