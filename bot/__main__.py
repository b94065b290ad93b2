"""The `flock` command. Each subcommand imports only what it needs: the worker never loads Discord, the bot no torch."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

from bot import settings as settings_module
from bot.domain.errors import OperatorError, SettingsError
from bot.monitoring import logs
from contracts.costs import Community
from generation.extras import MissingExtraError, require

ORPHAN_S = 15.0  # for an orderly end after our parent's
DESCRIPTION = "FLock: a Discord community makes a text-to-video model its own."
EPILOG = """first steps:
  flock demo                  see the whole loop on this machine: no account, no GPU, no wallet
  flock doctor                check the settings for a real server, with a remedy beside each problem

Settings come from the environment and from a file .env; .env.example describes them all."""


def main(argv: list[str] | None = None) -> None:
    """Runs one command; exits with 0, or with a sentence on stderr and 1 (2 for a wrong command line)."""
    arguments = _parser().parse_args(argv)
    try:
        raise SystemExit(arguments.command(arguments))
    except SettingsError as error:
        _say("Some settings are wrong or missing:", *(f"  - {problem}" for problem in error.problems))
        _say("Put them into the environment or into .env; .env.example describes them all.")
    except (OperatorError, MissingExtraError) as error:
        _say(str(error))
    except KeyboardInterrupt:
        _say("Stopped.")
        raise SystemExit(130) from None
    raise SystemExit(1)


def _say(*lines: str) -> None:
    if logs.say_last(lines):
        return
    sys.stderr.write("".join(f"{line}\n" for line in lines))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="flock", description=DESCRIPTION, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    demo = commands.add_parser(
        "demo",
        help="the whole loop on this machine, with embedded services and a small scripted community",
        description="Starts an embedded Discord, video host and chain, the bot, and a worker; then a scripted "
        "community opens a round, asks for videos, and votes. Everything but the community is the product itself. "
        "Then it stays up until Ctrl-C, with a page on which you are a member yourself.",
    )
    demo.add_argument("--once", action="store_true", help="end after the story instead of staying up with the page")
    demo.add_argument("--json", action="store_true", help="print the result as one JSON object on stdout")
    demo.add_argument("--prompt", action="append", metavar="TEXT", help="a prompt of the story; may be repeated")
    demo.add_argument("--state", type=Path, metavar="DIR", help="keep everything in DIR, and go on from it next time")
    demo.add_argument("--database-url", metavar="URL", help="use this database instead of a SQLite file in the state")
    demo.add_argument(
        "--chaos", type=int, nargs="?", const=0, metavar="SEED", help="then break things, while members go on"
    )
    demo.set_defaults(command=_demo)

    run = commands.add_parser("run", help="the bot: Discord, votes, rounds, and the relayer to the chain")
    run.add_argument("--watch-stdin", action="store_true", help=argparse.SUPPRESS)
    run.set_defaults(command=_run)

    worker = commands.add_parser("worker", help="a GPU worker: renders prompts, holds no keys")
    worker.add_argument("--check", action="store_true", help="render two videos, print what the second took, and end")
    worker.add_argument("--watch-stdin", action="store_true", help=argparse.SUPPRESS)
    worker.set_defaults(command=_worker)

    workers = commands.add_parser("workers", help="the workers that run now: model, revision, device, memory mode")
    workers.add_argument("--json", action="store_true", help="print it as JSON")
    workers.set_defaults(command=_workers)

    models = commands.add_parser(
        "models",
        help="the models that a worker could render with, and the families that FLock knows",
        description="Lists the models of FLOCK_MODELS_FILE: family, revision, sizes, steps, weights, license, and "
        "whether their files are here. Nothing is loaded or fetched.",
    )
    models.add_argument("--families", action="store_true", help="list the known families and their models instead")
    models.add_argument("--json", action="store_true", help="print it as JSON")
    models.set_defaults(command=_models)

    again = commands.add_parser(
        "rerender",
        help="render a video again from its provenance card, and compare the frames",
        description="Renders what the card says with the local model of that name, at that revision. Exits with 0 "
        "when the frames are the same, bit by bit, and with 1 when they are not.",
    )
    again.add_argument("card", type=Path, help="the JSON file that /provenance gave")
    again.add_argument("--out", type=Path, metavar="FILE", help="keep the new video there (an mp4)")
    again.set_defaults(command=_rerender)

    migrate = commands.add_parser("migrate", help="create or upgrade the database (run and worker do it too)")
    migrate.set_defaults(command=_migrate)

    doctor = commands.add_parser("doctor", help="check settings and services, with a remedy for each problem")
    doctor.add_argument("--json", action="store_true", help="print the checks as JSON")
    doctor.add_argument("--worker", action="store_true", help="check this machine as a GPU worker's")
    doctor.set_defaults(command=_doctor)

    backup = commands.add_parser("backup", help="copy the SQLite database to a file, while everything runs")
    backup.add_argument("file", type=Path, help="where the backup goes (mode 0600)")
    backup.add_argument("--force", action="store_true", help="replace the file if it exists")
    backup.set_defaults(command=_backup)

    restore = commands.add_parser("restore", help="put a backup in the database's place, when nothing runs")
    restore.add_argument("file", type=Path, help="a file that `flock backup` wrote")
    restore.add_argument("--force", action="store_true", help="also when the ledger is ahead of the backup")
    restore.set_defaults(command=_restore)

    deploy = commands.add_parser("deploy", help="put the VoteLedger contract onto the chain, once")
    deploy.add_argument("--new-key", action="store_true", help="make the keystore file first, if there is none")
    deploy.add_argument("--owner", metavar="ADDRESS", help="who may change relayers (default: the keystore's account)")
    deploy.add_argument("--guardian", metavar="ADDRESS", help="who may pause (default: the keystore's account)")
    deploy.add_argument("--verify", action="store_true", help="only compare the code on chain with ours")
    deploy.add_argument("--json", action="store_true", help="print the deployment as JSON")
    deploy.set_defaults(command=_deploy)

    audit = commands.add_parser(
        "audit",
        help="recompute every tally from the chain alone and compare",
        description="Re-derives all tallies from the chain's events and compares them with the contract's storage. "
        "With --rpc or --ledger it needs nothing else: anyone can run this. Without both it also compares the votes in "
        "our database. Exits with 1 if anything differs.",
    )
    audit.add_argument("--rpc", metavar="URL", help="JSON-RPC of the chain (default: FLOCK_RPC_URL)")
    audit.add_argument("--ledger", metavar="ADDRESS", help="the ledger's address (default: FLOCK_LEDGER_ADDRESS)")
    audit.add_argument("--round", type=int, metavar="N", help="only the ledger's round N")
    audit.add_argument(
        "--since", type=int, metavar="BLOCK", help="the ledger's deployment, or any block before (default: look for it)"
    )
    ours = audit.add_mutually_exclusive_group()
    ours.add_argument("--chain-only", action="store_true", help="do not look at our database")
    ours.add_argument("--with-database", action="store_true", help="look at it also with --rpc or --ledger")
    audit.add_argument("--json", action="store_true", help="print the report as JSON")
    audit.set_defaults(command=_audit)

    costs = commands.add_parser(
        "costs",
        help="estimate what a round costs on the chain",
        description="Estimates a round's cost from measured gas: on the configured chain at its fee of now, and on "
        "Arbitrum One on paper, with the assumptions printed.",
    )
    usual = Community()
    costs.add_argument("--videos", type=int, default=usual.videos, metavar="N", help="videos (default: %(default)s)")
    costs.add_argument("--voters", type=int, default=usual.voters, metavar="N", help="voters (default: %(default)s)")
    costs.add_argument("--new-voters", type=int, metavar="N", help="voters who never voted before (default: all)")
    costs.add_argument("--votes", type=int, metavar="N", help="votes, changes included (default: two a voter)")
    costs.add_argument(
        "--batch", type=int, default=usual.batch, metavar="N", help="votes that arrive together (default: %(default)s)"
    )
    costs.add_argument("--usd", type=float, default=3000.0, metavar="PRICE", help="of one ETH (default: %(default)g)")
    costs.add_argument("--json", action="store_true", help="print the estimate as JSON")
    costs.set_defaults(command=_costs)
    return parser


def _until_stopped(
    main: Callable[[asyncio.Event, asyncio.Event], Coroutine[Any, Any, None]], *, watch_stdin: bool
) -> int:
    """Runs until SIGTERM or SIGINT, or until our parent is gone where stdin is its pipe.

    `main` is given an event to stop, and one to do so at once: the second signal, or a parent that is gone.
    """

    async def run() -> None:
        stop, at_once = asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()

        def heard(*, orphaned: bool = False) -> None:
            if orphaned or stop.is_set():
                at_once.set()
            stop.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, heard)
        if watch_stdin:

            def wait() -> None:
                while os.read(0, 4096):
                    pass
                loop.call_soon_threadsafe(partial(heard, orphaned=True))
                time.sleep(ORPHAN_S)
                os._exit(1)  # whoever started us is gone, and would have ended us by force by now

            threading.Thread(target=wait, daemon=True, name="stdin").start()
        await main(stop, at_once)

    asyncio.run(run())
    return 0


def _demo(arguments: argparse.Namespace) -> int:
    require("demo", "The demo")
    from bot.demo.main import DemoOptions, run_demo

    return run_demo(
        DemoOptions(
            prompts=arguments.prompt,
            once=arguments.once,
            as_json=arguments.json,
            state=arguments.state,
            database_url=arguments.database_url,
            chaos=arguments.chaos,
        )
    )


def _run(arguments: argparse.Namespace) -> int:
    settings = settings_module.load("run")
    logs.start(settings, "bot")
    from bot.app import run_bot

    return _until_stopped(lambda stop, _at_once: run_bot(settings, stop), watch_stdin=arguments.watch_stdin)


def _worker(arguments: argparse.Namespace) -> int:
    settings = settings_module.load("worker")
    logs.start(settings, "worker")
    require("worker", "The worker")
    from generation.worker.render_process import RenderError
    from generation.worker.worker import WorkerConfig, check, run_worker

    config = WorkerConfig(
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
    )
    address = (settings.metrics_host, settings.metrics_port)
    for name in [name for name in os.environ if name.startswith("FLOCK_")]:
        del os.environ[name]  # a shared .env may hold the bot's keys: the worker keeps none of them
    del settings
    from sqlalchemy.exc import SQLAlchemyError

    from bot.database import unreachable
    from bot.monitoring.health import Health, Watch, database_watch
    from bot.monitoring.metrics import Metrics, serving
    from migrations.database import open_database, upgrade_database

    async def work(stop: asyncio.Event, at_once: asyncio.Event) -> None:
        await upgrade_database(config.database_url)
        database = open_database(config.database_url)
        ready = asyncio.Event()

        async def model() -> str | None:
            return None if ready.is_set() else "it is being loaded"

        health = Health({"database": database_watch(database), "model": Watch(model, float("inf"))})
        try:
            async with serving(*address, Metrics(database, "worker"), health):
                await run_worker(config, stop=stop, at_once=at_once, on_ready=ready.set)
        finally:
            await database.dispose()

    try:
        if arguments.check:
            sys.stdout.write(json.dumps(asyncio.run(check(config)), indent=2) + "\n")
            return 0
        return _until_stopped(work, watch_stdin=arguments.watch_stdin)
    except (ValueError, RenderError) as error:  # of the model, or of the data folder: sentences both
        raise OperatorError(str(error)) from error
    except (SQLAlchemyError, OSError) as error:
        raise unreachable(error) from error


def _workers(arguments: argparse.Namespace) -> int:
    from bot.cli.workers import list_workers

    settings = settings_module.load("migrate")
    sys.stdout.write(asyncio.run(list_workers(settings, as_json=arguments.json)))
    return 0


def _models(arguments: argparse.Namespace) -> int:
    from bot.cli.models import list_models

    settings = settings_module.load()
    sys.stdout.write(list_models(settings, families=arguments.families, as_json=arguments.json))
    return 0


def _rerender(arguments: argparse.Namespace) -> int:
    settings = settings_module.load("worker")
    require("worker", "Rendering a video again")
    from bot.cli.models import rerender_card

    same, text = rerender_card(settings, arguments.card, arguments.out)
    sys.stdout.write(text)
    return 0 if same else 1


def _migrate(_arguments: argparse.Namespace) -> int:
    settings = settings_module.load("migrate")
    from bot.database import open_and_upgrade

    async def migrate() -> None:
        await (await open_and_upgrade(settings)).dispose()

    asyncio.run(migrate())
    _say("The database is up to date.")
    return 0


def _backup(arguments: argparse.Namespace) -> int:
    from bot.cli.backup import backup

    _say(backup(settings_module.load("migrate"), arguments.file, force=arguments.force))
    return 0


def _restore(arguments: argparse.Namespace) -> int:
    from bot.cli.backup import restore

    _say(restore(settings_module.load("migrate"), arguments.file, force=arguments.force))
    return 0


def _doctor(arguments: argparse.Namespace) -> int:
    from bot.doctor.report import examine, render

    checks = asyncio.new_event_loop().run_until_complete(examine(worker=arguments.worker))
    sys.stdout.write(render(checks, as_json=arguments.json))
    sys.stdout.flush()
    os._exit(0 if all(check.ok for check in checks) else 1)  # what still hangs in a thread holds up nobody


def _deploy(arguments: argparse.Namespace) -> int:
    settings = settings_module.load("audit" if arguments.verify else "deploy")
    from bot.cli.ledger import deploy_ledger, verify_ledger

    if arguments.verify:
        sys.stdout.write(asyncio.run(verify_ledger(settings)))
    else:
        roles = {"owner": arguments.owner, "guardian": arguments.guardian}
        text = asyncio.run(deploy_ledger(settings, new_key=arguments.new_key, as_json=arguments.json, **roles))
        sys.stdout.write(text)
    return 0


def _audit(arguments: argparse.Namespace) -> int:
    settings = settings_module.load()
    settings = settings.model_copy(
        update={
            "rpc_url": arguments.rpc or settings.rpc_url,
            "ledger_address": arguments.ledger or settings.ledger_address,
        }
    )
    settings.check("audit")
    from bot.cli.ledger import audit_ledger

    chain_only = arguments.chain_only or (bool(arguments.rpc or arguments.ledger) and not arguments.with_database)
    ok, text = asyncio.run(
        audit_ledger(
            settings,
            round_number=arguments.round,
            chain_only=chain_only,
            with_database=arguments.with_database,
            since=arguments.since,
            as_json=arguments.json,
        )
    )
    sys.stdout.write(text)
    return 0 if ok else 1


def _costs(arguments: argparse.Namespace) -> int:
    settings = settings_module.load()
    from bot.cli.ledger import estimate_costs

    voters = arguments.voters
    try:
        community = Community(
            videos=arguments.videos,
            voters=voters,
            new_voters=voters if arguments.new_voters is None else arguments.new_voters,
            votes=2 * voters if arguments.votes is None else arguments.votes,
            batch=arguments.batch,
        )
    except ValueError as error:
        raise OperatorError(str(error)) from error
    sys.stdout.write(asyncio.run(estimate_costs(settings, community, usd=arguments.usd, as_json=arguments.json)))
    return 0


if __name__ == "__main__":
    main()
