"""`flock deploy`: a key first, then one contract, once, and a comparison with its code."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builders.command_line import flock, free_port, plain
from tests.contracts.conftest import ChainProcess


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChainProcess]:
    process = ChainProcess(tmp_path_factory.mktemp("chain"))
    yield process
    process.stop()


def test_a_ledger_is_deployed_once_and_verified(chain: ChainProcess, tmp_path: Path) -> None:
    """A second run finds it by its record; the code of any other address is not ours."""
    settings = {"FLOCK_RPC_URL": chain.url, "FLOCK_KEYSTORE": str(chain.ready["key_file"])}
    first = flock(tmp_path, "deploy", **settings)
    assert first.returncode == 0, first.stderr
    again = json.loads(flock(tmp_path, "deploy", "--json", **settings).stdout)
    assert f"FLOCK_LEDGER_ADDRESS={again['address']}\n" in first.stdout
    verified = flock(tmp_path, "deploy", "--verify", FLOCK_LEDGER_ADDRESS=again["address"], **settings)
    assert (verified.returncode, "is this version's VoteLedger" in verified.stdout) == (0, True)
    plain(flock(tmp_path, "deploy", "--verify", FLOCK_LEDGER_ADDRESS="0x" + "1" * 40, **settings), "no contract")


def test_a_new_key_is_made_and_never_replaced(tmp_path: Path) -> None:
    """Its account needs coin first; without a password there is no key."""
    nobody = f"http://127.0.0.1:{free_port()}"
    settings = {"FLOCK_RPC_URL": nobody, "FLOCK_KEYSTORE": "key.json"}
    plain(flock(tmp_path, "deploy", "--new-key", **settings), "FLOCK_KEYSTORE_PASSWORD")
    assert not (tmp_path / "key.json").exists()
    settings["FLOCK_KEYSTORE_PASSWORD"] = "a password"
    run = flock(tmp_path, "deploy", "--new-key", **settings)
    assert (run.returncode, "Send some of the chain's coin to 0x" in run.stdout) == (0, True), run.stderr
    key = (tmp_path / "key.json").read_bytes()
    plain(flock(tmp_path, "deploy", "--new-key", **settings), "The chain at 127.0.0.1 does not answer")
    assert (tmp_path / "key.json").read_bytes() == key


@pytest.mark.parametrize("role", ["owner", "guardian"])
def test_a_role_needs_an_address(tmp_path: Path, role: str) -> None:
    """A mistyped one is not deployed with: nobody could ever use it."""
    nobody = f"http://127.0.0.1:{free_port()}"
    run = flock(tmp_path, "deploy", f"--{role}", "0x123", FLOCK_RPC_URL=nobody, FLOCK_KEYSTORE="key.json")
    plain(run, f"--{role} must be an address")
