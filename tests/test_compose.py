"""The containers: valid by their specification, as narrow as they can be, and made of what the project really has.

No container engine is needed, and so none of this shows that the images build; what runs in them is tried elsewhere.
"""

from __future__ import annotations

import ast
import copy
import inspect
import json
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import SecretStr

from bot.__main__ import build_parser
from bot.cli import worker as worker_command
from bot.monitoring import logs
from bot.settings import Settings

ROOT = Path(__file__).parents[1]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = [name for name, service in SERVICES.items() if "build" in service]
SECRET = {name for name, field in Settings.model_fields.items() if SecretStr.__name__ in str(field.annotation)}
KEYS = {f"FLOCK_{name.upper()}" for name in SECRET | {"keystore"}}
EXTRAS: dict[str, list[str]] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


def stages() -> dict[str, dict[str, list[str]]]:
    """The Dockerfile's stages: arguments by instruction, those of the stage they begin from included."""
    found: dict[str, dict[str, list[str]]] = {}
    current: dict[str, list[str]] = {}
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    for line in filter(None, text.splitlines()):
        word, rest = line.split(maxsplit=1)
        if word == "FROM":
            base, name = re.fullmatch(r"(\S+) AS (\S+)", rest).groups()  # type: ignore[union-attr]
            current = found[name] = copy.deepcopy(found.get(base, {}))
        else:
            current.setdefault(word, []).append(rest)
    return found


def starts(name: str) -> list[str]:
    """The command line that a service of ours runs."""
    stage = stages()[SERVICES[name]["build"]["target"]]
    command = SERVICES[name].get("command") or json.loads(stage["CMD"][-1])
    return [*json.loads(stage["ENTRYPOINT"][-1]), *command]


def is_valid(compose: Path) -> bool:
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(compose)]
    return subprocess.run(check, capture_output=True, timeout=120, check=False).returncode == 0


def too_wide(service: dict[str, Any]) -> list[str]:
    """What a service may do that it need not."""
    ports = [str(port) for port in service.get("ports", [])]
    rules = {
        "it can write to its image": service.get("read_only") is not True,
        "it keeps capabilities": service.get("cap_drop") != ["ALL"] or "cap_add" in service,
        "it can gain rights": "no-new-privileges:true" not in service.get("security_opt", []),
        "it runs as root": str(service.get("user", "root")).split(":")[0] in {"root", "0"},
        "it is privileged": bool(service.get("privileged"))
        or "host" in {service.get(k) for k in ("network_mode", "pid")},
        "it can fork without end": not service.get("pids_limit"),
        "it listens to the world": any(not port.startswith("127.0.0.1:") for port in ports),
        "it sees the host's files": any(
            str(volume).startswith((".", "/", "~")) for volume in service.get("volumes", [])
        ),
    }
    return [what for what, is_so in rules.items() if is_so]


def opens(service: dict[str, Any]) -> list[str]:
    """Everything by which a service might hold a key."""
    given = [
        name for name in service.get("environment", {}) if name in KEYS or re.search("PASSWORD|SECRET|TOKEN", name)
    ]
    files = [key for key in ("env_file", "secrets", "configs") if key in service]
    volumes = [volume for volume in service.get("volumes", []) if volume.split(":")[0] in {"keys", "chain"}]
    return [*given, *files, *volumes]


def reads(source: str) -> set[str]:
    """The settings that a piece of code reads."""
    found = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Attribute))
    return {each.attr for each in found if isinstance(each.value, ast.Name) and each.value.id == "settings"}


def hands_on(source: str) -> set[str]:
    """What a piece of code gives all settings to, which may read any of them."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    given = [(call, [*call.args, *(each.value for each in call.keywords)]) for call in calls]
    return {
        ast.unparse(call.func)
        for call, values in given
        if any(isinstance(value, ast.Name) and value.id == "settings" for value in values)
    }


def not_passed(service: dict[str, Any], wanted: set[str]) -> set[str]:
    """Settings that a service reads and its container never gets."""
    if service.get("env_file") == ".env":
        return set()
    return {name for name in wanted if f"FLOCK_{name.upper()}" not in service.get("environment", {})}


def extras(name: str) -> set[str]:
    """The extras with which a stage installs FLock, and those that these bring along."""
    found: set[str] = set()
    for line in stages()[name]["RUN"]:
        for wanted in re.findall(r"\.\[([\w,-]+)\]", line):
            found |= set(wanted.split(","))
    for each in sorted(found):
        for package in EXTRAS[each]:
            found |= set(inner[1].split(",")) if (inner := re.fullmatch(r"flock\[([\w,-]+)\]", package)) else set()
    return found


# --------------------------------------------------------------------------- the compose file


def test_the_file_is_what_the_specification_asks_for() -> None:
    """Checked against the Compose Specification's own JSON schema."""
    assert is_valid(ROOT / "compose.yaml")


@pytest.mark.parametrize("wrong", [{"read_onyl": True}, {"ports": "all"}, {"restart": 3}, {"healthcheck": []}])
def test_a_mistake_in_the_file_is_found(tmp_path: Path, wrong: dict[str, Any]) -> None:
    """A word that Compose does not know, or a value of another kind, does not pass."""
    (tmp_path / "compose.yaml").write_text(yaml.safe_dump({"services": {"bot": {"image": "x", **wrong}}}))
    assert not is_valid(tmp_path / "compose.yaml")


def test_each_part_has_its_profile() -> None:
    """Whoever names a profile gets that part and no other."""
    assert {name: service["profiles"] for name, service in SERVICES.items()} == {
        name: [name] for name in ("bot", "worker", "postgres", "chain")
    }


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_may_do_no_more_than_it_must(name: str) -> None:
    """Read-only, no capabilities, no root, loopback ports, named volumes."""
    assert too_wide(SERVICES[name]) == []


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_comes_back_and_says_how_it_is(name: str) -> None:
    """Restarted after a crash, healthy by its own word, with logs that do not fill the disk."""
    service = SERVICES[name]
    assert service["restart"] == "unless-stopped"
    assert service["healthcheck"]["test"][0] == "CMD"
    assert "max-size" in service["logging"]["options"]


@pytest.mark.parametrize(
    "change",
    [
        {"read_only": False},
        {"cap_add": ["SYS_ADMIN"]},
        {"security_opt": []},
        {"user": "0:0"},
        {"privileged": True},
        {"network_mode": "host"},
        {"ports": ["9464:9464"]},
        {"volumes": ["/var/run/docker.sock:/var/run/docker.sock"]},
    ],
)
def test_a_wide_service_is_noticed(change: dict[str, Any]) -> None:
    """Each of the rules above can be broken."""
    assert len(too_wide({**SERVICES["bot"], **change})) == 1


def test_what_listens_in_the_bots_container_is_published() -> None:
    """Metrics, signing page and webhook: on the host's loopback, at the numbers that the documents give."""
    bot = SERVICES["bot"]
    listening = {name for name, value in bot["environment"].items() if name.endswith("_HOST") and value == "0.0.0.0"}  # noqa: S104  # read, and not bound
    assert listening == {"FLOCK_METRICS_HOST", "FLOCK_PAGE_HOST", "FLOCK_WEBHOOK_HOST"}
    hosts = {
        name
        for name in Settings.model_fields
        if name.endswith("_host") and name.replace("_host", "_port") in Settings.model_fields
    }
    assert {f"FLOCK_{name.upper()}" for name in hosts} == listening
    published = {str(port).split(":")[1] for port in bot["ports"]}
    assert all(
        str(port).split(":")[0] == "127.0.0.1" and len(set(str(port).split(":")[1:])) == 1 for port in bot["ports"]
    )
    rows = re.findall(r"^\| .+ \| `FLOCK_\w+_PORT` \| `(FLOCK_\w+)` \| .*?(94\d\d)", operations(), re.MULTILINE)
    assert dict(rows).keys() == listening
    assert set(dict(rows).values()) == published


def operations() -> str:
    return (ROOT / "docs" / "operations.md").read_text()


def test_the_worker_gets_no_key() -> None:
    """No token, key or pepper in its environment, no file of settings, no volume with a key in it."""
    assert opens(SERVICES["worker"]) == []
    assert SERVICES["worker"]["environment"].keys() & {"FLOCK_RPC_URL", "FLOCK_LEDGER_ADDRESS"} == set()


@pytest.mark.parametrize(
    "change",
    [
        {"environment": {"FLOCK_DISCORD_TOKEN": None}},
        {"environment": {"FLOCK_KEYSTORE": "/keys/relayer.json"}},
        {"env_file": ".env"},
        {"secrets": ["pepper"]},
        {"volumes": ["data:/data", "keys:/keys:ro"]},
    ],
)
def test_a_worker_with_a_key_is_noticed(change: dict[str, Any]) -> None:
    """Each way to hand it one is seen."""
    assert len(opens({**SERVICES["worker"], **change})) == 1


def test_the_worker_has_a_gpu_and_the_bot_has_none() -> None:
    """What renders gets the device, and nothing else does."""
    [device] = SERVICES["worker"]["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
    assert [name for name, service in SERVICES.items() if "deploy" in service] == ["worker"]


def test_database_and_chain_are_reached_from_inside_alone() -> None:
    """They have no password that is worth much, and no port on the host."""
    assert COMPOSE["networks"]["inside"]["internal"] is True
    for name in ("postgres", "chain"):
        assert SERVICES[name]["networks"] == ["inside"]
        assert "ports" not in SERVICES[name]


def test_every_setting_is_one_of_ours() -> None:
    """A variable that nobody reads would be a promise that nobody keeps."""
    known = {f"FLOCK_{name.upper()}" for name in Settings.model_fields}
    named = set(
        re.findall(r"\bFLOCK_[A-Z0-9_]+", (ROOT / "compose.yaml").read_text() + (ROOT / "Dockerfile").read_text())
    )
    assert "FLOCK_DATABASE_URL" in named
    assert named - known == set()


def test_a_service_gets_every_setting_that_it_reads() -> None:
    """The bot the whole file; the worker each name that its command reads, logging included."""
    source = inspect.getsource(worker_command)
    assert hands_on(source) == {"logs.start", "config_of"}  # what is given all of them has to be looked at here as well
    wanted = reads(source) | reads(inspect.getsource(logs.start))
    assert wanted >= {"database_url", "models_file", "c2pa_cert", "label_frames", "log_level", "metrics_port"}
    assert not_passed(SERVICES["worker"], wanted) == set()
    assert not_passed(SERVICES["bot"], set(Settings.model_fields)) == set()


@pytest.mark.parametrize("name", ["FLOCK_C2PA_CERT", "FLOCK_C2PA_KEY", "FLOCK_LABEL_FRAMES", "FLOCK_LOG_FORMAT"])
def test_a_setting_that_does_not_reach_the_worker_is_noticed(name: str) -> None:
    """A worker without it would sign with its own certificate, or leave out the label, and say nothing."""
    worker = copy.deepcopy(SERVICES["worker"])
    del worker["environment"][name]
    wanted = reads(inspect.getsource(worker_command)) | reads(inspect.getsource(logs.start))
    assert not_passed(worker, wanted) == {name.removeprefix("FLOCK_").lower()}


def test_how_settings_are_read_is_seen() -> None:
    """An attribute, and whatever is given all of them, by place or by name; other names are not settings."""
    assert reads("a(settings.one, x=settings.two.three, other=other.four)") == {"one", "two"}
    assert hands_on("a(settings)\nb.c(1, x=settings)\nd(settings.one)") == {"a", "b.c"}
    assert not_passed({"environment": {"FLOCK_ONE": None}}, {"one", "two"}) == {"two"}


def test_relative_names_of_the_settings_are_the_volumes() -> None:
    """The same .env serves beside the sources and here: data/ and keys/ are volumes of whoever uses them."""
    targets = {name: [str(v).split(":")[1] for v in SERVICES[name]["volumes"]] for name in ("bot", "worker", "chain")}
    assert targets == {"bot": ["/data", "/keys", "/chain"], "worker": ["/data"], "chain": ["/chain"]}
    assert {SERVICES[name]["working_dir"] for name in OURS} == {"/"}
    fields = Settings.model_fields
    assert str(fields["data_dir"].default) == "data"
    assert fields["database_url"].default == "sqlite:///data/flock.db"
    prepared = re.search(r"install -d -o flock -g flock -m 700 (.+)", (ROOT / "Dockerfile").read_text())
    assert prepared is not None
    assert prepared[1].split() == ["/data", "/keys", "/chain"]
    used = {str(volume).split(":")[0] for service in SERVICES.values() for volume in service["volumes"]}
    assert used == set(COMPOSE["volumes"])


# --------------------------------------------------------------------------- the images


@pytest.mark.parametrize("name", OURS)
def test_a_service_runs_what_there_is(name: str) -> None:
    """Its stage exists, leaves root before it starts, and starts a command that we have."""
    stage = stages()[SERVICES[name]["build"]["target"]]
    assert stage["USER"] == ["flock"]
    command = starts(name)
    if command[0] == "flock":
        assert callable(build_parser().parse_args(command[1:]).command)
    else:
        assert command[:3] == ["python", "-m", "bot.demo.chain"]


def test_an_image_has_what_its_settings_may_ask_for() -> None:
    """Every video host, signer and data set in the bot's, adapters in the worker's; the demo and our tools are left."""
    assert extras("bot") == {"s3", "kms-aws", "kms-gcp", "export"}
    assert extras("worker") == {"train", "worker", "export"}
    assert set(EXTRAS) - extras("bot") - extras("worker") == {"demo", "dev"}
    assert extras("demo") == {"demo", "worker"}
    assert any(package.startswith("peft") for extra in extras("worker") for package in EXTRAS[extra])
    assert not any(re.match("torch|diffusers", package) for extra in extras("bot") for package in EXTRAS[extra])


def test_the_demos_image_is_one_page_without_root() -> None:
    """It leaves root, publishes the port that its page listens on, and writes below its volume."""
    stage = stages()["demo"]
    assert stage["USER"] == ["flock"]
    words = [*json.loads(stage["ENTRYPOINT"][-1]), *json.loads(stage["CMD"][-1])]
    assert words[0] == "flock"
    options = build_parser().parse_args(words[1:])
    assert not ip_address(options.page[0]).is_loopback
    assert stage["EXPOSE"] == [str(options.page[1])]
    assert options.state.is_relative_to(stage["VOLUME"][0])


def test_a_command_that_we_do_not_have_is_noticed() -> None:
    """The check above can fail."""
    with pytest.raises(SystemExit):
        build_parser().parse_args(["dance"])


def test_images_are_built_by_pip_alone_from_what_is_sent() -> None:
    """No package manager of a distribution, no download, and every file that is copied passes .dockerignore."""
    sent = (ROOT / ".dockerignore").read_text().split()
    assert sent[0] == "*"
    for name, stage in stages().items():
        for line in stage["RUN"]:
            words = {shlex.split(part)[0] for part in re.split(r"&&", line)}
            assert words <= {"pip", "useradd", "install"}, name
        copied = [word for line in stage["COPY"] for word in line.split()[:-1]]
        assert all((ROOT / word).exists() and f"!{word}" in sent for word in copied)
    locked = (ROOT / "requirements.lock").read_text().splitlines()
    for package in re.findall(r"grep '\^([\w-]+)=='", (ROOT / "Dockerfile").read_text()):
        assert len([line for line in locked if line.startswith(f"{package}==")]) == 1


def test_the_chain_runs_as_its_container_runs_it(tmp_path: Path, unused_port: Callable[[], int]) -> None:
    """The image's own command line and the compose file's own health check, on another port and folder."""
    port = str(unused_port())
    changes = {"8545": port, "/chain": str(tmp_path / "chain"), "python": sys.executable}
    command = [changes.get(word, word) for word in starts("chain")]
    health = [word.replace("8545", port) for word in SERVICES["chain"]["healthcheck"]["test"][1:]]
    health[0] = sys.executable
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["ready"] is True
        assert subprocess.run(health, capture_output=True, timeout=60, check=False).returncode == 0
        process.terminate()
        assert process.wait(30) == 0
        assert subprocess.run(health, capture_output=True, timeout=60, check=False).returncode != 0
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def unused_port() -> Callable[[], int]:
    """A loopback port on which nobody listens."""
    import socket

    def find() -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return int(probe.getsockname()[1])

    return find
