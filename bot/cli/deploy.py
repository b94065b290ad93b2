"""`flock deploy`: the VoteLedger contract on the chain, once, and a comparison of its code with ours."""

from __future__ import annotations

import argparse
import asyncio
import json
from dataclasses import asdict

from bot.cli.process import Commands, write
from bot.domain.errors import OperatorError
from bot.settings import Settings, load_settings, reveal


def add_parser(commands: Commands) -> None:
    """Add the command to `flock`."""
    parser = commands.add_parser("deploy", help="put the VoteLedger contract onto the chain, once")
    parser.add_argument("--new-key", action="store_true", help="make the keystore file first, if there is none")
    parser.add_argument("--owner", metavar="ADDRESS", help="who may change relayers (default: the keystore's account)")
    parser.add_argument("--guardian", metavar="ADDRESS", help="who may pause (default: the keystore's account)")
    parser.add_argument("--verify", action="store_true", help="only compare the code on chain with ours")
    parser.add_argument("--json", action="store_true", help="print the deployment as JSON")
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace) -> int:
    """Deploy, or verify, and print the result."""
    settings = load_settings("audit" if arguments.verify else "deploy")
    if arguments.verify:
        write(asyncio.run(verify_ledger(settings)))
        return 0
    roles = {"owner": arguments.owner, "guardian": arguments.guardian}
    text = asyncio.run(deploy_ledger(settings, new_key=arguments.new_key, as_json=arguments.json, **roles))
    write(text)
    return 0


async def deploy_ledger(
    settings: Settings, *, new_key: bool, as_json: bool, owner: str | None = None, guardian: str | None = None
) -> str:
    """Deploy once, which the record beside the data remembers, and return lines that say where.

    A role without an address goes to the relayer's own account. Raises OperatorError, also for a wrong address.
    """
    from eth_utils.address import is_address

    from bot.signer import open_signer
    from contracts.deploy import deploy
    from contracts.rpc.node import LedgerError
    from contracts.signers.keystore import SignerError, create_keystore

    for role, address in (("owner", owner), ("guardian", guardian)):
        if address is not None and not is_address(address):
            raise OperatorError(
                f"--{role} must be an address: 0x and 40 hex digits, with a valid checksum if in mixed case."
            )
    keystore = settings.keystore
    if new_key and keystore is not None and not keystore.exists():
        try:
            address = await create_keystore(keystore, reveal(settings.keystore_password))
        except SignerError as error:
            raise OperatorError(f"{error} Set FLOCK_KEYSTORE_PASSWORD first.") from error
        return f"Created {keystore}. Send some of the chain's coin to {address}, then run `flock deploy` again.\n"
    signer = await open_signer(settings)
    try:
        record = settings.data_dir / "ledger.json"
        deployment = await deploy(settings.rpc_url or "", signer, record, owner=owner, guardian=guardian)
    except (LedgerError, ValueError) as error:
        raise OperatorError(str(error)) from error
    if as_json:
        return json.dumps(asdict(deployment)) + "\n"
    return (
        f"The VoteLedger is at {deployment.address} on chain {deployment.chain_id} "
        f"(block {deployment.block}, transaction {deployment.tx}).\n"
        f"Put this into .env:\nFLOCK_LEDGER_ADDRESS={deployment.address}\n"
    )


async def verify_ledger(settings: Settings) -> str:
    """Compare the code on chain with the committed artefact. Raises OperatorError where they differ."""
    from contracts.deploy import verify
    from contracts.rpc.node import LedgerError

    try:
        chain_id = await verify(settings.rpc_url or "", settings.ledger_address or "")
    except (LedgerError, ValueError) as error:
        raise OperatorError(str(error)) from error
    return (
        f"The code at {settings.ledger_address} on chain {chain_id} is this version's VoteLedger. "
        "How the ledger was made, and what its log tells, `flock audit` checks.\n"
    )
