"""The demo's stack: the embedded services, the bot as in production, and a worker, wired by their addresses alone."""

from __future__ import annotations

import asyncio
import json
import secrets
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from bot.demo.supervisor import Supervisor
from bot.domain.errors import OperatorError
from contracts.deploy import Deployment, deploy
from contracts.rpc.node import LedgerError
from contracts.signers.keystore import open_key_file
from migrations.files import write_private

MODEL = "tiny"
BOT = (sys.executable, "-m", "bot")
WORKER_SETTINGS = ("FLOCK_MODELS_FILE", "FLOCK_MODEL_ID", "FLOCK_MODEL_CLASS", "FLOCK_LOG_LEVEL", "OMP_NUM_THREADS")


@dataclass(frozen=True)
class Keys:
    """Secrets and ports of the loopback services, which a state keeps between two runs in a file of mode 0600."""

    bot_token: str
    control_token: str
    host_key: str
    pepper: str
    page_token: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    discord_port: int = 0
    host_port: int = 0
    chain_port: int = 0
    page_port: int = 0
    signing_port: int = 0

    def __repr__(self) -> str:
        return "Keys(...)"

    @classmethod
    def load(cls, path: Path) -> Keys:
        """Read a state's file; make new keys where there is none. Raises OperatorError for a broken file."""
        if not path.exists():
            fresh = secrets.token_urlsafe
            return cls(bot_token=fresh(32), control_token=fresh(32), host_key=fresh(32), pepper=fresh(32))
        try:
            return cls(**json.loads(path.read_text()))
        except (ValueError, TypeError) as error:
            raise OperatorError(f"{path} cannot be read. Take another --state folder, or remove this one.") from error

    def save(self, path: Path) -> None:
        """Replace the file at once or not at all."""
        write_private(path, json.dumps(asdict(self)).encode())


class Stack:
    """All processes of the demo, over one state folder."""

    def __init__(
        self,
        state: Path,
        supervisor: Supervisor,
        database_url: str | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """`settings` replace those of bot and worker, by the names of their environment variables."""
        self.settings = dict(settings or {})
        self.state = state
        self.supervisor = supervisor
        self.database_url = database_url or f"sqlite:///{state / 'flock.db'}"
        self._keys_path = state / "demo.json"
        self.keys = Keys.load(self._keys_path)
        self.deployment: Deployment | None = None

    async def open_services(self) -> None:
        """Start the embedded chain, video host and Discord, and deploy the ledger on the chain.

        They keep their ports from one run to the next, because links to videos contain them.
        """
        keys = self.keys
        tokens = {"FLOCK_DEMO_BOT_TOKEN": keys.bot_token, **self._control}
        chain, host, discord = await asyncio.gather(
            self.open_chain(),
            self.open_host(),
            self._service("discord", "bot.demo.discord", keys.discord_port, tokens),
        )
        self.save_keys(replace(self.keys, chain_port=chain, host_port=host, discord_port=discord))
        try:
            self.deployment = await deploy(self.rpc_url, open_key_file(self.key_file), self.state / "ledger.json")
        except (LedgerError, ValueError) as error:
            raise OperatorError(f"The ledger could not be deployed: {error}") from error

    def save_keys(self, keys: Keys) -> None:
        """Keep secrets and ports for the next run."""
        self.keys = keys
        self.keys.save(self._keys_path)

    async def open_chain(self) -> int:
        """Start the embedded chain; returns its port."""
        return await self._service("chain", "bot.demo.chain", self.keys.chain_port, self._control)

    async def open_host(self) -> int:
        """Start the embedded video host; returns its port."""
        env = {"FLOCK_DEMO_LIVEPEER_KEY": self.keys.host_key, **self._control}
        back = ["--back-url", f"http://127.0.0.1:{self.keys.page_port}/"] if self.keys.page_port else []
        return await self._service("host", "bot.demo.host", self.keys.host_port, env, back)

    async def open_bot_and_worker(self) -> None:
        """Start the product itself: only base addresses differ from production."""
        self.save_keys(replace(self.keys, signing_port=_free_port(self.keys.signing_port)))
        await self.start_bot()
        await self.supervisor.start("worker", [*BOT, "worker", "--watch-stdin"], self.worker_env)

    async def start_bot(self) -> None:
        """Start the bot alone, with the settings of this moment."""
        await self.supervisor.start("bot", [*BOT, "run", "--watch-stdin"], self.bot_env)

    async def _service(
        self, name: str, module: str, port: int, env: dict[str, str] | None = None, more: Sequence[str] = ()
    ) -> int:
        folder = self.state / name
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        argv = [sys.executable, "-m", module, "--state", str(folder), "--watch-stdin", *more, "--port"]
        try:
            ready = await self.supervisor.start(name, [*argv, str(port)], env or {}, says_ready=True)
        except OperatorError:
            if port == 0:
                raise
            await self.supervisor.forget(name)  # another program has taken the port in the meantime
            ready = await self.supervisor.start(name, [*argv, "0"], env or {}, says_ready=True)
        # A service that is started again after a crash must have the same address as before.
        self.supervisor.change_argv(name, [*argv, str(ready["port"])])
        return int(ready["port"])

    @property
    def _control(self) -> dict[str, str]:
        """The token with which a service has a route that makes it fail on demand (docs/chaos.md)."""
        return {"FLOCK_DEMO_CONTROL_TOKEN": self.keys.control_token}

    @property
    def discord_url(self) -> str:
        return f"http://127.0.0.1:{self.keys.discord_port}"

    @property
    def host_url(self) -> str:
        return f"http://127.0.0.1:{self.keys.host_port}"

    @property
    def rpc_url(self) -> str:
        return f"http://127.0.0.1:{self.keys.chain_port}"

    @property
    def key_file(self) -> Path:
        return self.state / "chain" / "dev.key"

    @property
    def worker_env(self) -> dict[str, str]:
        """The worker's settings: no key, no token, no address of Discord, host or chain."""
        return {
            "FLOCK_DATABASE_URL": self.database_url,
            "FLOCK_DATA_DIR": str(self.state / "data"),
            "FLOCK_MODEL_ID": MODEL,
            "FLOCK_MODEL_CLASS": MODEL,
            "FLOCK_DRAIN_S": "0",  # Ctrl-C does not wait for a video
            "PYTHONUNBUFFERED": "1",
            **{name: value for name, value in self.settings.items() if name in WORKER_SETTINGS},
        }

    @property
    def bot_env(self) -> dict[str, str]:
        """The bot's settings, as an operator would write them into .env, with loopback addresses and quick timers."""
        address = self.deployment.address if self.deployment else ""
        return {
            **self.worker_env,
            "FLOCK_DISCORD_TOKEN": self.keys.bot_token,
            "FLOCK_DISCORD_API_BASE": f"{self.discord_url}/api/v10",
            "FLOCK_DISCORD_GATEWAY": f"ws://127.0.0.1:{self.keys.discord_port}/gateway",
            "FLOCK_LIVEPEER_API_BASE": f"{self.host_url}/api",
            "FLOCK_LIVEPEER_API_KEY": self.keys.host_key,
            "FLOCK_WATCH_PAGE": f"{self.host_url}/v/{{playback_id}}",
            "FLOCK_HOST_POLL_S": "0.3",
            "FLOCK_RPC_URL": self.rpc_url,
            "FLOCK_PUBLIC_RPC_URL": self.rpc_url,
            "FLOCK_LEDGER_ADDRESS": address,
            "FLOCK_KEYSTORE": str(self.key_file),
            "FLOCK_VOTER_PEPPER": self.keys.pepper,
            "FLOCK_PAGE_PORT": str(self.keys.signing_port),
            "FLOCK_FLUSH_S": "2",
            "FLOCK_PROGRESS_S": "1",
            # A demo may be given more prompts than a round of a real community would take from one member.
            "FLOCK_PROMPTS_A_ROUND": "1000",
            "FLOCK_PROMPTS_WAITING": "1000",
            **self.settings,
        }


def _free_port(preferred: int) -> int:
    """Return a loopback port on which nobody listens: the preferred one, if it is free."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OperatorError("This machine has no free port left.")
