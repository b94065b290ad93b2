"""The checks of a GPU worker's machine: its model, and the libraries that render.

Packages are imported in a process of their own: none of them is loaded here.
"""

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
    """Check that the model is known and pinned, and complete if it is a folder."""
    served = choose(load_models(settings.data_dir.resolve(), settings.models_file), settings.model_id)
    if served.embedded:
        return [Check(True, "model", "tiny, which comes with FLock; docs/models.md says how to add a real one")]
    entry = describe(served)
    if entry["missing"]:
        remedy = "Put the whole diffusers folder there, or change `source` in the models file."
        files = ", ".join(entry["missing"][:5])
        problem = f"{served.source} is no diffusers pipeline, or an incomplete one: {files} missing"
        return [Check(False, "model", problem, remedy)]
    if served.adapters and "peft" in missing("worker"):
        problem = f"{served.id} has adapters, and peft, which loads them, is not installed"
        return [Check(False, "model", problem, f"Run: {install('worker')}")]
    if entry["unusable"]:
        remedy = "Use other files, or change `source` in the models file; `flock models` lists all problems."
        return [Check(False, "model", f"{served.source}: {entry['unusable'][0]}", remedy)]
    place = "here" if entry["here"] else "fetched at the first start"
    revision = entry["revision"] or "hashed when it is loaded"
    return [Check(True, "model", f"{served.id}: {served.source} at {revision}, {place}")]


async def classifier(settings: Settings) -> Sequence[Check]:
    """Check the classifier that looks at each video before it leaves the machine, if the models file names one."""
    safety = choose(load_models(settings.data_dir.resolve(), settings.models_file), settings.model_id).classifier
    if safety is None:
        return [Check(True, "classifier", "none: nothing looks at videos before they are posted (see docs/safety.md)")]
    source, labels = Path(safety["source"]), ", ".join(safety["labels"])
    if source.is_dir() and not (source / "config.json").is_file():
        remedy = "Check [classifier] in the models file."
        return [Check(False, "classifier", f"{source} holds no transformers model", remedy)]
    return [Check(True, "classifier", f"{source} flags {labels}")]


async def signature(settings: Settings) -> Sequence[Check]:
    """Check the certificate that signs the videos (C2PA); one that ends soon is reported before it does."""
    own = settings.c2pa_cert is not None or settings.c2pa_key is not None
    if "cryptography" in missing("worker"):
        return []  # `libraries` reports it
    from generation.video.certificates import certificate_of

    if not own and not (settings.data_dir / "certificate.pem").exists():
        return [Check(True, "signature", "the worker makes a certificate at the first start, for which nobody vouches")]
    certificate = await asyncio.to_thread(certificate_of, settings.data_dir, settings.c2pa_cert, settings.c2pa_key)
    ends = f"{certificate.name}, until {certificate.not_after:%Y-%m-%d}"
    if own and certificate.not_after < datetime.now(UTC) + SOON:
        return [Check(False, "signature", f"the certificate ends soon: {ends}", "Renew the file of FLOCK_C2PA_CERT.")]
    kind = "the operator's certificate" if own else "a self-made certificate, for which nobody vouches"
    return [Check(True, "signature", f"{kind}: {ends}")]


async def libraries(_settings: Settings) -> Sequence[Check]:
    """Check that all packages are installed, that torch, diffusers and PyAV can be imported, and their GPU."""
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
    facts = json.loads(out)
    gpu, memory, built = facts.pop("GPU"), facts.pop("GiB"), facts.pop("built for CUDA")
    checks = [Check(True, "libraries", ", ".join(f"{name} {version}" for name, version in facts.items()))]
    if gpu:
        checks.append(Check(True, "GPU", f"{gpu} with {memory} GiB"))
    elif built:
        remedy = "Install the GPU's driver, or check CUDA_VISIBLE_DEVICES; on the CPU only tiny models are of use."
        checks.append(Check(False, "GPU", f"torch is built for CUDA {built}, but finds no GPU", remedy))
    else:
        checks.append(Check(True, "GPU", "none: this torch renders on the CPU, which is enough for the tiny model"))
    return checks


async def machine(settings: Settings) -> Sequence[Check]:
    """Check the name by which uploads are assigned to this machine; it is made at the first start."""
    if not (settings.data_dir / "machine").exists():
        return [Check(True, "machine", "its name is made at the first start")]
    return [Check(True, "machine", f"its name is {machine_name(settings.data_dir)}")]


async def keys(settings: Settings) -> Sequence[Check]:
    """Check for keys: a worker needs none, and a key that it does not have cannot be stolen from it."""
    names = [
        f"FLOCK_{name.upper()}"
        for name in type(settings).model_fields
        if isinstance(getattr(settings, name), SecretStr)
    ]
    if names:
        return [Check(True, "keys", f"a worker needs no key; remove from this machine: {', '.join(names)}")]
    return [Check(True, "keys", "none is set here, as it should be")]


LOOKS = (
    Look("signature", signature, "Check FLOCK_C2PA_CERT and FLOCK_C2PA_KEY; docs/provenance.md says what they hold."),
    Look("model", model, "Check FLOCK_MODEL_ID and FLOCK_MODELS_FILE; docs/models.md says how to add a model."),
    Look("classifier", classifier, "Check [classifier] in FLOCK_MODELS_FILE; docs/safety.md says how to write it."),
    # importing torch from a cold disk takes its time
    Look("libraries", libraries, LIBRARIES_REMEDY, time_factor=8.0),
    Look("machine", machine, "Check the file `machine` in the data folder."),
    Look("keys", keys, "Check .env."),
)
