"""The checks of the processes that share the database: bots, workers that render or train, and what waits for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, func, select

from bot.doctor.check import Check, Look
from bot.doctor.database import is_up_to_date, read_database
from bot.domain.amounts import amount
from bot.settings import Settings
from generation.jobs import gpu_queue, release_queue, training_queue
from generation.queue.reaper import ReaperTimes
from migrations.database import now_ms
from migrations.schema import candidates, executor_leases, outbox, releases, videos
from migrations.states.community import VideoStatus
from migrations.states.learning import CandidateState, ReleaseState
from migrations.states.ledger import OutboxState

TWO_BOTS_REMEDY = (
    "Stop all bots but one: on one database there may be one, or each would answer members and post. The names say on "
    "which machines they run. A bot that was killed counts until its lease ends: look again after 15 s."
)
OLD_ENTRY_S = 900.0


@dataclass(frozen=True)
class _Seen:
    """The processes that live, and what waits for them."""

    entries: int  # on their way to the ledger
    oldest_ms: int | None  # of them
    queued: int  # videos
    trainings: int  # candidates that are being trained, or wait for it
    release: int | None  # the number of the live release
    bots: list[str] = field(default_factory=list)
    workers: list[list[str]] = field(default_factory=list)  # the queues of each

    def serving(self, queue: str) -> int:
        """Return the number of workers that serve a queue."""
        return sum(queue in queues for queues in self.workers)


async def processes(settings: Settings) -> Sequence[Check]:
    """Check that processes run, and that neither entries for the ledger nor videos nor trainings wait for too long."""
    if not await is_up_to_date(settings):
        return []
    seen = await read_database(settings, _reader(settings.model_id))
    return [*_rendering(settings, seen), *_training(settings, seen), _outbox(seen)]


def _reader(model_id: str) -> Callable[[Connection], _Seen]:
    limit = now_ms() - int(ReaperTimes().lease * 1000)

    def read(connection: Connection) -> _Seen:
        underway = outbox.c.state.in_((OutboxState.PENDING, OutboxState.BATCHED))
        entries = connection.execute(select(func.count(), func.min(outbox.c.created_at_ms)).where(underway)).one()
        queued = connection.scalar(select(func.count()).where(videos.c.status == VideoStatus.QUEUED))
        of_model = (candidates.c.model_id == model_id, candidates.c.state == CandidateState.TRAINING)
        trainings = connection.scalar(select(func.count()).select_from(candidates).where(*of_model))
        live = (releases.c.model_id == model_id, releases.c.state == ReleaseState.LIVE)
        release = connection.scalar(select(releases.c.number).where(*live))
        seen = _Seen(entries[0], entries[1], int(queued or 0), int(trainings or 0), release)
        leases = select(executor_leases).where(executor_leases.c.beat_at_ms >= limit)
        for row in connection.execute(leases):
            if row.role == "bot":
                seen.bots.append(row.executor_id)
            else:
                seen.workers.append(list(row.queues))
        return seen

    return read


def _rendering(settings: Settings, seen: _Seen) -> list[Check]:
    """Check the bots, and the workers that render for them: with a live release they serve a queue of its own."""
    model = (settings.model_class, settings.model_id)
    every = seen.serving(gpu_queue(*model))
    workers = every if seen.release is None else seen.serving(release_queue(*model))
    running = f"{amount(len(seen.bots), 'bot')} and {amount(workers, 'worker')} are running"
    if every > workers:
        running += f", and {amount(every - workers, 'worker')} of an older FLock, without releases"
    checks = [Check(True, "processes", running)]
    if len(seen.bots) > 1:
        checks = [Check(False, "processes", f"{running}: {', '.join(sorted(seen.bots))}", TWO_BOTS_REMEDY)]
    if seen.queued and not workers:
        remedy = f"Start a worker with this bot's model: `flock worker` with {_model(settings)}."
        if every:
            remedy = f"Update the workers: release {seen.release} is live, and they cannot render with it."
        detail = f"{running}; {amount(seen.queued, 'video')} in the queue, and no worker for it"
        checks = [*(check for check in checks if not check.ok), Check(False, "processes", detail, remedy)]
    return checks


def _training(settings: Settings, seen: _Seen) -> list[Check]:
    """Check the workers that train, where trainings begin by themselves or one waits."""
    trainers = seen.serving(training_queue(settings.model_class, settings.model_id))
    wanted = []
    if settings.train_after_votes:
        wanted.append(f"{amount(settings.train_after_votes, 'new vote')} begin a training")
    if seen.trainings:
        wanted.append(f"{amount(seen.trainings, 'candidate')} to be trained")
    if not wanted:
        return []
    detail = f"{amount(trainers, 'training worker')} running; {', '.join(wanted)}"
    if trainers or not (seen.bots or seen.trainings):  # where nothing runs yet, nothing is amiss
        return [Check(True, "training", detail)]
    remedy = f"Start one: `flock worker --train` with {_model(settings)}. Until then the votes wait."
    return [Check(False, "training", detail, remedy)]


def _outbox(seen: _Seen) -> Check:
    age = (now_ms() - seen.oldest_ms) / 1000 if seen.oldest_ms else 0.0
    if age > OLD_ENTRY_S:
        remedy = (
            "See what is said of the ledger here, and by `contracts.relayer.relayer` in the bot's log; nothing is lost."
        )
        detail = f"{seen.entries} entries are waiting, the oldest for {age / 60:.0f} minutes"
        return Check(False, "outbox", detail, remedy)
    return Check(True, "outbox", f"{seen.entries} entries are on their way to the ledger")


def _model(settings: Settings) -> str:
    return f"FLOCK_MODEL_CLASS={settings.model_class} and FLOCK_MODEL_ID={settings.model_id}"


BOT_LOOKS = (Look("processes", processes, "Mend the database first.", rests_on=("database",)),)
