"""`flock audit` as strangers and operators type it: a stranger needs a node and an address, and leaves no trace."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bot.__main__ import main
from bot.cli import audit as audit_command
from bot.cli.audit import Scan
from contracts.audit.report import AuditReport
from contracts.deploy import Deployment, deploy
from tests.builders.chain_process import ChainProcess
from tests.builders.command_line import flock, free_port, plain


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChainProcess]:
    made = ChainProcess(tmp_path_factory.mktemp("chain"))
    yield made
    made.stop()


@pytest.fixture(scope="module")
def ledger(chain: ChainProcess, tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    """An empty ledger, which stands for any other here."""
    return asyncio.run(deploy(chain.url, chain.signer, tmp_path_factory.mktemp("deployed") / "ledger.json"))


def test_anyone_audits_with_a_node_and_an_address(chain: ChainProcess, ledger: Deployment, tmp_path: Path) -> None:
    """In an empty folder, with an empty environment: `flock audit --rpc URL --ledger ADDRESS --json`."""
    run = subprocess.run(
        [sys.executable, "-m", "bot", "audit", "--rpc", chain.url, "--ledger", ledger.address, "--json"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={},
    )
    assert run.returncode == 0, run.stdout + run.stderr
    report = json.loads(run.stdout)
    assert (report["ok"], report["database_checked"], report["notes"]) == (True, False, [])
    assert report["since"] == ledger.block
    assert list(tmp_path.iterdir()) == []


class Operator:
    """Types commands in a folder, in this process, with no settings but those given."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys, self.monkeypatch = capsys, monkeypatch
        monkeypatch.chdir(folder)
        for name in [name for name in os.environ if name.startswith("FLOCK_")]:
            monkeypatch.delenv(name)

    def types(self, *arguments: str) -> tuple[int, str, str]:
        """Exit status, output and errors."""
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        told = self.capsys.readouterr()
        return int(ended.value.code or 0), told.out, told.err

    def audits(self, *arguments: str) -> dict[str, Any]:
        status, output, errors = self.types("audit", *arguments, "--json")
        assert status == 0, output + errors
        report: dict[str, Any] = json.loads(output)
        assert report["ok"]
        return report


@pytest.fixture
def operator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Operator:
    return Operator(tmp_path, monkeypatch, capsys)


def test_an_operator_compares_with_the_database(
    chain: ChainProcess, ledger: Deployment, tmp_path: Path, operator: Operator
) -> None:
    """Where there is one; without --rpc and --ledger it is compared unasked, with them on request."""
    stranger = ("--rpc", chain.url, "--ledger", ledger.address)
    operator.monkeypatch.setenv("FLOCK_RPC_URL", chain.url)
    operator.monkeypatch.setenv("FLOCK_LEDGER_ADDRESS", ledger.address)
    alone = operator.audits()
    assert not alone["database_checked"]
    assert alone["notes"] == ["There is no database here to compare with: only the chain was checked."]
    assert operator.audits(*stranger, "--since", "0", "--chain-only")["since"] == 0
    assert list(tmp_path.iterdir()) == []
    assert operator.types("migrate")[0] == 0
    assert operator.audits()["database_checked"]
    assert not operator.audits("--chain-only")["database_checked"]
    assert not operator.audits(*stranger)["database_checked"]
    assert operator.audits(*stranger, "--with-database")["database_checked"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--with-database",), "There is no database at FLOCK_DATABASE_URL"),
        (("--since", "1000000000"), "The ledger is older than block 1000000000"),
        (("--since", "-1"), "0 or more"),
        (("--chain", "9"), "serves chain 31431, but chain 9 is expected"),
        (("--round", "1"), "holds no round 1"),
        (("--releases", "nowhere"), "The folder nowhere cannot be read"),
    ],
)
def test_what_cannot_be_audited_is_a_sentence(
    chain: ChainProcess, ledger: Deployment, tmp_path: Path, operator: Operator, arguments: tuple[str, ...], words: str
) -> None:
    """No verdict is given, no file made."""
    status, output, errors = operator.types("audit", "--rpc", chain.url, "--ledger", ledger.address, *arguments)
    assert (status, output) == (2, "")
    assert words in errors
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("findings", "code"),
    [
        ({}, 0),
        ({"problems": ["Nobody shows the manifest of release 3."]}, 1),
        ({"doubts": ["The node no longer has transaction 0x1."]}, 2),
        ({"problems": ["It differs."], "doubts": ["Nobody can tell."]}, 1),
    ],
)
def test_the_exit_code_is_the_verdict(
    chain: ChainProcess,
    ledger: Deployment,
    operator: Operator,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    findings: dict[str, list[str]],
    code: int,
) -> None:
    """0 agrees, 1 differs, 2 cannot tell; in text and in JSON alike, with each sentence."""

    async def report(*_: Any, documents: Any, **__: Any) -> AuditReport:
        assert documents == {}
        return AuditReport(1, "0x", 0, 1, "0x", 0, 0, 0, 0, **findings)

    monkeypatch.setattr("contracts.audit.audit.audit", report)
    empty = tmp_path / "texts"
    empty.mkdir()
    command = ("audit", "--rpc", chain.url, "--ledger", ledger.address, "--releases", str(empty))
    status, output, _ = operator.types(*command)
    assert status == code
    assert [line for line in output.splitlines() if line.startswith("  - ")] == [
        f"  - {sentence}" for sentences in findings.values() for sentence in sentences
    ]
    status, output, _ = operator.types(*command, "--json")
    assert status == code
    told = json.loads(output)
    assert (told["ok"], told["verdict"]) == (code == 0, ("agrees", "differs", "cannot tell")[code])


def test_every_entry_is_looked_up_on_request(chain: ChainProcess, ledger: Deployment, operator: Operator) -> None:
    """Of long lists else about a thousand; the text names what is compared."""
    status, output, _ = operator.types(
        "audit", "--rpc", chain.url, "--ledger", ledger.address, "--every-entry", "--chain", "31431"
    )
    assert status == 0
    assert f"  chain 31431, ledger {ledger.address}" in output.splitlines()


def test_a_data_set_that_is_none_is_a_sentence(chain: ChainProcess, ledger: Deployment, operator: Operator) -> None:
    """Before the chain is asked for anything."""
    pytest.importorskip("pyarrow", reason="Reading a data set needs the extra export.")
    status, output, errors = operator.types(
        "audit", "--rpc", chain.url, "--ledger", ledger.address, "--dataset", "nowhere"
    )
    assert (status, output) == (2, "")
    assert "nowhere is no data set" in errors


def test_a_long_scan_says_how_far_it_is(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """On standard error, now and then; a short one says nothing, and the end is the report's to tell."""
    scan = Scan()
    scan.reached(10_000, 30_000)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(audit_command, "PROGRESS_S", 0.0)
    scan.reached(20_000, 30_000)
    scan.reached(30_000, 30_000)
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", "Read the log up to block 20,000 of 30,000.\n")


def test_an_audit_needs_a_chain(tmp_path: Path) -> None:
    """Where the chain does not answer there is no verdict, neither good nor bad."""
    nobody = f"http://127.0.0.1:{free_port()}"
    plain(flock(tmp_path, "audit", "--chain-only", "--rpc", nobody, "--ledger", "0x" + "1" * 40), "chain", code=2)
    plain(flock(tmp_path, "audit"), "FLOCK_RPC_URL is missing", "FLOCK_LEDGER_ADDRESS is missing", code=2)
    plain(flock(tmp_path, "audit", "--rpc", nobody, "--ledger", "somewhere"), "0x", code=2)
