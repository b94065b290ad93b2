"""`python -m generation.tiny FOLDER`: makes the tiny pipeline and prints its revision."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from generation.tiny.make import make_tiny_pipeline

if len(sys.argv) != 2:
    sys.stderr.write("usage: python -m generation.tiny FOLDER\n")
    raise SystemExit(2)
os.environ["HF_HUB_OFFLINE"] = "1"  # it is made here: nothing is asked of anybody
try:
    sys.stdout.write(make_tiny_pipeline(Path(sys.argv[1])) + "\n")
except OSError as error:
    sys.stderr.write(f"{error}\n")
    raise SystemExit(1) from None
