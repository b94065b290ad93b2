"""`flock models` and `flock rerender`: what a worker could render with, and a video once more from its card."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from bot.domain.errors import OperatorError
from bot.settings import Settings
from generation.models.inventory import describe, describe_family, rule_of
from generation.models.presets import known_families
from generation.models.registry import load_models
from generation.video.provenance import MOST_BYTES, read_card
from generation.worker.render_process import RenderError
from generation.worker.rerender import rerender

Json = dict[str, Any]


def list_models(settings: Settings, *, families: bool, as_json: bool) -> str:
    """The configured models, or the families that FLock knows; ends with a newline. Raises OperatorError."""
    if families:
        known = [describe_family(family) for family in known_families().values()]
        if as_json:
            return json.dumps({"families": known}, indent=2) + "\n"
        return "".join(_family(entry, rule_of(known_families()[entry["pipeline"]].preset)) for entry in known)
    try:
        models = load_models(settings.data_dir.resolve(), settings.models_file)
    except ValueError as error:
        raise OperatorError(str(error)) from error
    entries = [describe(model) | {"chosen": model.id == settings.model_id} for model in models.values()]
    if as_json:
        return json.dumps({"models": entries}, indent=2) + "\n"
    return "".join(_model(entry) for entry in entries)


def rerender_card(settings: Settings, path: Path, out: Path | None) -> tuple[bool, str]:
    """Whether the frames of a card's video are the same here, and the lines that say so. Raises OperatorError."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise OperatorError(f"{path} is too large for a provenance card.")
        card = read_card(path.read_text(encoding="utf-8"))
        patience = {"hang_s": settings.hang_s, "load_s": settings.load_s}
        comparison = asyncio.run(rerender(card, settings.data_dir.resolve(), settings.models_file, out=out, **patience))
    except OSError as error:
        raise OperatorError(f"{error.filename or path}: {error.strerror}.") from error
    except (ValueError, RenderError) as error:  # of card or model: sentences both
        raise OperatorError(str(error)) from error
    verdict = "The frames are the same, bit by bit." if comparison.same_frames else "The frames are not the same."
    lines = [verdict, f"  here      {comparison.frames_sha256}", f"  the card  {comparison.card_frames_sha256}"]
    lines += [f"  note      {sentence}" for sentence in comparison.differences]
    if out is not None:
        lines.append(f"  video     {out}")
    return comparison.same_frames, "\n".join(lines) + "\n"


def _model(entry: Json) -> str:
    preset = entry["preset"]
    lines = [f"{entry['id']}{' (FLOCK_MODEL_ID)' if entry['chosen'] else ''}"]
    family = entry["family"] or "its files tell, once they are here"
    lines.append(f"  family    {family}" + (f" ({entry['pipeline']})" if entry["pipeline"] else ""))
    lines.append(f"  source    {entry['source']}")
    lines.append(f"  revision  {entry['revision'] or 'hashed when it is loaded'}")
    lines += [f"  adapter   {adapter}" for adapter in entry["adapters"]]
    if preset is not None:
        size = f"{preset['width']}x{preset['height']}"
        seconds = preset["frames"] / preset["fps"]
        lines.append(
            f"  renders   {preset['frames']} frames of {size} at {preset['fps']} a second ({seconds:.1f} s), "
            f"{preset['steps']} steps, guidance {preset['guidance']:g}"
        )
    lines += [f"  note      {sentence}" for sentence in entry["notes"]]
    if entry["weights_mib"] is not None:
        parts = ", ".join(f"{name} {mib}" for name, mib in entry["weights_mib"]["parts"].items())
        once = entry["weights_mib"]["at_once"]
        lines.append(f"  weights   {f'{once} MiB at a time: ' if once is not None else ''}{parts} MiB")
    if entry["here"]:
        lines.append("  files     here")
    elif entry["embedded"]:
        lines.append("  files     with FLock; put in place at the first start")
    elif entry["missing"]:
        lines.append(f"  files     incomplete: {', '.join(entry['missing'][:5])}")
    elif entry["unusable"]:
        lines += [f"  files     cannot be used: {sentence}" for sentence in entry["unusable"]]
    else:
        lines.append("  files     not here: fetched at the first start")
    if entry["license"]:
        gated = "; gated: agree on its page, then fetch it with your token (hf download)" if entry["gated"] else ""
        lines.append(f"  license   {entry['license']}{gated}{' ' + entry['page'] if entry['page'] else ''}")
    return "\n".join(lines) + "\n\n"


def _family(entry: Json, rule: str) -> str:
    lines = [f"{entry['family']} ({entry['pipeline']})"]
    lines.append(
        f"  renders   {entry['frames']} frames of {entry['width']}x{entry['height']} at {entry['fps']} a second, "
        f"{entry['steps']} steps, guidance {entry['guidance']:g}; {rule}"
    )
    if entry["variants"]:
        lines.append(f"  also      {', '.join(entry['variants'])}")
    if entry["caches"]:
        lines.append(f"  caches    {', '.join(entry['caches'])}")
    if entry["needs"]:
        lines.append(f"  needs     {', '.join(entry['needs'])}")
    for repository in entry["repositories"]:
        size = f", {repository['billions']:g} billion" if repository["billions"] else ""
        gated = ", gated" if repository["gated"] else ""
        lines.append(
            f"  model     {repository['id']} ({repository['license'] or 'license: see its page'}{size}{gated})"
        )
    for few in entry["few_steps"]:
        name = f"{few['id']}/{few['weight_name']}" if few["weight_name"] else few["id"]
        notes = f"; {few['notes']}" if few["notes"] else ""
        terms = few["license"] or "license: see its page"
        lines.append(f"  few steps {name}: {few['steps']} steps, guidance {few['guidance']:g} ({terms}){notes}")
    if entry["dtype"]:
        lines.append(f"  on a GPU  dtype {entry['dtype']}, where the weights do not fit offload {entry['offload']}")
    if entry["notes"]:
        lines.append(f"  note      {entry['notes']}")
    return "\n".join(lines) + "\n\n"
