"""`flock audit`: every tally once more from the chain, for the operator, and for anybody with a node and an address."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bot.cli.process import Commands, exit_code_of, write
from bot.domain.errors import OperatorError
from bot.settings import Settings, load_settings, reveal

if TYPE_CHECKING:
    from contracts.audit.datasets import DatasetCounts

PROGRESS_S = 5.0  # between two lines about the progress of a long scan
EXIT_CODES = {"agrees": 0, "differs": 1, "cannot tell": 2}
CANNOT_TELL = EXIT_CODES["cannot tell"]


def add_parser(commands: Commands) -> None:
    """Add the command to `flock`."""
    parser = commands.add_parser(
        "audit",
        help="recompute every tally from the chain alone and compare",
        description="Re-derives all tallies from the chain's events and compares them with the contract's storage. "
        "With --rpc or --ledger it needs nothing else: anyone can run this. Without both it also compares the votes in "
        "our database. Exits with 0 if everything agrees, 1 if anything differs, 2 if that cannot be told.",
    )
    parser.add_argument("--rpc", metavar="URL", help="JSON-RPC of the chain (default: FLOCK_RPC_URL)")
    parser.add_argument("--ledger", metavar="ADDRESS", help="the ledger's address (default: FLOCK_LEDGER_ADDRESS)")
    parser.add_argument("--chain", type=int, metavar="ID", help="the id of the chain: another one's node is refused")
    parser.add_argument("--round", type=int, metavar="N", help="only the ledger's round N")
    parser.add_argument(
        "--since",
        type=int,
        metavar="BLOCK",
        help="the block of the ledger's deployment, or any block before it (default: search for it)",
    )
    parser.add_argument(
        "--releases",
        metavar="DIR",
        type=Path,
        help="a folder with the texts that the ledger names by their hash: manifests, registrations, prompts",
    )
    parser.add_argument(
        "--dataset", metavar="DIR", type=Path, help="an exported data set whose counts are compared with the votes"
    )
    parser.add_argument(
        "--every-entry", action="store_true", help="look up every entry of long lists, not about a thousand of each"
    )
    scope = parser.add_mutually_exclusive_group()
    scope.add_argument("--chain-only", action="store_true", help="do not look at our database")
    scope.add_argument("--with-database", action="store_true", help="look at it also with --rpc or --ledger")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the report; return 0 if everything agrees, 1 if something differs, 2 where neither can be told."""
    return exit_code_of(partial(_audit, arguments), trouble=CANNOT_TELL)


def _audit(arguments: argparse.Namespace) -> int:
    names = {"rpc_url": arguments.rpc, "ledger_address": arguments.ledger}
    settings = load_settings("audit", **{name: value for name, value in names.items() if value})
    chain_only = arguments.chain_only or (bool(arguments.rpc or arguments.ledger) and not arguments.with_database)
    status, text = asyncio.run(
        audit_ledger(
            settings,
            round_number=arguments.round,
            chain_only=chain_only,
            with_database=arguments.with_database,
            since=arguments.since,
            as_json=arguments.json,
            releases=arguments.releases,
            dataset=arguments.dataset,
            every_entry=arguments.every_entry,
            chain_id=arguments.chain,
        )
    )
    write(text)
    return status


async def audit_ledger(
    settings: Settings,
    *,
    round_number: int | None,
    chain_only: bool,
    as_json: bool,
    with_database: bool = False,
    since: int | None = None,
    releases: Path | None = None,
    dataset: Path | None = None,
    every_entry: bool = False,
    chain_id: int | None = None,
) -> tuple[int, str]:
    """Return the exit code that the verdict has, and the report. A database that does not exist is never made.

    Raises OperatorError when the chain cannot be read, for `with_database` without a database, and for a folder that
    does not hold what it should.
    """
    from bot.cli.learning.registered_rule import judge_by_registration
    from bot.database import open_and_upgrade
    from bot.domain.ledger_links import deployed_in
    from contracts.audit.audit import audit
    from contracts.audit.chain.entries import LOOKUPS
    from contracts.audit.output.words import report_text
    from contracts.rpc.node import LedgerError

    if since is not None and since < 0:
        raise OperatorError("--since must be the number of a block: 0 or more.")
    has_database = _has_database(settings)
    if with_database and not has_database:
        raise OperatorError(
            "There is no database at FLOCK_DATABASE_URL. Leave out --with-database to audit the chain alone."
        )
    documents, counts = _read_folders(releases, dataset)
    database = await open_and_upgrade(settings) if has_database and not chain_only else None
    address, scan = settings.ledger_address or "", Scan()
    try:
        report = await audit(
            settings.rpc_url or "",
            address,
            round=round_number,
            database=database,
            pepper=reveal(settings.voter_pepper).encode() or None,
            chain_id=chain_id,
            since=since if since is not None else deployed_in(settings.data_dir / "ledger.json", address),
            progress=scan.reached,
            documents=documents,
            dataset=counts,
            gate=judge_by_registration,
            lookups=None if every_entry else LOOKUPS,
        )
    except (LedgerError, LookupError, ValueError) as error:
        raise OperatorError(str(error)) from error
    finally:
        if database is not None:
            await database.dispose()
    if not has_database and not chain_only:
        report.notes.append("There is no database here to compare with: only the chain was checked.")
    text = json.dumps(report.to_json()) + "\n" if as_json else report_text(report)
    return EXIT_CODES[report.verdict], text


def _read_folders(releases: Path | None, dataset: Path | None) -> tuple[dict[str, bytes] | None, DatasetCounts | None]:
    """Return the texts of a folder by their hash, and the counts of a data set; None for what was not named."""
    from contracts.audit.datasets import DatasetError, counts_of, read_manifest, read_tallies
    from contracts.audit.texts import read_folder

    try:
        documents = None if releases is None else read_folder(releases)
        counts = None if dataset is None else counts_of(read_manifest(dataset), read_tallies(dataset))
    except OSError as error:
        raise OperatorError(f"The folder {releases} cannot be read ({error.strerror}).") from error
    except DatasetError as error:
        raise OperatorError(str(error)) from error
    return documents, counts


def _has_database(settings: Settings) -> bool:
    """Return True for a server's database, which is not asked, and for SQLite's file if it exists."""
    from migrations.database import parse_url

    url = parse_url(settings.database_url)
    return url.get_backend_name() != "sqlite" or Path(url.database or "").is_file()


class Scan:
    """Reports the progress of a long scan on standard error, a few times a minute."""

    def __init__(self) -> None:
        self._reported_at = time.monotonic()

    def reached(self, block: int, last: int) -> None:
        """Report a block up to which the log was read, and the one where it ends; called with every such block."""
        if block < last and time.monotonic() - self._reported_at >= PROGRESS_S:
            self._reported_at = time.monotonic()
            sys.stderr.write(f"Read the log up to block {block:,} of {last:,}.\n")
            sys.stderr.flush()
