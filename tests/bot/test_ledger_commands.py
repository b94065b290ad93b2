"""`flock audit` as strangers and operators type it: a stranger needs a node and an address, and leaves no trace."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bot import ledger_commands
from bot.ledger_commands import Scan
from contracts.deploy import Deployment, deploy
from tests.contracts.conftest import ChainProcess


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChainProcess]:
    made = ChainProcess(tmp_path_factory.mktemp("chain"))
    yield made
    made.stop()


@pytest.fixture(scope="module")
def ledger(chain: ChainProcess, tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    """An empty ledger, which stands for any other here."""
    return asyncio.run(deploy(chain.url, chain.signer, tmp_path_factory.mktemp("deployed") / "ledger.json"))


def flock(folder: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """A run without any environment but these settings."""
    return subprocess.run(
        [sys.executable, "-m", "bot", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=folder,
        env=settings,
    )


def audited(folder: Path, *arguments: str, **settings: str) -> dict[str, Any]:
    run = flock(folder, "audit", *arguments, "--json", **settings)
    assert run.returncode == 0, run.stdout + run.stderr
    report: dict[str, Any] = json.loads(run.stdout)
    assert report["ok"]
    return report


def test_anyone_audits_with_a_node_and_an_address(chain: ChainProcess, ledger: Deployment, tmp_path: Path) -> None:
    """In an empty folder, with an empty environment: `flock audit --rpc URL --ledger ADDRESS --json`."""
    stranger = ("--rpc", chain.url, "--ledger", ledger.address)
    report = audited(tmp_path, *stranger)
    assert (report["database_checked"], report["since"], report["notes"]) == (False, ledger.block, [])
    assert audited(tmp_path, *stranger, "--since", "0", "--chain-only")["since"] == 0
    assert list(tmp_path.iterdir()) == []


def test_an_operator_compares_with_the_database(chain: ChainProcess, ledger: Deployment, tmp_path: Path) -> None:
    """Where there is one; without --rpc and --ledger it is compared unasked, with them on request."""
    settings = {"FLOCK_RPC_URL": chain.url, "FLOCK_LEDGER_ADDRESS": ledger.address}
    stranger = ("--rpc", chain.url, "--ledger", ledger.address)
    alone = audited(tmp_path, **settings)
    assert not alone["database_checked"]
    assert alone["notes"] == ["There is no database here to compare with: this is the chain's side alone."]
    assert list(tmp_path.iterdir()) == []
    assert flock(tmp_path, "migrate").returncode == 0
    assert audited(tmp_path, **settings)["database_checked"]
    assert not audited(tmp_path, "--chain-only", **settings)["database_checked"]
    assert not audited(tmp_path, *stranger)["database_checked"]
    assert audited(tmp_path, *stranger, "--with-database")["database_checked"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--with-database",), "There is no database at FLOCK_DATABASE_URL"),
        (("--since", "1000000000"), "The ledger is older than block 1000000000"),
        (("--since", "-1"), "0 or more"),
        (("--round", "1"), "holds no round 1"),
    ],
)
def test_what_cannot_be_audited_is_a_sentence(
    chain: ChainProcess, ledger: Deployment, tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    """No verdict is given, no file made."""
    run = flock(tmp_path, "audit", "--rpc", chain.url, "--ledger", ledger.address, *arguments)
    assert (run.returncode, run.stdout) == (1, "")
    assert words in run.stderr
    assert "Traceback" not in run.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_long_scan_says_how_far_it_is(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """On standard error, now and then; a short one says nothing, and the end is the report's to tell."""
    scan = Scan()
    scan.reached(10_000, 30_000)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(ledger_commands, "TELL_S", 0.0)
    scan.reached(20_000, 30_000)
    scan.reached(30_000, 30_000)
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", "Read the log up to block 20,000 of 30,000.\n")
