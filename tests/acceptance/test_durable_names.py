"""Names that are data: what stands in databases, on Discord, on the ledger, in settings and on disk from before.

A file, a class or a function may be renamed; none of these may, because what an earlier release wrote is found by them.
They are listed by hand in `durable_names.toml`. What the code has is read from its objects where it has some, from its
source where it has none, and from a house that runs.
"""

from __future__ import annotations

import ast
import base64
import importlib
import json
import pkgutil
import re
import socket
import sqlite3
import tomllib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, get_args

import httpx
import pytest
from eth_utils.abi import abi_to_signature
from sqlalchemy.schema import Index, Table

import bot.cogs
from bot.demo.discord.interactions import SUBCOMMANDS
from bot.demo.discord.people import wait_for
from bot.domain.videos import chain_key, seed_of
from bot.domain.wallets import WalletState
from bot.settings import Settings
from contracts.ledger.typed_data import Domain, ballot_message, link_message, unlink_message
from contracts.outbox.entries import voter_id
from contracts.relayer.relayer import LEASE as RELAYER_LEASE
from generation.hosting.s3 import PLAYLIST, POSTER, STREAM, VIDEO
from generation.jobs import (
    BOT_QUEUE,
    BestOf,
    CandidateJob,
    FilmstripJob,
    JobEnd,
    OriginalJob,
    Phase,
    ReleaseName,
    RenderJob,
    RenderResult,
    TrainingJob,
    TrainingPhase,
    TrainingResult,
    UploadJob,
    candidates_queue,
    gpu_queue,
    originals_queue,
    release_queue,
    training_queue,
    upload_queue,
)
from generation.queue.portable_json import CANARY, PORTABLE, read_portable_json_only
from generation.queue.reaper import LEASES
from migrations.schema import metadata
from migrations.states.battles import BattleChoice, PairState, RoundKind
from migrations.states.community import (
    ReviewKind,
    ReviewState,
    RoundStatus,
    SigningKind,
    TrainingChoice,
    VideoStatus,
    VoteSource,
)
from migrations.states.learning import CandidateState, ReleaseState
from tests.builders.stack import Scenario, open_scenario

ROOT = Path(__file__).resolve().parents[2]
FILE = Path(__file__).with_name("durable_names.toml")
PINNED: dict[str, Any] = tomllib.loads(FILE.read_text())
# The functions whose first argument names a step. Where one is renamed, or another is written, it is named here.
STEP_CALLS = {"step", "_step", "_try", "_as_workflow"}
COLUMNS = {"kind", "state", "status"}  # those that hold words, which the code compares and writes


def pinned(section: str, found: Iterable[str]) -> None:
    """Fails unless the names found are exactly those that are pinned."""
    names, kept = set(found), set(names_of(section))
    missing, new = sorted(kept - names), sorted(names - kept)
    assert not missing, (
        f"{missing} of [{section}] in {FILE.name} are gone. They are data: what was written under them is lost or "
        "stuck. Never change an old name; put it back."
    )
    assert not new, (
        f"{new} are not in [{section}] of {FILE.name}. Add them to the list if they are new; never change an old one."
    )


def names_of(section: str) -> list[str]:
    """The names of a section, written `group.name` where it has groups."""
    part: Any = PINNED
    for word in section.split("."):
        part = part[word]
    if isinstance(part, list):
        return [str(name) for name in part]
    return [f"{group}.{name}" for group, names in part.items() for name in names]


# --------------------------------------------------------------------------- the source, wherever its files are


@cache
def product() -> tuple[ast.AST, ...]:
    """Every node of every file of the product: of all packages at the root but the tests."""
    packages = [folder.parent for folder in ROOT.glob("*/__init__.py") if folder.parent.name != "tests"]
    files = [file for package in packages for file in sorted(package.rglob("*.py"))]
    return tuple(node for file in files for node in ast.walk(ast.parse(file.read_text())))


def calls(*names: str) -> Iterator[ast.Call]:
    for node in product():
        if isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in names:
                yield node


@cache
def constants() -> dict[str, set[str]]:
    """The texts that are given to a name of a module or a class, by that name."""
    values: dict[str, set[str]] = {}
    for node in product():
        if isinstance(node, ast.Assign) and (text := word(node.value)) is not None:
            for target in node.targets:
                values.setdefault(getattr(target, "id", ""), set()).add(text)
    return values


def word(node: ast.AST) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def argument(call: ast.Call, place: int) -> set[str]:
    """The texts that an argument may be: itself, or what its constant holds."""
    if len(call.args) <= place:
        return set()
    given = call.args[place]
    if (text := word(given)) is not None:
        return {text}
    name = given.attr if isinstance(given, ast.Attribute) else getattr(given, "id", "")
    return constants().get(name, set()) if name.isupper() else set()


def texts() -> Iterator[str]:
    """Every text of the source; what is put into an f-string is `{}`."""
    parts = {id(part) for node in product() if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in product():
        if isinstance(node, ast.JoinedStr):
            yield "".join(word(part) or "{}" for part in node.values)
        elif (text := word(node)) is not None and id(node) not in parts:
            yield text


def texts_like(pattern: str) -> set[str]:
    return {text for text in texts() if re.fullmatch(pattern, text)}


def listed(nodes: Iterable[ast.AST]) -> list[ast.AST]:
    """The nodes, and in place of a tuple, list or set what is in it."""
    return [part for node in nodes for part in getattr(node, "elts", [node])]


def words_of_columns() -> Iterator[str]:
    """The words that are compared with a column of words, or written to one: `state == "final"`, `kind="vote"`."""
    for node in product():
        name, values = "", []
        if isinstance(node, ast.Compare) and isinstance(node.left, ast.Attribute):
            name, values = node.left.attr, [part for each in node.comparators for part in getattr(each, "elts", [each])]
        elif (
            isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in {"in_", "not_in"}
        ):
            name = getattr(node.func.value, "attr", "")
            values = [part for each in node.args for part in getattr(each, "elts", [])]
        elif isinstance(node, ast.keyword):
            name, values = node.arg or "", [node.value]
        if name in COLUMNS:
            yield from (f"{name}.{text}" for value in values if (text := word(value)) is not None)


# --------------------------------------------------------------------------- the durable engine


def test_workflows_and_steps_keep_their_names() -> None:
    """A life that is under way goes on under the names that began it."""
    pinned("engine.workflows", {name for call in calls("workflow") for name in argument(call, 0)})
    pinned("engine.steps", {name for call in calls(*STEP_CALLS) for name in argument(call, 0)})
    pinned("engine.topics", {name for call in calls("send_async") for name in argument(call, 2)})
    pinned("engine.topics", {name for call in calls("recv_async") for name in argument(call, 0)})
    assert not list(calls("set_event", "set_event_async", "get_event", "get_event_async")), "Pin the keys of events."


def test_ids_of_workflows_and_queues_keep_their_form() -> None:
    """What is looked for by its id is found; what waits in a queue has somebody who serves it."""
    of_trainings = r"candidate-\{\}-(file|training)-\{\}|training-\{\}|(battle|release)-of-candidate-\{\}"
    of_videos = r"(video|round|removal|review|closing|battle|battle-pair|filmstrip|release)-\{\}.*|\{\}-again-\{\}"
    pinned("engine.ids", texts_like(f"{of_videos}|{of_trainings}"))
    pinned(
        "engine.queues",
        {
            BOT_QUEUE,
            gpu_queue("large", "wan-14b"),
            release_queue("large", "wan-14b"),
            upload_queue("0a1b2c"),
            originals_queue("0a1b2c"),
            training_queue("large", "wan-14b"),
            candidates_queue("0a1b2c"),
        },
    )
    pinned("engine.leases", {RELAYER_LEASE, *LEASES.values()})
    assert PORTABLE == "portable_json"


def test_the_engines_guard_knows_where_it_is() -> None:
    """Its canary names its own module: with another name in it, an engine that unpickles would go unnoticed."""
    assert base64.b64decode(CANARY).startswith(f"c{read_portable_json_only.__module__}\n_decoded\n".encode())


def test_what_crosses_between_bot_and_worker_keeps_its_keys() -> None:
    """A job that an earlier bot queued is one that this worker reads, and the other way round."""
    kinds = (ReleaseName, BestOf, RenderJob, RenderResult, UploadJob, OriginalJob, JobEnd)
    kinds = (*kinds, TrainingJob, TrainingResult, CandidateJob, FilmstripJob)
    pinned("jobs", {f"{kind.__name__}.{field}" for kind in kinds for field in kind.__dataclass_fields__})
    pinned("engine.phases", (*get_args(Phase), *get_args(TrainingPhase)))


# --------------------------------------------------------------------------- the database


def columns(table: Table) -> Iterator[str]:
    yield from (f"{table.name}.{column.name}" for column in table.columns)


def test_tables_columns_and_indexes_keep_their_names() -> None:
    """A database of before has the tables that this code asks for."""
    tables = metadata.tables.values()
    pinned("tables", {name for table in tables for name in columns(table)})
    indexes: set[Index] = {index for table in tables for index in table.indexes}
    pinned("indexes", {str(index.name) for index in indexes})
    pinned("constraints", {str(rule.name) for table in tables for rule in table.constraints})


def test_revisions_of_the_schema_keep_their_ids() -> None:
    """A database names the revision that it has."""
    pinned("revisions", constants()["revision"])


def test_words_in_columns_stay() -> None:
    """A row that says `batched` is read as one that says `batched`.

    A word of the list is there where any text of the source is that word; one that is compared is to be on the list.
    """
    anywhere = set(texts())
    kept = {name for name in names_of("words.compared") if name.partition(".")[2] in anywhere}
    pinned("words.compared", {*words_of_columns(), *kept})
    kinds = {"video": VideoStatus, "round": RoundStatus, "review": ReviewState, "held": ReviewKind, "vote": VoteSource}
    kinds |= {"wallet": WalletState, "request": SigningKind, "training": TrainingChoice}
    kinds |= {"candidate": CandidateState, "release": ReleaseState}
    kinds |= {"pair": PairState, "choice": BattleChoice, "rounds": RoundKind}
    pinned("words.declared", {f"{name}.{text}" for name, kind in kinds.items() for text in kind})


def test_what_is_computed_from_ids_comes_out_the_same() -> None:
    """Keys and pseudonyms on the ledger name what they named; a repeated render has the same pictures."""
    computed = {
        "round": chain_key("round", 7, 1, 1_700_000_000_000),
        "video": chain_key("video", 1234567890123456789),
        "seed": str(seed_of("1234567890123456789")),
        "voter": voter_id(b"a pepper of sixteen bytes or more", 42, 43),
    }
    assert computed == PINNED["computed"], f"Rows and logs of before hold these values; see {FILE.name}."


# --------------------------------------------------------------------------- what others address


def test_settings_keep_their_names() -> None:
    """An operator's .env goes on saying what it said."""
    settings = {f"FLOCK_{name.upper()}" for name in Settings.model_fields}
    pinned("settings.product", settings)
    pinned("settings.demo", texts_like(r"FLOCK_[A-Z0-9_]+") - settings)


def test_buttons_and_forms_keep_their_ids() -> None:
    """A card that was posted years ago still answers: the router's routes know a button by the form of its id."""
    templates = [pattern.pattern for pattern in patterns_of_buttons()]
    pinned("buttons.ids", {form for template in templates for form in forms_of(template)})
    for example in PINNED["buttons"]["examples"]:
        assert sum(bool(re.fullmatch(template, example)) for template in templates) == 1, example
    for form in PINNED["buttons"]["forms"]:
        assert any(text.startswith(form) for text in texts()), f"A form that is open on Discord is known by {form!r}."


def patterns_of_buttons() -> Iterator[re.Pattern[str]]:
    """The regular expressions by which the routes of the router read the ids of pressed buttons."""
    for info in pkgutil.walk_packages(bot.cogs.__path__, "bot.cogs."):
        module = importlib.import_module(info.name)
        for kind in vars(module).values():
            if isinstance(kind, type) and kind.__module__ == module.__name__ and hasattr(kind, "pressed"):
                names = kind.pressed.__code__.co_names
                yield from (value for name in names if isinstance(value := vars(module).get(name), re.Pattern))


def forms_of(template: str) -> Iterator[str]:
    """The ids that a template matches, as `v1:up:`, for each of the actions that it names."""
    before, _, actions = template.partition("(?P<action>")
    if not actions:
        yield template.partition("(")[0]
    else:
        yield from (f"{before}{action}:" for action in actions.partition(")")[0].split("|"))


def test_what_is_looked_for_elsewhere_keeps_its_form() -> None:
    """An asset at the host, a file on a card and a post of a round are found again, and not made twice."""
    anywhere = set(texts())
    for section in ("elsewhere", "paths"):
        pinned(section, [name for name in names_of(section) if name in anywhere])
    pinned("nonces", {name for call in calls("_post_once") for name in argument(call, 3)})


def test_metrics_keep_their_names() -> None:
    """An operator's dashboards and alarms go on. Labels are pinned on a house that runs, below."""
    pinned("metrics.names", texts_like(r"flock_[a-z_]+") - set(PINNED["metrics"]["not_metrics"]))


def test_the_contract_keeps_its_names() -> None:
    """A ledger that was deployed before is read and written, and anybody's audit of it goes on."""
    [file] = [path for path in ROOT.glob("*/**/VoteLedger.json") if ".venv" not in path.parts]
    artefact = json.loads(file.read_text())
    pinned("contract.keys", artefact)
    signatures = {
        f"{part['type']} {abi_to_signature(part)}" for part in artefact["abi"] if part["type"] != "constructor"
    }
    pinned("contract.abi", signatures)
    assert artefact["runtime_keccak"] == PINNED["contract"]["runtime_keccak"]


def test_what_wallets_sign_keeps_its_names() -> None:
    """The contract hashes exactly these words, so a wallet's signature is for them alone."""
    domain, wallet = Domain(1, "0x" + "11" * 20), "0x" + "22" * 20
    messages = [
        link_message(domain, wallet, bytes(32), 0, 0),
        unlink_message(domain, wallet, bytes(32), 0, 0),
        ballot_message(domain, wallet, 1, [(1, 2)], 0, 0),
    ]
    fields = {
        f"{name}.{field['name']} {field['type']}"
        for message in messages
        for name, listed in message["types"].items()
        for field in listed
    }
    pinned("signed.fields", fields)
    pinned("signed.kinds", {message["primaryType"] for message in messages})
    domains = {f"{message['domain']['name']} {message['domain']['version']}" for message in messages}
    assert domains == {PINNED["signed"]["domain"]}


def test_files_at_the_store_keep_their_names() -> None:
    """Videos that lie in an S3 bucket are found, and deleted whole."""
    pinned("files.s3", {VIDEO, STREAM, PLAYLIST, POSTER})
    assert Settings.model_fields["s3_prefix"].default == "flock/"


def test_files_in_the_data_folder_keep_their_names() -> None:
    """A machine is known again by its name, and a render by the note beside it."""
    anywhere = set(texts())
    pinned("files.data", [name for name in names_of("files.data") if name in anywhere])


# --------------------------------------------------------------------------- a house that runs


async def test_a_running_house_shows_the_names_that_are_pinned(tmp_path: Path) -> None:
    """What Discord, the database, /metrics and the disk have of a house that runs."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    async with open_scenario(tmp_path, FLOCK_METRICS_PORT=str(port)) as scenario:
        await scenario.open_round()
        card = await scenario.post_card("a red circle")
        assert "is **up**" in (await scenario.ben.press(card, "Up")).text
        form = await scenario.ben.press(card, "Feedback")
        await look_at_discord(scenario, [button.custom_id for button in card.buttons], form.modal or {})
        look_at_metrics(await all_metrics(port))
        await scenario.close_round()
        look_at_database(tmp_path / "flock.db")
        look_at_disk(tmp_path)


async def look_at_discord(scenario: Scenario, buttons: list[str], form: Any) -> None:
    commands = (await scenario.community.world())["commands"]
    pinned("commands", {name for command in commands for name in spoken("", command)})
    pinned("shown", {re.sub(r":\d+$", ":{}", name) for name in buttons} | {re.sub(r":\d+$", ":{}", form["custom_id"])})
    fields = {part["component"]["custom_id"] for part in form["components"]}
    assert fields == {"text"}, "The bot reads a form of before by the id of its field."


def spoken(before: str, command: dict[str, Any]) -> Iterator[str]:
    """A command, its subcommands and its options, as `round open duration:3` (3 is Discord's kind of option)."""
    name = f"{before} {command['name']}".strip()
    parts = command.get("options", [])
    subcommands = [part for part in parts if part["type"] in SUBCOMMANDS]
    if not subcommands:
        yield name
    for part in parts:
        if part["type"] in SUBCOMMANDS:
            yield from spoken(name, part)
        else:
            yield f"{name} {part['name']}:{part['type']}"


async def all_metrics(port: int) -> str:
    """The text of /metrics, once it has what takes a while to be known."""

    async def look() -> str | None:
        async with httpx.AsyncClient() as client:
            text = (await client.get(f"http://127.0.0.1:{port}/metrics")).text
        return text if "flock_relayer_left_seconds" in text and "flock_gateway_latency_seconds" in text else None

    return await wait_for("all metrics", look, seconds=60)


def look_at_metrics(text: str) -> None:
    names = {name for name in re.findall(r"^# TYPE (\S+) \w+$", text, re.M) if not name.endswith("_created")}
    pinned("metrics.served", names)
    labels = {
        f"{name}.{label}={value}"
        for name, label, value in re.findall(r'^(\w+)\{(\w+)="([^"]+)"\}', text, re.M)
        if label not in {"le", "kind"}  # bounds; kinds of transactions, of which only those are there that were made
    }
    pinned("metrics.labels", labels)
    assert set(re.findall(r"^flock_batches_total\{(\w+)=", text, re.M)) <= {"kind"}


def look_at_database(path: Path) -> None:
    with sqlite3.connect(path) as database:

        def column(query: str) -> set[str]:
            return {str(row[0]) for row in database.execute(query)}

        assert column("SELECT name FROM workflow_status") <= set(names_of("engine.workflows"))
        theirs = {*names_of("engine.workflows"), *PINNED["engine"]["steps_of_dbos"]}
        assert column("SELECT function_name FROM operation_outputs") <= {*names_of("engine.steps"), *theirs}
        assert column("SELECT DISTINCT application_version FROM workflow_status") == {PINNED["engine"]["version"]}
        assert column("SELECT DISTINCT serialization FROM workflow_status") == {"portable_json"}
        forms = [re.escape(form).replace(r"\{\}", r"\d+") for form in names_of("engine.ids")]
        for workflow in column("SELECT workflow_uuid FROM workflow_status"):
            assert any(re.fullmatch(form, workflow) for form in forms), workflow
        assert column("SELECT name FROM leases") == set(names_of("engine.leases"))
        pinned("engine.roles", column("SELECT role FROM executor_leases"))
        for owner in column("SELECT executor_id FROM executor_leases"):
            assert re.fullmatch(r"(bot|worker)-.+-[0-9a-f]{8}", owner), owner
        assert column("SELECT kind FROM outbox") <= set(PINNED["words"]["compared"]["kind"])
        assert column("SELECT state FROM chain_transactions") <= set(PINNED["words"]["compared"]["state"])
        assert database.execute("SELECT version_num FROM alembic_version").fetchone()[0] == max(names_of("revisions"))


def look_at_disk(state: Path) -> None:
    ids = re.compile(r"[0-9]{15,}")
    files = (path.relative_to(state) for path in state.rglob("*") if path.is_file())
    ours = {
        ids.sub("{}", str(file)) for file in files if file.parts[0] != "logs" and file.parts[:2] != ("host", "media")
    }
    kept = {name for name in ours if not name.endswith(("-wal", "-shm", ".new"))}
    pinned("files.state", {name for name in kept if not name.startswith("data/models/tiny/")})
    pinned("files.demo_json", json.loads((state / "demo.json").read_text()))
    pinned("files.ledger_json", json.loads((state / "ledger.json").read_text()))
    pinned("files.world_json", json.loads((state / "discord" / "world.json").read_text()))
    [note] = (state / "data" / "videos").glob("*.json")
    pinned("files.rendered_json", json.loads(note.read_text()))
    pinned("files.card_json", json.loads(note.read_text())["result"]["provenance"])


# --------------------------------------------------------------------------- the twin: what a changed name does


def test_a_name_that_is_gone_and_a_new_one_are_both_told() -> None:
    """The list fails both ways, and says what to do about each."""
    kept = names_of("engine.leases")
    with pytest.raises(AssertionError, match="Never change an old name"):
        pinned("engine.leases", kept[1:])
    with pytest.raises(AssertionError, match="Add them to the list if they are new"):
        pinned("engine.leases", [*kept, "another"])
