"""`flock train`: an adapter from a data set of votes, tuned in another process. No torch in this one."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from bot.cli.process import Commands, without_settings, write
from bot.domain.errors import OperatorError
from bot.settings import Settings, load_settings
from generation.extras import require
from generation.feedback.tuning.order import FILE, Order
from generation.feedback.tuning.recipe import METHODS, PRECISIONS, Recipe
from generation.models.registry import choose, load_models
from generation.printable import one_line


def add_parser(commands: Commands) -> None:
    """Add the command to `flock`."""
    defaults = Recipe()
    parser = commands.add_parser(
        "train",
        help="tune an adapter (LoRA) from a data set of votes",
        description="Tunes an adapter of a model on the videos that a community voted on, and writes it with its "
        "recipe, metrics, taste scorer and guards. Killed at any point, it goes on with --resume. "
        "On several GPUs: accelerate launch -m generation.feedback OUT/order.json",
    )
    parser.add_argument("dataset", type=Path, help="a folder that flock export wrote")
    parser.add_argument("--model", metavar="ID", help="the model to tune (default: FLOCK_MODEL)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder of the candidate")
    parser.add_argument("--method", choices=METHODS, default=defaults.method, help=f"default: {defaults.method}")
    parser.add_argument("--steps", type=int, default=defaults.steps, metavar="N", help=f"default: {defaults.steps}")
    parser.add_argument(
        "--rounds", type=int, default=defaults.rounds, metavar="N", help="rounds of fresh videos after the voted ones"
    )
    parser.add_argument("--seed", type=int, default=defaults.seed, metavar="N")
    parser.add_argument("--precision", choices=PRECISIONS, default=defaults.precision, help="no means float32")
    parser.add_argument("--checkpointing", action="store_true", help="less memory, more time")
    parser.add_argument("--live", type=Path, metavar="FILE", help="the adapter of the release to go on from")
    parser.add_argument("--guard-videos", type=int, default=8, metavar="N", help="of each model, for the guards")
    parser.add_argument("--resume", action="store_true", help="go on with the training in --out")
    parser.add_argument("--handover", type=Path, metavar="DIR", help="write a folder for SimpleTuner instead")
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace) -> int:
    """Start the training, show its progress, and return its exit code."""
    settings = load_settings()
    require("train", "Tuning")
    order = order_of(settings, arguments)
    if (Path(order.out) / FILE).exists() and not arguments.resume:
        raise OperatorError(
            f"{order.out} holds a training already. Add --resume to go on with it, or name a new folder."
        )
    return train(order)


def order_of(settings: Settings, arguments: argparse.Namespace) -> Order:
    """Return the order of a command line. Raises OperatorError with a sentence."""
    try:
        models = load_models(settings.data_dir.resolve(), settings.models_file)
        recipe = Recipe(
            method=arguments.method,
            steps=arguments.steps,
            rounds=arguments.rounds,
            seed=arguments.seed,
            precision=arguments.precision,
            checkpointing=arguments.checkpointing,
        )
        model = choose(models, arguments.model or settings.model_id)
    except ValueError as error:
        raise OperatorError(str(error)) from error
    if not arguments.dataset.is_dir():
        raise OperatorError(f"There is no folder {arguments.dataset}. Run: flock export")
    return Order(
        data=str(arguments.dataset.resolve()),
        model=model,
        out=str(arguments.out.resolve()),
        recipe=recipe,
        live=None if arguments.live is None else str(arguments.live.resolve()),
        guard_videos=arguments.guard_videos,
        handover=None if arguments.handover is None else str(arguments.handover.resolve()),
    )


def train(order: Order) -> int:
    """Run the process that trains, and return its exit code; its progress and result are shown."""
    path = order.write()
    command = [sys.executable, "-m", "generation.feedback", str(path)]
    environment = without_settings(os.environ)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:  # noqa: S603  # ours
        assert process.stdout is not None  # noqa: S101  # it is a pipe
        for line in process.stdout:
            write(shown(line))
    return process.returncode


def shown(line: str) -> str:
    """Return a line of the process as people read it."""
    try:
        said = json.loads(line)
    except ValueError:
        return line
    if "progress" in said:
        return f"{said['progress']}: {said['done']} of {said['of']}\n"
    if "handover" in said:
        return f"{said['videos']} videos are in {said['handover']}; its README.md has the command.\n"
    lines = [
        f"The candidate is {one_line(said['adapter'])}",
        f"  sha256  {said['sha256']}",
        f"  drift   {said['drift']:.4f}",
    ]
    lines += [f"  guard   {one_line(sentence)}" for sentence in said.get("guards", {}).get("sentences", ())]
    lines += [f"  note    {one_line(sentence)}" for sentence in said["notes"]]
    return "\n".join(lines) + "\n"
