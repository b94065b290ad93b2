"""The fixtures of the embedded video host, which most tests of hosting run on."""

from tests.generation.hosting.conftest import (
    authorized,
    big_video,
    brisk,
    faults,
    host,
    hosting,
    http,
    ignore_url,
    key,
    livepeer,
    make,
    quick,
    tls,
    until,
    video,
)

__all__ = [
    "authorized",
    "big_video",
    "brisk",
    "faults",
    "host",
    "hosting",
    "http",
    "ignore_url",
    "key",
    "livepeer",
    "make",
    "quick",
    "tls",
    "until",
    "video",
]
