"""A GPU worker's machine: its model, and the libraries that render. torch is asked in a process of its own."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydantic import SecretStr

from bot.doctor.check import Check, Look
from bot.settings import Settings
from generation.extras import install, missing, require
from generation.models.inventory import describe
from generation.models.registry import choose, load_models
from generation.worker.files import machine_name

SOON = timedelta(days=30)
LIBRARIES_REMEDY = f"Run: {install('worker')}"
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
        return [Check(True, "model", "tiny, which comes with FLock; real ones are told of in docs/models.md")]
    found = describe(chosen)
    if found["missing"]:
        remedy = "Put the whole diffusers folder there, or change `source` in the models file."
        problem = (
            f"{chosen.source} holds no diffusers pipeline, or not all of it: {', '.join(found['missing'][:5])} lacks"
        )
        return [Check(False, "model", problem, remedy)]
    if chosen.adapters and "peft" in missing("train"):
        problem = f"{chosen.id} has adapters, and peft, which loads them, is not installed"
        return [Check(False, "model", problem, f"Run: {install('train')}")]
    if found["unusable"]:
        remedy = "Take other files, or change `source` in the models file; `flock models` tells what else is wrong."
        return [Check(False, "model", f"{chosen.source}: {found['unusable'][0]}", remedy)]
    where = "here" if found["here"] else "fetched at the first start"
    revision = found["revision"] or "hashed when it is loaded"
    return [Check(True, "model", f"{chosen.id}: {chosen.source} at {revision}, {where}")]


async def classifier(settings: Settings) -> Sequence[Check]:
    """What looks at each video before it leaves the machine, if the models file names something."""
    chosen = choose(load_models(settings.data_dir.resolve(), settings.models_file), settings.model_id).classifier
    if chosen is None:
        return [Check(True, "classifier", "none: nothing looks at videos before they are posted (see docs/safety.md)")]
    source, labels = Path(chosen["source"]), ", ".join(chosen["labels"])
    if source.is_dir() and not (source / "config.json").is_file():
        return [
            Check(
                False, "classifier", f"{source} holds no transformers model", "Check [classifier] in the models file."
            )
        ]
    return [Check(True, "classifier", f"{source} flags {labels}")]


async def signature(settings: Settings) -> Sequence[Check]:
    """What signs the videos (C2PA); a certificate that soon ends is told of before it does."""
    own = settings.c2pa_cert is not None or settings.c2pa_key is not None
    if "cryptography" in missing("worker"):
        return []  # `libraries` tells of it
    from generation.video.certificates import certificate_of

    if not own and not (settings.data_dir / "certificate.pem").exists():
        return [Check(True, "signature", "a certificate of its own is made at the first start: nobody vouches for it")]
    found = await asyncio.to_thread(certificate_of, settings.data_dir, settings.c2pa_cert, settings.c2pa_key)
    ends = f"{found.name}, until {found.not_after:%Y-%m-%d}"
    if own and found.not_after < datetime.now(UTC) + SOON:
        return [Check(False, "signature", f"the certificate ends soon: {ends}", "Have it renewed: FLOCK_C2PA_CERT.")]
    kind = "the operator's certificate" if own else "a self-made certificate, for which nobody vouches"
    return [Check(True, "signature", f"{kind}: {ends}")]


async def libraries(_settings: Settings) -> Sequence[Check]:
    """Whatever renders is installed, torch, diffusers and PyAV can be imported; whether there is a GPU for them."""
    require("worker", "The worker")
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
        return [Check(False, "libraries", last[:200], LIBRARIES_REMEDY)]
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
    Look("signature", signature, "Check FLOCK_C2PA_CERT and FLOCK_C2PA_KEY; docs/provenance.md says what they hold."),
    Look("model", model, "Check FLOCK_MODEL_ID and FLOCK_MODELS_FILE; docs/models.md says how a model is added."),
    Look("classifier", classifier, "Check [classifier] in FLOCK_MODELS_FILE; docs/safety.md says how it is written."),
    # importing torch from a cold disk takes its time
    Look("libraries", libraries, LIBRARIES_REMEDY, patience=8.0),
    Look("machine", machine, "Look at the file `machine` in the data folder."),
    Look("keys", keys, "Look at .env."),
)
