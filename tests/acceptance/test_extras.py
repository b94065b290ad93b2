"""Every command, started where only the packages are that one install brings: it works, or says what to install."""

from __future__ import annotations

import argparse
import ast
import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from bot.__main__ import build_parser
from generation.extras import EXTRAS, install
from tests.acceptance.environments import ROOT, brought, images, make, modules_of, project
from tests.builders.command_line import complete, free_port

PACKAGES = ("bot", "generation", "contracts", "migrations")
# What needs an extra to be imported at all: the demo's embedded services, what renders, tunes and uploads, and the dev
# chain.
NEED_EXTRAS = {
    "bot.demo",
    "generation.tiny.training",
    *(f"generation.hosting.{name}" for name in ("hls", "min_duration", "s3_upload")),
    *(
        f"generation.feedback.{name}"
        for name in ("best_of", "community", "denoisers", "scoring", "tensor_files", "tuning")
    ),
    "generation.training.worker",
    *(f"generation.render.{name}" for name in ("child", "denoise", "progress")),
    *(f"generation.video.{name}" for name in ("c2pa_manifest", "certificates", "encode", "finalize", "watermark")),
    *(f"generation.worker.{name}" for name in ("file_transfers", "learning", "uploads", "worker")),
}
IMPORT_ALL = f"""
import importlib, json, pkgutil
failed = {{}}
for package in {PACKAGES!r}:
    path = importlib.import_module(package).__path__
    for module in pkgutil.walk_packages(path, package + ".", onerror=lambda name: None):
        if module.name.startswith("migrations.versions") or module.name in ("migrations.env",):
            continue  # Alembic's, who runs them
        try:
            importlib.import_module(module.name)
        except ModuleNotFoundError as error:
            failed[module.name] = error.name
print(json.dumps(failed))
"""

HELP_OF_ALL = """
import contextlib, io, json, sys
from bot.__main__ import main
shown = {}
for command in sys.argv[1:]:
    with contextlib.redirect_stdout(io.StringIO()) as text:
        try:
            main([command, "--help"])
        except SystemExit as end:
            shown[command] = (end.code, text.getvalue())
print(json.dumps(shown))
"""

# Of the looks of `flock doctor --worker` the one at the model alone: that at the libraries imports torch.
LOOK_AT_MODEL = """
import asyncio
from bot.doctor import worker
from bot.doctor.report import look_at, render
from bot.settings import read_settings
looks = [look for look in worker.LOOKS if look.name == "model"]
print(render(asyncio.run(look_at(read_settings().settings, looks)), as_json=False))
"""


@dataclass(frozen=True)
class Start:
    """A command line, and how it ends where only the base is installed."""

    words: str
    status: int
    says: str
    settings: dict[str, str] = field(default_factory=dict)


S3 = {
    "FLOCK_VIDEO_HOST": "s3",
    "FLOCK_S3_BUCKET": "b",
    "FLOCK_S3_PUBLIC_URL": "http://127.0.0.1:9/{key}",
    "FLOCK_S3_ENDPOINT": "http://127.0.0.1:9",
    "FLOCK_S3_ACCESS_KEY": "k",
    "FLOCK_S3_SECRET_KEY": "s",
}
AWS = {
    "FLOCK_SIGNER": "aws-kms:alias/flock",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    "AWS_CONFIG_FILE": "/dev/null",
}
KEY_VERSION = "projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1"
GOOGLE = {"FLOCK_SIGNER": f"gcp-kms:{KEY_VERSION}", "NO_GCE_CHECK": "true"}

TRAIN, WORKER = install("train"), install("worker")

# Every command at least once, each in a folder with a database and a backup of it, and with `complete` settings.
STARTS = [
    Start("demo --once", 1, f"The demo needs accelerate, av, c2pa-python and 12 more packages, {install('demo')}"),
    Start("run", 1, "Discord cannot be reached"),
    Start("run", 1, f"FLOCK_VIDEO_HOST=s3 needs boto3, which is not installed. Run: {install('s3')}", S3),
    Start("worker", 1, f"The worker needs accelerate, av, c2pa-python and 10 more packages, {install('worker')}"),
    Start("worker --check", 1, f"The worker needs {install('worker')}"),
    Start("workers", 0, "No worker is running"),
    Start("models", 0, "tiny (FLOCK_MODEL_ID)"),
    Start("models --families", 0, "Wan (WanPipeline)"),
    Start("rerender card.json", 1, f"Rendering a video again needs {install('worker')}"),
    Start(
        "export --out votes",
        1,
        f"The export needs huggingface-hub and pyarrow, which are not installed. Run: {install('export')}",
    ),
    Start("train votes --out candidate", 1, f"Tuning needs {TRAIN}"),
    Start("retrain RELEASE.json --data votes", 1, f"Repeating a release needs {TRAIN}"),
    Start("migrate", 0, "The database is up to date."),
    Start("doctor", 1, "✓ settings ✓ database ✗ video host ✓ relayer's key ✗ ledger"),
    Start("doctor", 1, f"✗ video host: … needs boto3 … → Run: {install('s3')} {install('kms-aws')}", {**S3, **AWS}),
    Start("doctor", 1, f"✗ relayer's key: FLOCK_SIGNER=gcp-kms needs an extra: {install('kms-gcp')}", GOOGLE),
    Start("doctor --worker", 1, f"✓ model ✗ libraries: The worker needs accelerate → Run: {install('worker')} ✓ keys"),
    Start("backup another.db", 0, "holds 0 videos and 0 votes"),
    Start("restore backup.db", 0, "is now the backup"),
    Start("deploy", 1, "The chain does not answer"),
    Start("deploy", 1, f"FLOCK_SIGNER=aws-kms needs an extra: {install('kms-aws')}", AWS),
    Start("deploy --verify", 1, "The chain does not answer"),
    Start("audit --rpc {nobody} --ledger 0x1111111111111111111111111111111111111111", 2, "The chain does not answer"),
    Start("costs --voters 10 --videos 2", 0, "On Arbitrum One, on paper", {"FLOCK_RPC_URL": ""}),
]


def commands(parser: argparse.ArgumentParser | None = None) -> list[str]:
    """Every subcommand of `flock`, as its own parser has them."""
    [found] = [each for each in (parser or build_parser())._actions if isinstance(each, argparse._SubParsersAction)]
    return list(found.choices)


def modules_that_run() -> list[str]:
    """Every module that `python -m` starts: those that say so, and no `__main__` of a package less."""
    paths = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    found = [path for path in paths if any(map(is_an_entry, ast.parse(path.read_text()).body))]
    assert {path for path in paths if path.name == "__main__.py"} <= set(found)
    return [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__") for path in found]


def is_an_entry(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.If) and "__name__ == '__main__'" in ast.unparse(statement.test)


Environment = Callable[..., Path]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The python of an environment with what these requirements bring, made once."""
    made: dict[tuple[str, ...], Path] = {}

    def of(*wanted: str) -> Path:
        if wanted not in made:
            made[wanted] = make(tmp_path_factory.mktemp("environment"), *wanted)
        return made[wanted]

    return of


@pytest.fixture(scope="module")
def base(environment: Environment) -> Path:
    """As `pip install .` leaves it."""
    return environment("flock")


@pytest.fixture(scope="module")
def database(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `flock migrate` makes of nothing, with only the base."""
    folder = tmp_path_factory.mktemp("database")
    said = start(base, folder, "-m", "bot", "migrate")
    assert said.returncode == 0, said.stderr
    return folder / "data" / "flock.db"


def start(python: Path, folder: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    return subprocess.run(
        [str(python), *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
        cwd=folder,
        env={**kept, **settings},
    )


def says_in_order(text: str, wanted: str) -> bool:
    """Whether each word of `wanted` is in the text, one after the other; what stands between them is left open."""
    place = 0
    for word in wanted.replace("…", "").split():
        place = text.find(word, place)
        if place < 0:
            return False
        place += len(word)
    return True


# --------------------------------------------------------------------------- what is here, and what is not


@pytest.mark.parametrize("name", sorted(EXTRAS))
def test_what_an_extra_brings_is_not_there_without_it(environment: Environment, base: Path, name: str) -> None:
    """The environments can tell: each package of the extra is found with it, and none of them in the base."""
    script = f"""
import importlib.util, json
def here(module):
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False
print(json.dumps([here(module) for module in {sorted(EXTRAS[name].values())!r}]))
"""
    found = {
        python: json.loads(start(python, ROOT, "-c", script).stdout) for python in (base, environment(f"flock[{name}]"))
    }
    assert [set(each) for each in found.values()] == [{False}, {True}]
    said = start(base, ROOT, "-c", f"import {next(iter(EXTRAS[name].values()))}")
    assert (said.returncode, "ModuleNotFoundError" in said.stderr) == (1, True)


def test_base_and_extras_have_no_module_in_common() -> None:
    """What only an extra brings is all of it left out: nothing of it hides behind a name that the base has as well."""
    ours = brought("flock")
    assert {"discord-py", "web3", "flock"} <= set(ours)
    for extra in project()["optional-dependencies"]:
        more = set(brought(f"flock[{extra}]")) - set(ours)
        assert more
        assert modules_of(more) & modules_of(ours) == set(), extra


def test_each_module_can_be_imported_but_those_that_are_known_to_need_an_extra(base: Path) -> None:
    """The bot and the contracts need nothing of a worker's to be imported; what needs an extra is written down here."""
    said = start(base, ROOT, "-W", "ignore", "-c", IMPORT_ALL)
    assert said.returncode == 0, said.stderr
    failed: dict[str, str] = json.loads(said.stdout)
    assert not set(failed.values()) & modules_of(brought("flock"))
    beyond = [name for name in failed if not any(f"{name}.".startswith(f"{known}.") for known in NEED_EXTRAS)]
    assert beyond == []
    assert [known for known in NEED_EXTRAS if not any(f"{name}.".startswith(f"{known}.") for name in failed)] == []


# --------------------------------------------------------------------------- the commands


def test_no_command_is_left_out() -> None:
    """Each one that the parser knows is started below, and a new one would be missed."""
    assert {each.words.split()[0] for each in STARTS} == set(commands())
    parser = argparse.ArgumentParser()
    parser.add_subparsers().add_parser("new")
    assert commands(parser) == ["new"]


def test_help_is_shown(base: Path, tmp_path: Path) -> None:
    """It needs nothing but the base."""
    said = start(base, tmp_path, "-m", "bot", "--help")
    assert (said.returncode, said.stderr) == (0, "")
    assert said.stdout.startswith("usage: flock")


def test_help_of_each_command_is_shown(base: Path, tmp_path: Path) -> None:
    """It needs nothing but the base either. One process shows them all: each would take a second to start."""
    said = start(base, tmp_path, "-c", HELP_OF_ALL, *commands())
    assert (said.returncode, said.stderr) == (0, "")
    shown: dict[str, tuple[int, str]] = json.loads(said.stdout)
    assert list(shown) == commands()
    for command, (status, text) in shown.items():
        assert (status, text.startswith(f"usage: flock {command}")) == (0, True), command


@pytest.mark.parametrize("case", STARTS, ids=lambda case: f"{case.words} {' '.join(case.settings)[:20]}".strip())
def test_a_command_works_or_says_what_to_install(base: Path, database: Path, tmp_path: Path, case: Start) -> None:
    """One sentence with the command that helps, where an extra is needed; no trace of the program in any case."""
    settings = {**complete(tmp_path), **case.settings}
    (tmp_path / "data").mkdir(mode=0o700)
    for copy in ("data/flock.db", "backup.db"):
        shutil.copy(database, tmp_path / copy)
    words = case.words.format(nobody=f"http://127.0.0.1:{free_port()}")
    said = start(base, tmp_path, "-m", "bot", *shlex.split(words), **settings)
    text = said.stdout + said.stderr
    assert "Traceback" not in text
    assert "ModuleNotFoundError" not in text
    assert said.returncode == case.status, text
    assert says_in_order(text, case.says), text


@pytest.mark.parametrize(
    ("command", "extra"), [("worker --check", "worker"), ("doctor --worker", "worker"), ("demo --help", "demo")]
)
def test_with_its_extra_a_command_asks_for_nothing_more(
    environment: Environment, tmp_path: Path, command: str, extra: str
) -> None:
    """The negative twin: the sentence is there because of what is missing, and goes with it."""
    settings = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    said = start(environment(f"flock[{extra}]"), tmp_path, "-m", "bot", *command.split(), **settings)
    assert said.returncode == 0, said.stdout + said.stderr
    assert "pip install" not in said.stdout + said.stderr


def test_a_worker_without_what_adapters_need_is_told_so(environment: Environment, tmp_path: Path) -> None:
    """Before it loads anything, where peft alone was taken away; a model without adapters does not need it."""
    packages = [each for each in project()["optional-dependencies"]["worker"] if not each.startswith("peft")]
    python = environment("flock", *packages)
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "model_index.json").write_text('{"_class_name": "WanPipeline"}')
    plain = f'[models.mine]\nsource = "{tmp_path}/m"\nrevision = "{"0" * 40}"\n'
    adapter = f'[[models.mine.adapters]]\nsource = "{tmp_path}/m"\nweight_name = "a.safetensors"\n'
    settings = {"FLOCK_MODELS_FILE": "models.toml", "FLOCK_MODEL_ID": "mine"}
    doctor, look = ("-m", "bot", "doctor", "--worker"), ("-c", LOOK_AT_MODEL)
    for text, arguments, wanted in (
        (plain, look, "✓ model: mine"),
        (plain + adapter, look, f"✗ model: mine has adapters → {WORKER}"),
        (plain + adapter, doctor, f"✗ model: mine has adapters → {WORKER}"),
    ):
        (tmp_path / "models.toml").write_text(text)
        said = start(python, tmp_path, *arguments, **settings)
        assert says_in_order(said.stdout, wanted), said.stdout + said.stderr
        assert (WORKER in said.stdout) is (text != plain)
    (tmp_path / "models.toml").write_text(plain + adapter)
    said = start(environment("flock[worker]"), tmp_path, *look, **settings)
    assert WORKER not in said.stdout


# --------------------------------------------------------------------------- python -m, and the images


@pytest.mark.parametrize("module", [name for name in modules_that_run() if name != "bot"])
def test_what_python_starts_says_what_it_needs(base: Path, tmp_path: Path, module: str) -> None:
    """Each `python -m` of the house. The render child alone speaks to its worker only, which looks before it starts."""
    own = {"generation.tiny": ["measure"], "generation.feedback": ["order.json"]}
    arguments = own.get(module, ["--state", str(tmp_path)])
    said = start(base, tmp_path, "-m", module, *arguments, FLOCK_DEMO_BOT_TOKEN="b", FLOCK_DEMO_CONTROL_TOKEN="c")
    if module == "generation.feedback.best_of":
        assert "No module named" in said.stderr
        return
    assert said.returncode in {1, 2}
    assert said.stdout == ""
    if module == "contracts.audit.standalone":  # a stranger's one file, which knows nothing of FLock's extras
        assert said.stderr.startswith("usage: ")
        return
    assert said.stderr.count("\n") == 1
    assert says_in_order(said.stderr, "needs not installed. Run: pip install 'flock[")


def test_every_module_that_runs_is_known() -> None:
    """They are found in the sources, so that a new one is tried as well."""
    known = {
        "bot",
        "bot.demo.discord",
        "bot.demo.chain",
        "contracts.audit.standalone",
        "contracts.compile",
        "generation.feedback",
        "generation.feedback.best_of",
        "generation.tiny",
    }
    assert set(modules_that_run()) == {*known, "bot.demo.host"}


def test_the_bots_image_has_what_its_settings_ask_for(environment: Environment, tmp_path: Path) -> None:
    """With what its stage installs, a bucket and both key services are asked, and nothing is to be installed."""
    python = environment(*images()["bot"])
    for more in ({**S3, **AWS}, GOOGLE):
        said = start(python, tmp_path, "-m", "bot", "doctor", **complete(tmp_path), **more)
        text = said.stdout + said.stderr
        assert says_in_order(text, "✓ settings ✓ database ✗ video host → ✗ ledger"), text
        assert "pip install" not in text
        assert "Traceback" not in text


@pytest.mark.parametrize(
    ("image", "module"), [("bot", "bot"), ("worker", "bot"), ("chain", "bot.demo.chain"), ("demo", "bot")]
)
def test_an_image_can_start_what_it_is_for(environment: Environment, tmp_path: Path, image: str, module: str) -> None:
    """Of each stage's packages alone, its entry begins; the worker's has all that a worker and its adapters need."""
    python = environment(*images()[image])
    said = start(python, tmp_path, "-m", module, "--help")
    assert (said.returncode, said.stderr) == (0, "")
    if image == "worker":
        script = "from generation.extras import missing; print(missing('train'))"
        assert start(python, ROOT, "-c", script).stdout == "[]\n"
