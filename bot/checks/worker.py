"""A GPU worker's machine: its model, and the libraries that render. torch is asked in a process of its own."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence

from pydantic import SecretStr

from bot.checks.check import Check, Look
from bot.settings import Settings
from generation.catalogue import describe
from generation.models import choose, load_models
from generation.rendered import machine_name

_ASK = """
import json, torch, diffusers, av
gpu = torch.cuda.is_available()
print(json.dumps({
    "torch": torch.__version__,
    "diffusers": diffusers.__version__,
    "av": av.__version__,
    "built for CUDA": torch.version.cuda,
    "GPU": torch.cuda.get_device_name() if gpu else None,
    "GiB": round(torch.cuda.mem_get_info()[1] / 2**30, 1) if gpu else None,
}))
"""


async def model(settings: Settings) -> Sequence[Check]:
    """The model is known, pinned, and here where it is a folder."""
    chosen = choose(load_models(settings.data_dir.resolve(), settings.models_file), settings.model_id)
    if chosen.embedded:
        return [Check(True, "model", "tiny, which is made on this machine; real ones are told of in docs/models.md")]
    found = describe(chosen)
    if found["missing"]:
        remedy = "Put the whole diffusers folder there, or change `source` in the models file."
        problem = (
            f"{chosen.source} holds no diffusers pipeline, or not all of it: {', '.join(found['missing'][:5])} lacks"
        )
        return [Check(False, "model", problem, remedy)]
    where = "here" if found["here"] else "fetched at the first start"
    revision = found["revision"] or "hashed when it is loaded"
    return [Check(True, "model", f"{chosen.id}: {chosen.source} at {revision}, {where}")]


async def libraries(_settings: Settings) -> Sequence[Check]:
    """torch, diffusers and PyAV can be imported; whether there is a GPU for them."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _ASK, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode != 0:
        last = (err.decode(errors="replace").strip().splitlines() or ["no reason given"])[-1]
        return [Check(False, "libraries", last[:200], "Run: pip install 'flock[worker]'")]
    found = json.loads(out)
    gpu, memory, built = found.pop("GPU"), found.pop("GiB"), found.pop("built for CUDA")
    checks = [Check(True, "libraries", ", ".join(f"{name} {version}" for name, version in found.items()))]
    if gpu:
        checks.append(Check(True, "GPU", f"{gpu} with {memory} GiB"))
    elif built:
        remedy = "Install the GPU's driver, or check CUDA_VISIBLE_DEVICES; on the CPU only tiny models are any fun."
        checks.append(Check(False, "GPU", f"torch is built for CUDA {built}, and finds no GPU", remedy))
    else:
        checks.append(Check(True, "GPU", "none: this torch renders on the CPU, which is enough for the tiny model"))
    return checks


async def machine(settings: Settings) -> Sequence[Check]:
    """The name under which uploads find this machine; it is made at the first start."""
    if not (settings.data_dir / "machine").exists():
        return [Check(True, "machine", "its name is made at the first start")]
    return [Check(True, "machine", f"is known as {machine_name(settings.data_dir)}")]


async def keys(settings: Settings) -> Sequence[Check]:
    """A worker needs no key: one that it does not have cannot be stolen from it."""
    held = [
        f"FLOCK_{name.upper()}"
        for name in type(settings).model_fields
        if isinstance(getattr(settings, name), SecretStr)
    ]
    if held:
        return [Check(True, "keys", f"{', '.join(held)} are set here, and a worker needs none of them")]
    return [Check(True, "keys", "none is here, as it should be")]


LOOKS = (
    Look("model", model, "Check FLOCK_MODEL_ID and FLOCK_MODELS_FILE; docs/models.md says how a model is added."),
    # importing torch from a cold disk takes its time
    Look("libraries", libraries, "Run: pip install 'flock[worker]'", patience=8.0),
    Look("machine", machine, "Look at the file `machine` in the data folder."),
    Look("keys", keys, "Look at .env."),
)
