"""Write docs/licences.md: `python -m tests.supply.licences`, a part of `make sbom`."""

from __future__ import annotations

from importlib.metadata import PackageMetadata, distribution

from tests.supply.closure import closure

PARTS = {
    "bot": ("flock[s3,kms-aws,kms-gcp,export]",),
    "worker": ("flock[train]",),
    "demo": ("flock[demo]",),
}
OF_CUDA = ("nvidia-", "cuda-", "triton")  # with torch, on some machines
# Words of older metadata, as SPDX writes them.
SPDX = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2.0 License": "Apache-2.0",
    "Apache 2.0": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "Apache license 2.0": "Apache-2.0",
    "BSD License": "BSD",
    "GNU Lesser General Public License v3 (LGPLv3)": "LGPL-3.0-only",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "MIT license": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "The MIT License": "MIT",
    "The Unlicense (Unlicense)": "Unlicense",
}
HEAD = """\
# Licences of what FLock brings along

FLock is under the [MIT licence](../LICENSE). `pip` installs the packages below beside it; each keeps its own licence.
The table is what their metadata says. `make sbom` writes it, and a bill of materials with versions (CycloneDX,
`build/sbom.cdx.json`); a test compares the table with what is installed. NVIDIA's packages, which torch brings on
machines with CUDA, are not in it: they are under NVIDIA's own terms.

## Whoever hands on a worker's image

**The wheel of PyAV (`av`) is BSD, and libraries inside it are not.** It carries x264 and x265 (GPL-2.0-or-later) and an
FFmpeg that is built with both and calls itself LGPL-3.0-or-later: together they are handed on under GPL-3.0-or-later.
FLock encodes with x264 (`generation/video/encode.py`). Then:

- **Running** a worker or the demo, also as a service for others, asks nothing of you.
- **Handing on** an image or a disk with the wheel in it (the targets `worker` and `demo`) is handing on GPL binaries:
  give the licence's text along, and the corresponding source of that build or a written offer of it. PyAV's project
  publishes how its wheels are built and from which versions.
- FLock's own sources stay MIT, which the GPL allows to be combined with it. The targets `bot` and `chain` have no PyAV.

There is no setting for another encoder. H.264 in an mp4 is the one form that Discord plays on every device and that the
video hosts take as it is, and x264 gives the same bytes for the same frames. An image without GPL parts needs a PyAV
that was built against your own FFmpeg (`pip install --no-binary av av`) and an H.264 encoder that FLock does not know
today. H.264 itself is covered by patents in some countries, whichever encoder writes it.

`psycopg` is LGPL-3.0: it is used as a library, unchanged, and can be exchanged. MPL-2.0 binds
changes of those files alone.

## The packages

| package | licence | in |
|---|---|---|
"""


def licence_of(metadata: PackageMetadata) -> str:
    """The licence that a package states: an SPDX expression, a classifier, or the first line of its text."""
    if expression := metadata.get("License-Expression"):
        return str(expression)
    classifiers = [line.rpartition(" :: ")[2] for line in metadata.get_all("Classifier") or [] if "License ::" in line]
    named = [name for name in classifiers if name != "OSI Approved"]
    text = str(metadata.get("License") or "").strip().splitlines()
    words = named or [line.strip() for line in text[:1]]
    return " AND ".join(sorted({SPDX.get(word, word) for word in words}))


def table() -> dict[str, tuple[str, str]]:
    """The licence of each package, and the parts of FLock that bring it."""
    parts = {part: closure(*wanted) for part, wanted in PARTS.items()}
    names = sorted(name for name in set().union(*parts.values()) if not name.startswith(("nvidia-", "cuda-", "triton")))
    return {
        name: (
            licence_of(distribution(name).metadata),
            ", ".join(part for part, of_it in parts.items() if name in of_it),
        )
        for name in names
    }


def document() -> str:
    """The whole document."""
    return HEAD + "".join(f"| {name} | {licence} | {parts} |\n" for name, (licence, parts) in table().items())


if __name__ == "__main__":
    print(document(), end="")  # noqa: T201  # it is written by a redirection
