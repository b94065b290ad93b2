"""`flock export`: the votes of closed rounds as a data set, in a folder and, by choice, at a hub."""

from __future__ import annotations

import argparse
import asyncio
import datetime
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from bot.cli.process import Commands
from bot.database import open_and_upgrade, unreachable
from bot.domain.amounts import amount
from bot.domain.errors import OperatorError
from bot.files.attachments import brought_path, rendered_here
from bot.settings import Settings, load_settings, reveal
from bot.store.learning import rows as training_rows
from contracts.outbox.entries import MIN_PEPPER
from generation.extras import missing, require
from generation.feedback.dataset.files import DatasetError, Manifest, write
from generation.feedback.dataset.rows import VideoRow
from generation.feedback.dataset.tables import Tables, pseudonym_key, tables_of
from generation.models.inventory import license_of
from generation.models.registry import Model, load_models
from generation.video.motion import motion_of_file
from migrations.files import sha256_file

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


@dataclass(frozen=True)
class Wish:
    """What to export: the rounds of these numbers, or all, that closed since a day, of one server."""

    out: Path
    rounds: tuple[int, ...] = ()
    since: datetime.date | None = None
    server: int | None = None


def add_parser(commands: Commands) -> None:
    """Add the command to `flock`."""
    parser = commands.add_parser(
        "export",
        help="write the votes of closed rounds as a data set",
        description="Writes videos, votes, pairs and the reliability of voters as a data set in the layout of Hugging "
        "Face. Members who have opted out, or who have not read the notice yet, are left out.",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder of the data set")
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
    """Write the data set, print what is in it and what is not, and send it where that is asked for."""
    settings = load_settings()
    require("export", "The export")
    token = hub_token() if arguments.push else None  # asked before the work
    wish = Wish(arguments.out, tuple(arguments.round), arguments.since, arguments.server)
    sys.stdout.write(asyncio.run(export(settings, wish)))
    if token is not None:
        sys.stdout.write(push(arguments.out, arguments.push, token))
    return 0


async def export(settings: Settings, wish: Wish) -> str:
    """Write the data set, and return the lines about it. Raises OperatorError."""
    pepper = reveal(settings.voter_pepper).encode()
    if len(pepper) < MIN_PEPPER:
        raise OperatorError("FLOCK_VOTER_PEPPER is not set: the pseudonyms of voters are made with it.")
    try:
        models = load_models(settings.data_dir.resolve(), settings.models_file)
    except ValueError as error:
        raise OperatorError(str(error)) from error
    database = await open_and_upgrade(settings)
    try:
        guild_id = wish.server if wish.server is not None else await training_rows.only_guild(database)
        chosen = await training_rows.closed_rounds(
            database, guild_id, numbers=wish.rounds, since_ms=None if wish.since is None else _ms(wish.since)
        )
        found = await training_rows.export_rows(database, guild_id, chosen, pepper=pepper)
    except (SQLAlchemyError, OSError) as error:
        raise unreachable(error) from error
    finally:
        await database.dispose()
    videos = [_completed(video, found.files[video.key], settings.data_dir, models) for video in found.community.videos]
    key = pseudonym_key(pepper, guild_id, [each.key for each in chosen])
    tables = tables_of(replace(found.community, videos=videos), key)
    try:
        manifest = write(wish.out, tables)
    except DatasetError as error:
        raise OperatorError(str(error)) from error
    except OSError as error:
        raise OperatorError(f"The data set cannot be written to {wish.out}: {error.strerror}.") from error
    return summary(wish.out, tables, manifest)


def _ms(day: datetime.date) -> int:
    return round(datetime.datetime.combine(day, datetime.time(), datetime.UTC).timestamp() * 1000)


def _completed(video: VideoRow, file: training_rows.VideoFile, data_dir: Path, models: Mapping[str, Model]) -> VideoRow:
    """Return a video with the licence of its model, and its motion: from its card, or else from its file."""
    card = video.card or {}
    of_model = card.get("model")
    source = of_model.get("source") if isinstance(of_model, dict) else None
    model = models.get(video.model_id)
    if isinstance(source, str) and (model is None or (model.source != source and not model.embedded)):
        model = Model(video.model_id, source)  # the models file has another by now
    video = replace(video, model_license=license_of(model) if model is not None else None)
    motion = card.get("motion")
    if isinstance(motion, int | float):
        return replace(video, motion=float(motion), motion_source="frames")
    measured = None if video.exclusion is not None else _measured(video, file, data_dir)
    return video if measured is None else replace(video, motion=measured, motion_source="file")


def _measured(video: VideoRow, file: training_rows.VideoFile, data_dir: Path) -> float | None:
    """Return the motion of a video's file, if it lies on this machine unchanged and can be decoded here."""
    if "av" in missing("worker"):
        return None
    for path in (rendered_here(file.path, data_dir), brought_path(file.video_id, data_dir)):
        if path is not None and path.is_file() and sha256_file(path) == video.mp4_sha256:
            return motion_of_file(path)
    return None


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
