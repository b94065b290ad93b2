"""`flock worker`: a GPU worker, until it is stopped, or a check of its model."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
from typing import TYPE_CHECKING

from bot.cli.process import Commands, add_watch_stdin, is_setting, run_until_stopped, write
from bot.domain.errors import OperatorError
from bot.monitoring import logs
from bot.settings import Settings, load_settings
from generation.extras import require

if TYPE_CHECKING:
    from generation.worker.worker import WorkerConfig


def add_parser(commands: Commands) -> None:
    """Add the command to `flock`."""
    parser = commands.add_parser("worker", help="a GPU worker: renders prompts, or trains candidates; holds no keys")
    parser.add_argument(
        "--train", action="store_true", help="take trainings in place of renders (needs the packages of flock[train])"
    )
    parser.add_argument(
        "--check", action="store_true", help="render two videos, print the figures of the second, and exit"
    )
    add_watch_stdin(parser)
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the worker, or its check. Raises OperatorError where the model or the database cannot be used."""
    settings = load_settings("worker")
    logs.start(settings, "worker")
    require("train" if arguments.train else "worker", "The training worker" if arguments.train else "The worker")
    if arguments.train and arguments.check:
        raise OperatorError("--check renders two videos, which a training worker does not. Leave --train out.")
    config = config_of(settings)
    address = (settings.metrics_host, settings.metrics_port)
    for name in [name for name in os.environ if is_setting(name)]:
        del os.environ[name]  # a shared .env may hold the bot's keys: the worker keeps none of them
    del settings
    from sqlalchemy.exc import SQLAlchemyError

    from bot.database import unreachable
    from generation.worker.render_process import RenderError
    from generation.worker.worker import check

    try:
        if arguments.check:
            write(json.dumps(asyncio.run(check(config)), indent=2) + "\n")
            return 0
        return run_until_stopped(
            lambda stop, at_once: _work(config, address, stop, at_once, trains=arguments.train),
            watch_stdin=arguments.watch_stdin,
        )
    except (ValueError, RenderError) as error:  # of the model, or of the data folder: both speak in sentences
        raise OperatorError(str(error)) from error
    except (SQLAlchemyError, OSError) as error:
        raise unreachable(error) from error


def config_of(settings: Settings) -> WorkerConfig:
    """Return the values that the worker needs, and none of the keys that the settings may hold."""
    from generation.worker.worker import WorkerConfig

    return WorkerConfig(
        database_url=settings.database_url,
        data_dir=settings.data_dir.resolve(),
        model_class=settings.model_class,
        model_id=settings.model_id,
        models_file=settings.models_file,
        hang_s=settings.hang_s,
        load_s=settings.load_s,
        drain_s=settings.drain_s,
        certificate=settings.c2pa_cert,
        certificate_key=settings.c2pa_key,
        label_frames=settings.label_frames,
        keep_latents=settings.keep_latents,
    )


async def _work(
    config: WorkerConfig, address: tuple[str, int], stop: asyncio.Event, at_once: asyncio.Event, *, trains: bool
) -> None:
    from bot.monitoring.health import Health, Watch, database_watch
    from bot.monitoring.metrics import Metrics, serving
    from bot.monitoring.process_metrics import ProcessMetrics
    from generation.training.worker import TrainingConfig, run_training_worker
    from generation.worker.worker import run_worker
    from migrations.database import open_database, upgrade_database

    await upgrade_database(config.database_url)
    database = open_database(config.database_url)
    ready = asyncio.Event()

    async def model() -> str | None:
        return None if ready.is_set() else "it is being loaded"

    health = Health({"database": database_watch(database), "model": Watch(model, float("inf"))})
    try:
        metrics = Metrics(database, "worker", process=ProcessMetrics("worker", config.data_dir))
        async with serving(*address, metrics, health):
            if trains:
                training = TrainingConfig(
                    database_url=config.database_url,
                    data_dir=config.data_dir,
                    model_class=config.model_class,
                    model_id=config.model_id,
                    models_file=config.models_file,
                    hang_s=config.hang_s,
                    load_s=config.load_s,
                )
                await run_training_worker(training, stop=stop, on_ready=ready.set)
            else:
                await run_worker(config, stop=stop, at_once=at_once, on_ready=ready.set)
    finally:
        await database.dispose()
