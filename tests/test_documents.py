"""The documents: what they name is there, one word a thing, and nothing is promised that the code does not have."""

from __future__ import annotations

import fnmatch
import re
import subprocess
import tomllib
from pathlib import Path

import discord
import pytest

from bot.__main__ import build_parser
from bot.permissions import PERMISSIONS
from bot.settings import Settings

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
NAMES = [str(path.relative_to(ROOT)) for path in DOCUMENTS]

# One word a thing (docs/glossary.md). What stands on the left is said by the word on the right.
OTHER_WORDS = {
    r"movies?|films?|footage": "video",
    r"up-?votes?|down-?votes?|ballot box": "vote (up or down)",
    r"leader-?boards?|score-?boards?|rankings?": "standings",
    r"contests?|competitions?|tournaments?": "round",
    r"submissions?": "video, or prompt",
    r"duels?|face-?offs?|match-?ups?": "battle",
    r"(?:render|rendering|generation) tasks?|generation jobs?": "render job",
    r"GPU nodes?|render nodes?": "worker",
    r"media ids?|playback keys?|stream ids?": "playback id",
    r"voter hash(?:es)?|voter keys?": "voter id",
    r"oracles?|forwarders?|submitters?": "relayer",
    r"receipts? of payment|vouchers?": "receipt",
    r"LoRA weights|LoRA models?": "adapter (LoRA)",
    r"preference samples?|comparison pairs?": "preference pair",
    r"trust-?less(?:ly)?|tamper-?proof|unhackable|military-grade": "recorded, public, unalterable, checkable",
    r"blacklists?|whitelists?|master/slave": "list of what is refused, or allowed",
}

TOP = (".ci", "bot", "contracts", "docs", "generation", "migrations", "tests")
# Of a path with a folder's name in it, what lies in the repository and not in a data folder or a model.
SOURCE = re.compile(rf"^({'|'.join(map(re.escape, TOP))})/|/$|\.(py|toml|md|vy|sql)$")

FIELD = """
prompt, video, render job, worker, asset, playback id, round, battle, vote, ballot, tally, standings, relayer, outbox,
batch, digest, receipt, voter id, pepper, preference pair, adapter (LoRA), release, model revision, lease, reaper,
workflow, step, queue, TUS, HLS
"""


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def in_other_words(text: str) -> list[str]:
    """Each word that has a better one here, with that one."""
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    return [
        f"{found[0]!r}: say {better}"
        for words, better in OTHER_WORDS.items()
        for found in re.finditer(rf"\b(?:{words})\b", prose, re.IGNORECASE)
    ]


def anchors(text: str) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a document."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def dead_links(name: str, text: str | None = None) -> list[str]:
    """Return the relative links and pictures of a document that lead nowhere, to a missing heading too."""
    here = ROOT / name
    targets = re.findall(r"\]\(([^)\s]+)\)", read(name) if text is None else text)
    dead = []
    for target in (target for target in targets if not re.match(r"[a-z]+:", target)):
        path, _, anchor = target.partition("#")
        file = here.parent / path if path else here
        if not file.exists() or (anchor and anchor not in anchors(file.read_text(encoding="utf-8"))):
            dead.append(target)
    return dead


def missing_paths(text: str) -> list[str]:
    """Paths and names of source files in backticks that lead nowhere; one with a blank for the reader is left out."""
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    words = [word for word in re.findall(r"`([\w.*/-]+)`", prose) if "NNNN" not in word]
    tracked = [path.relative_to(ROOT) for top in TOP for path in (ROOT / top).rglob("*")]
    folders = {path.name for path in tracked if (ROOT / path).is_dir()} | set(TOP)
    paths = [word for word in words if "/" in word[:-1] and word.split("/")[0] in folders and SOURCE.search(word)]
    absent = [word for word in paths if not any(ROOT.glob(word.rstrip("/")))]
    names = {path.name for path in tracked}
    return absent + [word for word in words if "/" not in word and word.endswith(".py") and word not in names]


def missing_modules(text: str) -> list[str]:
    """Return the dotted names in backticks or after `python -m` that are no module of ours, nor a name within one."""
    ours = r"(?:bot|generation|contracts|migrations|tests)(?:\.\w+)+"
    words = {*re.findall(rf"`({ours})`", text), *re.findall(rf"-m ({ours})", text)}
    return sorted(word for word in words if not word.endswith(".py") and not _is_module(word))


def _is_module(name: str) -> bool:
    """Return true for a package, a module, or a name that a module has."""
    path = ROOT / name.replace(".", "/")
    if path.is_dir() or path.with_suffix(".py").is_file():
        return True
    owner, leaf = path.parent, path.name
    sources = [file for file in (owner.with_suffix(".py"), owner / "__init__.py") if file.is_file()]
    return any(re.search(rf"\b{leaf}\b", file.read_text(encoding="utf-8")) for file in sources)


def commands_in(text: str) -> set[str]:
    """`flock something`, as prose and blocks name it."""
    return set(re.findall(r"(?:`|^\$ |[|&;] |\s)flock ([a-z]+)\b", text, re.MULTILINE))


def flock_commands() -> set[str]:
    [commands] = [action for action in build_parser()._actions if action.choices]
    return set(commands.choices or ())


def glossary() -> list[tuple[str, str, str]]:
    """Term, meaning and file of each row."""
    rows = re.findall(r"^\| \*\*(.+?)\*\* \| (.+?) \| `(.+?)` \|$", read("docs/glossary.md"), re.MULTILINE)
    assert len(rows) == read("docs/glossary.md").count("\n| **"), "a row of the glossary cannot be read"
    return rows


# --------------------------------------------------------------------------- the glossary


def test_every_term_of_the_glossary_lives_where_it_says() -> None:
    """A reader who follows a term finds the file."""
    assert [(term, place) for term, _, place in glossary() if not (ROOT / place).is_file()] == []


def test_a_term_is_explained_once_and_in_few_sentences() -> None:
    """One word a thing, each in one to three sentences."""
    rows = glossary()
    terms = [term.lower() for term, _, _ in rows]
    assert len(terms) == len(set(terms)) > 40
    assert [term for term, meaning, _ in rows if not 1 <= len(re.findall(r"[.!?](?:\s|$)", meaning)) <= 3] == []


@pytest.mark.parametrize("term", re.split(r",\s+", FIELD.strip()))
def test_the_fields_own_words_are_explained(term: str) -> None:
    """Whoever meets one of them in the code can look it up."""
    assert term in {row[0] for row in glossary()}


@pytest.mark.parametrize("name", NAMES)
def test_documents_use_one_word_a_thing(name: str) -> None:
    """No second name for what has one already."""
    assert in_other_words(read(name)) == []


@pytest.mark.parametrize("text", ["the leaderboard", "It is Trustless.", "a GPU node", "Upvotes count", "movies"])
def test_another_word_for_a_thing_is_noticed(text: str) -> None:
    """The check above can fail."""
    assert len(in_other_words(text)) == 1


# --------------------------------------------------------------------------- what documents name


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name: str) -> None:
    """Every relative link and picture is there."""
    assert dead_links(name) == []


@pytest.mark.parametrize("target", ["nowhere.md", "#nowhere", "SECURITY.md#nowhere", "docs/img/nowhere.png"])
def test_a_dead_link_is_noticed(target: str) -> None:
    """A missing file, or a missing heading of this page or of another one; what is there passes."""
    alive = "[a](SECURITY.md#the-secrets-and-who-holds-them) [b](#limits-honestly) [c](https://example.org/#x)"
    assert dead_links("README.md", f"{alive} [d]({target})") == [target]


@pytest.mark.parametrize("name", [name for name in NAMES if name != "CHANGELOG.md"])  # which tells of what was
def test_every_module_that_is_named_exists(name: str) -> None:
    """A dotted name is a module of ours. Names of 0.1.0 stand in the first column of one table alone."""
    text = re.sub(r"^\| in 0\.1\.0 \|.*?\n\n", "", read(name), flags=re.DOTALL | re.MULTILINE)
    assert missing_modules(text) == []


def test_a_module_that_does_not_exist_is_noticed() -> None:
    """In backticks and behind `python -m`; modules, and names within them, pass."""
    text = "`bot.app`, `bot.settings.Settings`, `tests.benchmarks`, `bot.nowhere`, python -m generation.nothing"
    assert missing_modules(text) == ["bot.nowhere", "generation.nothing"]


def test_every_figure_that_is_named_is_measured() -> None:
    """The table of docs/benchmarks.md has only figures that the benchmarks write."""
    rows = re.findall(r"^\| (`.+?`) \|", read("docs/benchmarks.md"), re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`([a-z_0-9]+)`", row)}
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests/benchmarks").glob("*.py"))
    assert len(named) > 20
    assert [name for name in sorted(named) if not is_measured(name, sources)] == []
    assert not is_measured("votes_vs_nothing", sources)


def is_measured(name: str, sources: str) -> bool:
    """Return true if the source has the name, whole or with a part that is filled in."""
    if re.search(rf"\b{name}\b", sources):
        return True
    patterns = (re.escape(text) for text in re.findall(r'f"([a-z_0-9{}.]+)"', sources) if re.match(r"[a-z]{3}", text))
    return any(re.fullmatch(re.sub(r"\\{.*?\\}", r"\\w+", pattern), name) for pattern in patterns)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "CHANGELOG.md"])  # which tells of what was
def test_every_path_that_is_named_exists(name: str) -> None:
    """A file that was moved takes its mentions with it."""
    assert missing_paths(read(name)) == []


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("`bot/app.py`, `tests/bot/`, `app.py`, `docs/*.md` and `migrations/versions/NNNN_what.py`", []),
        ("`/metrics`, `models/hashes.json`, `videos/`, `static/`, `config.json` and `bot` are left alone", []),
        ("`bot/life/video.py`", ["bot/life/video.py"]),
        ("`bot/nowhere/`", ["bot/nowhere/"]),
        ("`hosting/embedded/`", ["hosting/embedded/"]),
        ("`nothing.py`", ["nothing.py"]),
    ],
)
def test_a_path_that_leads_nowhere_is_noticed(text: str, missing: list[str]) -> None:
    """From the root or by a file's name alone; what lies in a data folder or a model is not looked for."""
    assert missing_paths(text) == missing


@pytest.mark.parametrize("name", NAMES)
def test_every_flock_command_that_is_named_exists(name: str) -> None:
    """Nobody is sent to a command that the program does not have."""
    assert commands_in(read(name)) - flock_commands() == set()


def test_commands_are_found_where_documents_name_them() -> None:
    """In prose, in blocks, and behind another command; a wish is noticed."""
    text = "Run `flock doctor` first.\n```console\n$ flock run\n$ cp a b && flock worker --check\n```\nflock dance"
    assert commands_in(text) == {"doctor", "run", "worker", "dance"}
    assert commands_in(text) - flock_commands() == {"dance"}


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_that_is_named_exists(name: str) -> None:
    """FLOCK_ names are fields of Settings, or tokens that the embedded services read."""
    named = set(re.findall(r"\bFLOCK_[A-Z0-9_]*[A-Z0-9]\b", read(name)))
    known = {f"FLOCK_{field.upper()}" for field in Settings.model_fields}
    rest = named - known
    code = "".join(path.read_text() for path in ROOT.glob("*/**/*.py") if ".venv" not in path.parts) if rest else ""
    assert {name for name in rest if f'"{name}"' not in code} == set()


def test_every_make_target_that_is_named_exists() -> None:
    """`make something` in a document is a target of the Makefile."""
    targets = set(re.findall(r"^([a-z]+):", read("Makefile"), re.MULTILINE))
    named = {word for name in NAMES for word in re.findall(r"(?:`|^\$ )make ([a-z]+)", read(name), re.MULTILINE)}
    assert {"demo", "test", "bench"} <= named <= targets


def test_the_setup_names_exactly_the_permissions_that_the_bot_asks_for() -> None:
    """Neither more than it needs, nor one too few."""
    sentence = re.search(r"these permissions, each needed: (.+?)\n\n", read("docs/setup.md"), re.DOTALL)
    assert sentence is not None
    listed = re.sub(r"\(.*?\)", "", " ".join(sentence[1].split())).rstrip(".")
    wanted = {part.strip().lower().replace(" ", "_").replace("channels", "channel") for part in listed.split(",")}
    assert discord.Permissions(**dict.fromkeys(wanted, True)) == PERMISSIONS


def test_the_readme_fits_and_says_its_commands_on_the_first_screen() -> None:
    """At most 120 lines; promise, moving picture, two commands and the largest limit within the first 25."""
    lines = read("README.md").splitlines()
    assert len(lines) <= 120
    first = "\n".join(lines[:25])
    for words in ("makes a text-to-video model its own", "(docs/img/demo.webp)", "$ make demo", "$ make test"):
        assert words in first
    assert "votes train nothing yet" in first
    assert "sudo" not in first


def test_the_readme_has_bullets_a_diagram_platforms_and_badges_without_an_account() -> None:
    """Five bullets, one diagram, a row for each system; a badge asks nobody's service for anything but a picture."""
    text = read("README.md")
    [bullets] = re.findall(r"^## What you get\n\n(.+?)\n\n", text, re.DOTALL | re.MULTILINE)
    assert len(re.findall(r"^- ", bullets, re.MULTILINE)) == 5
    assert text.count("```mermaid") == 1
    systems = re.findall(r"^\| (\w+)", text[text.index("## Where it runs") :], re.MULTILINE)
    assert {"Linux", "macOS", "Windows", "containers"} <= set(systems)
    pictures = re.findall(r"!\[.*?\]\((https?://.+?)\)", text)
    assert pictures
    assert [address for address in pictures if not address.startswith("https://img.shields.io/badge/")] == []


def test_the_set_up_stands_in_one_document() -> None:
    """README leads there and repeats none of its commands; nor does any other page repeat the trust paragraph."""
    setup = set(re.findall(r"^\$ (\S.*)$", read("docs/setup.md"), re.MULTILINE))
    assert setup & set(re.findall(r"^\$ (\S.*)$", read("README.md"), re.MULTILINE)) == set()
    assert [name for name in NAMES if re.search(r"unalterable", read(name))] == ["SECURITY.md"]
    for name in ("README.md", "docs/architecture.md", "docs/auditing.md"):
        assert "SECURITY.md#what-the-ledger-promises" in read(name)


def test_members_commands_that_documents_name_exist() -> None:
    """`/something` with its options, as the bot registers them."""
    names = tomllib.loads(read("tests/acceptance/durable_names.toml"))
    known = set(names["commands"])
    table = re.findall(r"`/(.+?)`", "".join(re.findall(r"^\| `/.*$", read("docs/commands.md"), re.MULTILINE)))
    typed = {re.match(r"[a-z ]+?(?= \w+:|$)", words)[0]: re.findall(r"(\w+):", words) for words in table}  # type: ignore[index]
    assert set(typed) - known == set()
    assert [
        f"{name} {option}"
        for name, options in typed.items()
        for option in options
        if not any(each.startswith(f"{name} {option}:") for each in known)
    ] == []


def test_decisions_are_short() -> None:
    """A decision that needs more than 40 lines has not been decided."""
    lengths = {path.name: path.read_text().count("\n") for path in (ROOT / "docs/decisions").glob("*.md")}
    assert lengths
    assert {name: lines for name, lines in lengths.items() if lines > 40} == {}


def test_the_package_holds_every_file_that_it_needs() -> None:
    """What is not Python is named in pyproject.toml, or an installed FLock would miss it."""
    data = tomllib.loads(read("pyproject.toml"))["tool"]["setuptools"]["package-data"]
    globs = [f"{package}/{glob}" for package, listed in data.items() for glob in listed]
    run = subprocess.run(
        ["git", "ls-files", "bot", "generation", "contracts", "migrations"], capture_output=True, text=True, cwd=ROOT
    )
    if run.returncode:
        pytest.skip("This is no git checkout, so that what belongs to the package cannot be told from what lies about.")
    files = [name for name in run.stdout.split() if not name.endswith((".py", ".mako"))]  # .mako writes new migrations
    assert "contracts/VoteLedger.json" in files
    assert [name for name in files if not any(fnmatch.fnmatch(name, glob) for glob in globs)] == []
