"""`flock doctor`: each thing that FLock needs, whether it is well, and what to do if it is not."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx

from bot import settings as settings_module
from bot.app import open_signer, secret
from bot.database import open_and_upgrade
from bot.domain.errors import OperatorError, SettingsError
from bot.settings import Settings
from contracts.ledger import Ledger
from contracts.node import LedgerError
from generation.hosting.host import HostError
from generation.hosting.livepeer import LivepeerHost

DISCORD_API = "https://discord.com/api/v10"


@dataclass(frozen=True)
class Check:
    """One thing that was looked at; `remedy` is empty where all is well."""

    ok: bool
    what: str
    detail: str
    remedy: str = ""


async def examine() -> list[Check]:
    """All checks. Nothing is changed, except that the database is brought up to date."""
    try:
        settings = settings_module.load()
        settings.check("run")
    except SettingsError as error:
        checks = [Check(False, "settings", problem, "Set it in .env; see .env.example.") for problem in error.problems]
        try:
            settings = settings_module.load()
        except SettingsError:
            return checks
    else:
        checks = [Check(True, "settings", "complete")]
    looks: list[tuple[str, Callable[[Settings], Awaitable[Check | None]]]] = [
        ("database", _database),
        ("data folder", _folder),
        ("Discord", _discord),
        ("video host", _host),
        ("ledger", _ledger),
    ]
    for what, look in looks:
        try:
            found = await look(settings)
        except (OperatorError, LedgerError, HostError, httpx.HTTPError, OSError, ValueError) as error:
            found = Check(False, what, str(error) or type(error).__name__, "Check its address and that it runs.")
        if found is not None:
            checks.append(found)
    return checks


async def _database(settings: Settings) -> Check:
    database = await open_and_upgrade(settings)
    kind = database.dialect.name
    await database.dispose()
    return Check(True, "database", f"{kind}, up to date")


async def _folder(settings: Settings) -> Check:
    folder = Path(settings.data_dir)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    probe = folder / ".probe"
    probe.write_bytes(b"x")
    probe.unlink()
    return Check(True, "data folder", f"{folder} can be written to")


async def _discord(settings: Settings) -> Check | None:
    if settings.discord_token is None:
        return None
    async with httpx.AsyncClient(timeout=10) as client:
        answer = await client.get(
            f"{settings.discord_api_base or DISCORD_API}/users/@me",
            headers={"Authorization": f"Bot {secret(settings.discord_token)}"},
        )
    if answer.status_code == 401:
        return Check(False, "Discord", "the token was refused", "Copy the bot's token anew from the developer portal.")
    answer.raise_for_status()
    return Check(True, "Discord", f"logged in as {answer.json().get('username')}")


async def _host(settings: Settings) -> Check | None:
    if settings.livepeer_api_key is None:
        return None
    async with LivepeerHost(settings.livepeer_api_base, secret(settings.livepeer_api_key), settings.watch_page) as host:
        await host.find_asset("flock-doctor-probe.mp4")
    return Check(True, "video host", "answers, and takes the key")


async def _ledger(settings: Settings) -> Check | None:
    if not settings.rpc_url or not settings.ledger_address:
        return None
    async with Ledger(settings.rpc_url, settings.ledger_address) as ledger:
        chain_id = await ledger.check()
        if settings.keystore is None:
            return Check(True, "ledger", f"found on chain {chain_id}")
        signer = await open_signer(settings)
        if not await ledger.is_relayer(signer.address):
            return Check(False, "ledger", f"{signer.address} is no relayer", "Have the ledger's owner set it.")
        balance = await ledger.node.balance(signer.address)
        if balance == 0:
            return Check(False, "ledger", f"{signer.address} has no coin", "Send it some of the chain's coin for gas.")
    return Check(True, "ledger", f"found on chain {chain_id}; the relayer has {balance / 10**18:.4f} coins")


def render(checks: list[Check], *, as_json: bool) -> str:
    """The checks as JSON, or as lines to read."""
    if as_json:
        return json.dumps({"ok": all(c.ok for c in checks), "checks": [asdict(c) for c in checks]}, indent=2) + "\n"
    lines = []
    for check in checks:
        lines.append(f"{'✓' if check.ok else '✗'} {check.what}: {check.detail}")
        if check.remedy:
            lines.append(f"    → {check.remedy}")
    return "\n".join(lines) + "\n"
