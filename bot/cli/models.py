"""`flock models`: the models that a worker could render with, and the families that FLock knows."""

from __future__ import annotations

import argparse
import json

from bot.cli.process import Commands, write
from bot.domain.errors import OperatorError
from bot.settings import Settings, load_settings
from generation.models.inventory import describe, describe_family, rule_of
from generation.models.presets import Family, known_families
from generation.models.registry import Model, load_models


def add_parser(commands: Commands) -> None:
    """Add the command to `flock`."""
    parser = commands.add_parser(
        "models",
        help="the models that a worker could render with, and the families that FLock knows",
        description="Lists the models of FLOCK_MODELS_FILE: family, revision, sizes, steps, weights, license, and "
        "whether their files are here. Nothing is loaded or fetched.",
    )
    parser.add_argument("--families", action="store_true", help="list the known families and their models instead")
    parser.add_argument("--json", action="store_true", help="print it as JSON")
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the models, or the families."""
    settings = load_settings()
    write(list_models(settings, families=arguments.families, as_json=arguments.json))
    return 0


def list_models(settings: Settings, *, families: bool, as_json: bool) -> str:
    """Return the configured models, or the families that FLock knows; ends with a newline. Raises OperatorError."""
    if families:
        if as_json:
            described = [describe_family(family) for family in known_families().values()]
            return json.dumps({"families": described}, indent=2) + "\n"
        return "".join(_family(family) for family in known_families().values())
    try:
        models = load_models(settings.data_dir.resolve(), settings.models_file)
    except ValueError as error:
        raise OperatorError(str(error)) from error
    if as_json:
        entries = [{**describe(model), "chosen": model.id == settings.model_id} for model in models.values()]
        return json.dumps({"models": entries}, indent=2) + "\n"
    return "".join(_model(model, is_default=model.id == settings.model_id) for model in models.values())


def _model(model: Model, *, is_default: bool) -> str:
    entry = describe(model)
    preset = entry["preset"]
    lines = [f"{entry['id']}{' (FLOCK_MODEL_ID)' if is_default else ''}"]
    family = entry["family"] or "known once its files are here"
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
        lines.append("  files     with FLock; installed at the first start")
    elif entry["missing"]:
        lines.append(f"  files     incomplete: {', '.join(entry['missing'][:5])}")
    elif entry["unusable"]:
        lines += [f"  files     cannot be used: {sentence}" for sentence in entry["unusable"]]
    else:
        lines.append("  files     not here: fetched at the first start")
    if entry["license"]:
        gated = (
            "; gated: accept its terms on its page, then fetch it with your token (hf download)"
            if entry["gated"]
            else ""
        )
        lines.append(f"  license   {entry['license']}{gated}{' ' + entry['page'] if entry['page'] else ''}")
    return "\n".join(lines) + "\n\n"


def _family(family: Family) -> str:
    entry = describe_family(family)
    lines = [f"{entry['family']} ({entry['pipeline']})"]
    lines.append(
        f"  renders   {entry['frames']} frames of {entry['width']}x{entry['height']} at {entry['fps']} a second, "
        f"{entry['steps']} steps, guidance {entry['guidance']:g}; {rule_of(family.preset)}"
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
