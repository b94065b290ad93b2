"""The packages that only some processes need, and what to install where one of them is missing.

Imports none of them, and looks for each without importing it, so that any process may use it.
"""

from __future__ import annotations

from importlib.util import find_spec

_WORKER = {
    "accelerate": "accelerate",
    "av": "av",
    "c2pa-python": "c2pa",
    "cryptography": "cryptography",
    "diffusers": "diffusers",
    "ftfy": "ftfy",
    "numpy": "numpy",
    "peft": "peft",
    "pillow": "PIL",
    "safetensors": "safetensors",
    "sentencepiece": "sentencepiece",
    "torch": "torch",
    "transformers": "transformers",
}
_EXPORT = {"huggingface-hub": "huggingface_hub", "pyarrow": "pyarrow"}
# The extras in pyproject.toml for people who run FLock: the packages of each, with the name to import them by.
EXTRAS: dict[str, dict[str, str]] = {
    "worker": _WORKER,
    "export": _EXPORT,
    "train": {**_EXPORT, **_WORKER, "tensorboard": "tensorboard"},
    "demo": {**_WORKER, "py-evm": "eth", "simcord": "simcord"},
    "s3": {"boto3": "boto3"},
    "kms-aws": {"boto3": "boto3"},
    "kms-gcp": {"google-cloud-kms": "google.cloud.kms_v1"},
}
MOST_NAMES = 3  # in one sentence


class MissingExtraError(ImportError):
    """A process lacks packages of an extra; str() names them, and the command that installs them."""

    def __init__(self, process: str, extra: str, packages: list[str]) -> None:
        self.problem = (
            f"{process} needs {_enumerate(packages)}, which {'is' if len(packages) == 1 else 'are'} not installed."
        )
        self.remedy = f"Run: {install(extra)}"
        super().__init__(f"{self.problem} {self.remedy}")


def install(extra: str) -> str:
    """Return the command that installs an extra beside the FLock that is here."""
    return f"pip install 'flock[{extra}]'"


def missing(extra: str) -> list[str]:
    """Return the packages of an extra that are not here, by the names under which they are installed."""
    return [package for package, module in EXTRAS[extra].items() if not _is_here(module)]


def require(extra: str, process: str) -> None:
    """Raise MissingExtraError where a package of the extra is missing; `process` begins its sentence: "The worker"."""
    if packages := missing(extra):
        raise MissingExtraError(process, extra, packages)


def _is_here(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of the package around it
        return False


def _enumerate(packages: list[str]) -> str:
    if len(packages) > MOST_NAMES + 1:
        packages = [*packages[:MOST_NAMES], f"{len(packages) - MOST_NAMES} more packages"]
    return packages[0] if len(packages) == 1 else f"{', '.join(packages[:-1])} and {packages[-1]}"
