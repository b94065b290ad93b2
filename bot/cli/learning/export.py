"""`flock export`: the votes of closed rounds as a data set, in a folder or at a hub; and the texts behind releases."""

from __future__ import annotations

import argparse
import asyncio
import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy.exc import SQLAlchemyError

from bot.cli.process import Commands, write
from bot.database import open_and_upgrade, unreachable
from bot.domain.amounts import amount
from bot.domain.errors import OperatorError
from bot.settings import Settings, load_settings, reveal
from contracts.outbox.documents import all_documents
from contracts.outbox.entries import MIN_PEPPER
from generation.extras import require
from generation.feedback.dataset.files import DatasetError, Manifest
from generation.feedback.dataset.files import write as write_dataset
from generation.feedback.dataset.tables import Tables
from generation.models.registry import load_models

if TYPE_CHECKING:
    from bot.files.dataset import Wish

# The reasons of `LEFT_OUT`, as they follow a number of videos, votes or texts.
REASONS = {
    "removed": "removed by a moderator",
    "rejected": "rejected in a review",
    "author_opted_out": "by members who have opted out",
    "author_not_asked": "by members who have not read the notice yet",
    "prompt_names_a_member": "with a member's name in the prompt",
    "voter_opted_out": "by members who have opted out",
    "voter_not_asked": "by members who have not read the notice yet",
    "rejected_by_ledger": "rejected by the ledger",
    "member_opted_out": "by members who have opted out",
    "member_not_asked": "by members who have not read the notice yet",
    "before_notice": "written before its author had read the notice",
}
NOUNS = {"videos": "video", "votes": "vote", "feedback": "text of feedback", "battle_votes": "vote in battles"}


def add_parser(commands: Commands) -> None:
    """Add the command to `flock`."""
    parser = commands.add_parser(
        "export",
        help="write the votes of closed rounds as a data set",
        description="Writes videos, votes, pairs and the reliability of voters as a data set in the layout of Hugging "
        "Face. Members who have opted out, or who have not read the notice yet, are left out. With --texts, it writes "
        "what others need to audit releases.",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="the folder of the data set")
    parser.add_argument(
        "--texts",
        type=Path,
        metavar="DIR",
        help="write manifests, registrations and the other texts that the ledger names by their hash into this folder, "
        "for `flock audit --releases`",
    )
    parser.add_argument(
        "--round", type=int, action="append", default=[], metavar="N", help="only this round; repeatable"
    )
    parser.add_argument("--since", type=_day, metavar="DATE", help="only rounds that closed on that day (UTC) or later")
    parser.add_argument("--server", type=int, metavar="ID", help="the server, where the bot serves several")
    parser.add_argument("--push", metavar="REPO", help="send it to this repository of Hugging Face's hub as well")
    parser.set_defaults(command=run)


def _day(text: str) -> datetime.date:
    try:
        return datetime.date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is no day like 2026-01-31") from None


def run(arguments: argparse.Namespace) -> int:
    """Write what is asked for, print what is in it and what is not, and send a data set where that is asked for."""
    chosen = (arguments.round, arguments.since, arguments.server, arguments.push)
    if arguments.out is None and (arguments.texts is None or any(each not in (None, []) for each in chosen)):
        raise OperatorError("Name a folder: --out for a data set, or --texts for the texts of releases.")
    settings = load_settings()
    if arguments.texts is not None:
        write(asyncio.run(export_texts(settings, arguments.texts)))
    if arguments.out is None:
        return 0
    require("export", "The export")
    token = hub_token() if arguments.push else None  # asked before the work
    from bot.files.dataset import Wish

    wish = Wish(arguments.out, tuple(arguments.round), arguments.since, arguments.server)
    write(asyncio.run(export(settings, wish)))
    if token is not None:
        write(push(arguments.out, arguments.push, token))
    return 0


async def export(settings: Settings, wish: Wish) -> str:
    """Write the data set, and return the lines about it. Raises OperatorError."""
    from bot.files.dataset import tables_for  # with discord.py, which no other command of this folder needs

    pepper = reveal(settings.voter_pepper).encode()
    if len(pepper) < MIN_PEPPER:
        raise OperatorError("FLOCK_VOTER_PEPPER is not set: the pseudonyms of voters are made with it.")
    try:
        models = load_models(settings.data_dir.resolve(), settings.models_file)
    except ValueError as error:
        raise OperatorError(str(error)) from error
    database = await open_and_upgrade(settings)
    try:
        tables = await tables_for(database, wish, pepper=pepper, data_dir=settings.data_dir, models=models)
    except (SQLAlchemyError, OSError) as error:
        raise unreachable(error) from error
    finally:
        await database.dispose()
    try:
        manifest = write_dataset(wish.out, tables)
    except DatasetError as error:
        raise OperatorError(str(error)) from error
    except OSError as error:
        raise OperatorError(f"The data set cannot be written to {wish.out}: {error.strerror}.") from error
    return summary(wish.out, tables, manifest)


async def export_texts(settings: Settings, folder: Path) -> str:
    """Write the texts that the ledger names by their hash, and return the line about them. Raises OperatorError."""
    from contracts.audit.texts import public_texts, write_folder

    database = await open_and_upgrade(settings)
    try:
        async with database.connect() as connection:
            texts = public_texts(await all_documents(connection))
    except (SQLAlchemyError, OSError) as error:
        raise unreachable(error) from error
    finally:
        await database.dispose()
    try:
        write_folder(folder, texts)
    except OSError as error:
        raise OperatorError(f"The texts cannot be written to {folder}: {error.strerror}.") from error
    return (
        f"{folder} holds {amount(len(texts), 'text')} that the ledger names. "
        f"Whoever has them checks the releases: flock audit --releases {folder}\n"
    )


def summary(out: Path, tables: Tables, manifest: Manifest) -> str:
    """Return the lines on what was written, and on what was left out and why."""
    number = {
        name: sum(len(rows) for (table, _), rows in tables.rows.items() if table == name)
        for name in ("videos", "pairs", "votes", "voters")
    }
    held_out = len(tables.rows.get(("videos", "test"), ()))
    videos = [row for (table, _), rows in tables.rows.items() if table == "videos" for row in rows]
    unmeasured = sum(row["motion"] is None for row in videos)
    numbers = ", ".join(str(each.number) for each in tables.rounds)
    rounds = f"round{'s' if len(tables.rounds) > 1 else ''} {numbers}"
    lines = [
        f"{out} holds {amount(number['videos'], 'video')} ({held_out} held out for tests), "
        f"{amount(number['votes'], 'row')} of votes and feedback, {amount(number['pairs'], 'pair')} and "
        f"{amount(number['voters'], 'voter')}, of {rounds}."
    ]
    left = [
        f"Left out: {amount(count, NOUNS[table])} {REASONS[reason]}."
        for table, reasons in tables.left_out.items()
        for reason, count in reasons.items()
        if count
    ]
    lines += left or ["Nothing was left out."]
    if unmeasured:
        lines.append(f"The motion of {amount(unmeasured, 'video')} is not known: neither card nor file here tells it.")
    lines.append(f"Root: {manifest.root}")
    return "\n".join(lines) + "\n"


# --------------------------------------------------------------------------- the hub


def hub_token() -> str:
    """Return the token of Hugging Face's hub, which is shown nowhere. Raises OperatorError where there is none."""
    from huggingface_hub import get_token

    token = get_token()
    if not token:
        raise OperatorError("--push needs a token of Hugging Face: run `hf auth login`, or set HF_TOKEN.")
    return token


def push(folder: Path, repository: str, token: str) -> str:
    """Send a data set to a hub's repository, which is private where it is new. Raises OperatorError."""
    import httpx
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    hub = HfApi(token=token)
    try:
        hub.create_repo(repository, repo_type="dataset", private=True, exist_ok=True)
        hub.upload_folder(
            repo_id=repository, folder_path=folder, repo_type="dataset", commit_message="Votes", delete_patterns="*"
        )
    except HFValidationError:
        raise OperatorError(f"{repository} is no name of a repository. Write it like org/votes.") from None
    except HfHubHTTPError as error:  # its text may hold addresses with signatures
        status = error.response.status_code
        raise OperatorError(f"The hub did not take the data set (HTTP {status}). It is whole in {folder}.") from None
    except (httpx.HTTPError, OSError) as error:
        kind = type(error).__name__
        raise OperatorError(f"The hub cannot be reached ({kind}). The data set is whole in {folder}.") from None
    return f"Sent to {repository}.\n"
