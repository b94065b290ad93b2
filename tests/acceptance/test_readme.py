"""The documents with commands, followed word for word in an empty folder; what cannot run here is said, with why.

The install commands of docs/setup.md are the first to run, each in a clean environment; all others run in what they
made. They are left out where nobody asks for a long run (`--long`): what each command needs of the packages is tried
in test_extras.py every time.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from eth_account import Account

from bot.__main__ import build_parser
from bot.demo.stack import Stack
from bot.demo.supervisor import Supervisor
from contracts.ledger.client import Ledger
from contracts.rpc.node import Node
from contracts.signers.keystore import open_key_file
from generation.extras import install as remedy
from tests.acceptance.installing import HERE, ROOT, Installed, clone_into, install
from tests.generation.worker.test_rerender import MODELS, card_of

PATIENCE_S = 180.0
SETUP = "docs/setup.md"
FOLLOWED = ("README.md", "CONTRIBUTING.md", "docs/demo.md", SETUP)
COIN = 10**18

# Why a command is not run. Each is held against the code all the same, see `test_what_is_not_run_...`.
NOT_RUN = {
    r"make (demo|test|bench|lint|format|screenshots)\b.*": "it would set up a .venv of its own, for minutes",
    r"docker (compose|build|run) .*": "there is no container engine here",
    r"(python3 -m venv demo-venv|demo-venv/bin/.*)": "it would fetch 1.6 GB; see test_demo_image.py",
    r"\.venv/bin/python -m pytest .*": "tests do not start tests",
}
ENDLESS = {"flock run": "has connected to Gateway", "flock worker": "is loaded"}  # and what they say once they work


class StrangeCommandError(AssertionError):
    """A document names a command about which nobody has decided how it is tried."""


def commands(name: str) -> list[str]:
    """Every line that a document's console blocks would have a reader type."""
    blocks = re.findall(r"^```console\n(.*?)^```", (ROOT / name).read_text(), re.DOTALL | re.MULTILINE)
    lines = [line.removeprefix("$ ") for block in blocks for line in block.splitlines() if line.startswith("$ ")]
    return [re.sub(r"\s{2,}# .*$", "", line).strip() for line in lines]


def why_not(command: str) -> str | None:
    """Why a command is not run here; None for one that is."""
    return next((why for pattern, why in NOT_RUN.items() if re.fullmatch(pattern, command)), None)


@dataclass
class Reader:
    """Somebody who types what docs/setup.md says, and fills in what it asks for."""

    folder: Path
    stack: Stack
    installed: Installed
    owner: str = field(default_factory=lambda: str(Account.create().address))
    ledger: str = ""
    started: dict[str, asyncio.subprocess.Process] = field(default_factory=dict)

    def environment(self, command: str) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("LANG", "SSL_CERT_FILE") if name in os.environ}
        path = f"{self.installed.programs(command)}:{os.environ['PATH']}"
        given = {"OWNER": self.owner, "LEDGER": self.ledger, "RPC_URL": self.stack.rpc_url}
        return {**kept, **given, "PATH": path, "HOME": str(self.folder)}

    async def types(self, command: str, *, fails: bool = False) -> str:
        """Runs a command to its end; what it printed."""
        process = await asyncio.create_subprocess_exec(
            *("bash", "-c", command),
            cwd=self.folder,
            env=self.environment(command),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            said, _ = await asyncio.wait_for(process.communicate(), PATIENCE_S)
        finally:
            end(process)
        text = said.decode()
        assert (process.returncode != 0) is fails, f"{command}\n{text}"
        assert "Traceback" not in text, f"{command}\n{text}"
        return text

    async def keeps_running(self, command: str) -> None:
        """Starts a command that does not end, and waits until it works."""
        log = self.folder / f"{command.replace(' ', '-')}.log"
        with log.open("wb") as file:
            self.started[command] = await asyncio.create_subprocess_exec(
                *("bash", "-c", f"exec {command}"),
                cwd=self.folder,
                env=self.environment(command),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        async with asyncio.timeout(PATIENCE_S):
            while ENDLESS[command] not in log.read_text():
                assert self.started[command].returncode is None, log.read_text()
                await asyncio.sleep(0.2)

    async def stops_all(self) -> dict[str, int]:
        """Ctrl-C in every terminal; exit statuses."""
        for process in self.started.values():
            process.send_signal(signal.SIGINT)
        async with asyncio.timeout(PATIENCE_S):
            return {command: await process.wait() for command, process in self.started.items()}

    def fills_in(self, **settings: str) -> None:
        """Puts settings into .env, as docs/setup.md asks."""
        path = self.folder / ".env"
        lines = [line for line in path.read_text().splitlines() if line.split("=")[0] not in settings]
        path.write_text("\n".join([*lines, *(f"{name}={value}" for name, value in settings.items()), ""]))

    async def sends_coin(self, address: str) -> None:
        """From the embedded chain's own account, which has all of it."""
        node = Node(self.stack.rpc_url)
        rich = open_key_file(self.stack.key_file)
        try:
            fees, nonce = await node.fees(), await node.nonce(rich.address)
            transfer = {"to": node.checksum(address), "value": COIN, "data": b"", "gas": 21_000, "nonce": nonce}
            price = {"maxFeePerGas": fees.maximum, "maxPriorityFeePerGas": fees.tip}
            signed = await rich.sign({**transfer, **price, "chainId": await node.chain_id()})
            await node.send(signed.raw)
            assert (await node.wait(signed.tx, timeout_s=PATIENCE_S)).ok
        finally:
            await node.close()


def end(process: asyncio.subprocess.Process) -> None:
    """The command and whatever it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What a newcomer has after `git clone`."""
    return clone_into(tmp_path / "flock")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Installed]:
    """The bot's machine and a worker's, after the first two commands of docs/setup.md.

    They install two gigabytes. Where nobody asks for a long run, the environment of the tests serves as both.
    """
    if not pytestconfig.getoption("--long"):
        yield Installed(HERE, HERE, 'it takes minutes and seldom breaks; run it by `make test ARGS="--long"`')
        return
    folder = tmp_path_factory.mktemp("installed")
    yield install(folder, installs())
    shutil.rmtree(folder, ignore_errors=True)  # pytest would keep its two gigabytes for three runs


def installs() -> list[str]:
    """The install commands of docs/setup.md: the bot's, and a worker's."""
    found = [command for command in commands(SETUP) if command.startswith("pip install")]
    assert ["[worker]" in command for command in found] == [False, True]
    return found


@pytest.fixture
async def reader(clone: Path, tmp_path: Path, installed: Installed) -> AsyncIterator[Reader]:
    """A reader beside whom Discord, a video host and a chain answer: the embedded ones."""
    state = tmp_path / "services"
    state.mkdir(mode=0o700)
    supervisor = Supervisor(state)
    stack = Stack(state, supervisor)
    made = Reader(clone, stack, installed)
    try:
        await stack.open_services()
        yield made
    finally:
        for process in made.started.values():
            end(process)
            await process.wait()
        await supervisor.stop()


def accounts(text: str) -> Iterator[str]:
    """Addresses in a command's words."""
    return (found[0] for found in re.finditer(r"0x[0-9a-fA-F]{40}\b", text))


async def fill_in_services(reader: Reader) -> None:
    """Steps 3 to 6 of docs/setup.md, at the addresses of the embedded services."""
    taken = ("FLOCK_DISCORD_", "FLOCK_LIVEPEER_", "FLOCK_WATCH_PAGE", "FLOCK_RPC_URL", "FLOCK_VOTER_PEPPER")
    reader.fills_in(**{name: value for name, value in reader.stack.bot_env.items() if name.startswith(taken)})
    reader.fills_in(FLOCK_KEYSTORE="keys/relayer.json", FLOCK_KEYSTORE_PASSWORD="correct horse battery staple")


async def roles_are_apart(reader: Reader, relayer: str) -> None:
    """The ledger is the owner's, who can dismiss the relayer and not the other way round."""
    async with Ledger(reader.stack.rpc_url, reader.ledger) as ledger:
        assert await ledger.is_relayer(relayer)
        assert not await ledger.is_relayer(reader.owner)
        assert (await ledger.owner(), await ledger.guardian()) == (reader.owner, reader.owner)


async def test_every_command_of_the_setup_works(reader: Reader, capsys: pytest.CaptureFixture[str]) -> None:
    """From a fresh clone to a running bot and a clean audit, by the page's own commands in their own order.

    The bot's run where the page's first command has installed it, the worker's where the second one has.
    """
    left: dict[str, str] = {}
    ran: list[str] = []
    relayer = ""
    for command in commands(SETUP):
        why = reader.installed.why_not if command in installs() else why_not(command)
        if why is not None:
            left[command] = why
            continue
        first = command not in ran
        ran.append(command)
        if command in installs():
            assert HERE not in {reader.installed.bot, reader.installed.worker}  # that it worked, its fixture has seen
        elif command in ENDLESS:
            await reader.keeps_running(command)
        elif command == "flock doctor" and first:
            said = await reader.types(command, fails=True)
            assert "FLOCK_DISCORD_TOKEN" in said
            await fill_in_services(reader)
        elif command == "flock deploy --new-key":
            said = await reader.types(command)
            [relayer] = accounts(said)
            assert (reader.folder / "keys/relayer.json").stat().st_mode & 0o077 == 0
            await reader.types("flock deploy", fails=True)  # without coin
            await reader.sends_coin(relayer)
            assert "must be an address" in await reader.types("flock deploy --owner me", fails=True)
        elif command.startswith("flock deploy --owner"):
            said = await reader.types(command)
            reader.ledger = re.search(r"FLOCK_LEDGER_ADDRESS=(0x\w{40})", said)[1]  # type: ignore[index]
            reader.fills_in(FLOCK_LEDGER_ADDRESS=reader.ledger)
            await roles_are_apart(reader, relayer)
        elif command in EXPECTED:
            assert EXPECTED[command] in await reader.types(command)
        else:
            raise StrangeCommandError(command)
    assert set(EXPECTED) | set(ENDLESS) <= set(ran)
    assert await reader.stops_all() == dict.fromkeys(ENDLESS, 0)
    tell(capsys, SETUP, ran, left)


EXPECTED = {
    "cp .env.example .env && chmod 600 .env && mkdir -m 700 keys": "",
    "flock doctor": "✓ ledger",
    "flock deploy --verify": "is this version's VoteLedger",
    "flock migrate": "up to date",
    "flock models": "tiny (FLOCK_MODEL_ID)",
    "flock worker --check": '"render_seconds"',
    "flock audit": "✓ 0 votes",
    'flock audit --rpc "$RPC_URL" --ledger "$LEDGER"': "✓ 0 votes",
}


async def runs(programs: Path, folder: Path, command: str, **settings: str) -> tuple[int, str]:
    """What a command of a machine does in a folder that holds nothing of ours."""
    folder.mkdir(exist_ok=True)
    process = await asyncio.create_subprocess_exec(
        *("bash", "-c", command),
        cwd=folder,
        env={"PATH": f"{programs}:{os.environ['PATH']}", "HOME": str(folder), **settings},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    return process.returncode or 0, said.decode()


@pytest.fixture
def clean_machines(installed: Installed) -> None:
    """Skip a test where the programs are ours: those have every package."""
    if installed.why_not is not None:
        pytest.skip(f"Nothing was installed: {installed.why_not}.")


@pytest.mark.usefixtures("clean_machines")
async def test_the_bots_machine_needs_no_package_of_a_worker(reader: Reader, tmp_path: Path) -> None:
    """It has none of them, tells what a round costs all the same, and what to install for a worker."""
    bot, folder = reader.installed.bot, tmp_path / "empty"
    for package in ("av", "cryptography", "numpy", "torch", "boto3", "eth"):
        status, said = await runs(bot, folder, f"python -c 'import {package}'")
        assert (status, f"No module named '{package}'" in said) == (1, True)
    assert await runs(bot, folder, "pip check") == (0, "No broken requirements found.\n")
    [costs] = re.findall(r"`(flock costs .*?)`", (ROOT / SETUP).read_text())
    status, said = await runs(bot, folder, costs, FLOCK_RPC_URL=reader.stack.rpc_url)
    assert (status, "On chain 31431 now" in said) == (0, True), said
    for command in ("flock worker", "flock doctor --worker", "flock rerender card.json"):
        status, said = await runs(bot, folder, command)
        assert (status, remedy("worker") in said, "Traceback" in said) == (1, True, False), said


@pytest.mark.usefixtures("clean_machines")
async def test_a_workers_machine_renders_with_what_was_installed(installed: Installed, tmp_path: Path) -> None:
    """Doctor is content, and a video that we rendered comes out again, bit by bit."""
    worker, folder = installed.worker, tmp_path / "empty"
    assert await runs(worker, folder, "pip check") == (0, "No broken requirements found.\n")
    status, said = await runs(worker, folder, "flock doctor --worker")
    assert (status, "✓ libraries: torch" in said) == (0, True), said
    (folder / "models.toml").write_text(MODELS)
    (folder / "card.json").write_text(await card_of(tmp_path / "data", folder / "models.toml"))
    status, said = await runs(worker, folder, "flock rerender card.json", FLOCK_MODELS_FILE="models.toml")
    assert (status, said.startswith("The frames are the same, bit by bit.")) == (0, True), said


def test_every_command_of_contributing_works(clone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What CONTRIBUTING.md has a contributor type leaves a fresh clone as it was, or is said not to be run here."""
    left = {command: why for command in commands("CONTRIBUTING.md") if (why := why_not(command))}
    ran = [command for command in commands("CONTRIBUTING.md") if command not in left]
    (clone / ".venv").symlink_to(Path(sys.executable).parents[1])
    before = (clone / ".env.example").read_text()
    for command in ran:
        run = subprocess.run(["bash", "-c", command], cwd=clone, capture_output=True, text=True, timeout=PATIENCE_S)
        assert run.returncode == 0, run.stderr
    assert ran
    assert (clone / ".env.example").read_text() == before
    tell(capsys, "CONTRIBUTING.md", ran, left)


def tell(capsys: pytest.CaptureFixture[str], name: str, ran: list[str], left: dict[str, str]) -> None:
    """Past pytest's capture: whoever reads the run sees what was not tried."""
    with capsys.disabled():
        print(f"\n{name}: {len(ran)} of {len(ran) + len(left)} commands are run; not:")  # noqa: T201
        for command, why in left.items():
            print(f"  $ {command}  ({why})")  # noqa: T201


def test_torch_is_installed_as_make_does() -> None:
    """Every `make` fetches torch by the words of docs/setup.md, so a worker has it here beforehand."""
    [by_setup] = re.findall(r'pip install ("\S*\$\(.*?\)") && ', installs()[1])
    makefile = (ROOT / "Makefile").read_text().replace("$$", "$")
    assert by_setup == "\"$(grep '^torch==' requirements.lock)\""
    assert re.search(rf"pip install( --\S+)* {re.escape(by_setup)}", makefile)


@pytest.mark.parametrize("name", FOLLOWED)
def test_what_is_not_run_names_what_there_is(name: str) -> None:
    """Targets of the Makefile, options of the demo, extras of the package, profiles of the compose file, tests."""
    checked = 0
    for command in commands(name):
        if why_not(command) is None and not command.startswith("pip "):  # which is not run without a registry
            continue
        assert problems(command) == [], command
        checked += 1
    assert checked > 1
    if name in {"README.md", "docs/demo.md"}:  # which nobody follows to the end, as the others are
        assert checked == len(commands(name))


@pytest.mark.parametrize(
    "command",
    [
        "make demo ARGS='--one'",
        "make tset",
        'pip install ".[workers]"',
        "docker compose --profile bots up",
        "docker build --target demos .",
        "docker run -p 127.0.0.1:8765:80 flock-demo",
        "demo-venv/bin/pip install flock[demos]",
        "demo-venv/bin/flock demos",
        ".venv/bin/python -m pytest tests/nowhere",
    ],
)
def test_a_command_that_cannot_work_is_noticed(command: str) -> None:
    """The check above can fail."""
    assert problems(command) or (why_not(command) is None and not command.startswith("pip "))


def problems(command: str) -> list[str]:
    """What a command that is not run names and the repository does not have."""
    words = shlex.split(command)
    found = []
    if words[0] == "make":
        found += [words[1]] if not re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE) else []
        options = [word.removeprefix("ARGS=") for word in words[2:]]
        if words[1] == "demo":
            with contextlib.suppress(SystemExit):
                build_parser().parse_args(["demo", *(part for option in options for part in shlex.split(option))])
                options = []
            found += options
    elif words[0] == "pip":
        project = (ROOT / "pyproject.toml").read_text()
        extras = re.findall(r"\.\[(\w+)\]", command)
        found += [extra for extra in extras if not re.search(rf"^{extra} = \[", project, re.MULTILINE)]
    elif words[0] == "docker":
        profiles = re.findall(r"--profile (\w+)", command)
        found += [one for one in profiles if f"profiles: [{one}]" not in (ROOT / "compose.yaml").read_text()]
        dockerfile = (ROOT / "Dockerfile").read_text()
        targets = re.findall(r"--target (\w+)", command)
        found += [target for target in targets if not re.search(rf" AS {target}$", dockerfile, re.MULTILINE)]
        ports = re.findall(r"-p 127\.0\.0\.1:(\d+):(\d+)", command)
        found += [inside for outside, inside in ports if outside != inside or f"EXPOSE {inside}\n" not in dockerfile]
    elif words[0].startswith("demo-venv/"):
        project = (ROOT / "pyproject.toml").read_text()
        found += [extra for extra in re.findall(r"flock\[(\w+)\]", command) if f"\n{extra} = [" not in project]
        if words[0] == "demo-venv/bin/flock":
            with contextlib.suppress(SystemExit):
                build_parser().parse_args(words[1:])
                return found
            found += words[1:]
    else:
        found += [word for word in words if word.startswith("tests") and not (ROOT / word).exists()]
    return found
