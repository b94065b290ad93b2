"""`python -m generation.tiny FOLDER`: makes the tiny pipeline and prints its revision."""

from __future__ import annotations

import sys
from pathlib import Path

from generation.tiny.make import make_tiny_pipeline

if len(sys.argv) != 2:
    sys.stderr.write("usage: python -m generation.tiny FOLDER\n")
    raise SystemExit(2)
sys.stdout.write(make_tiny_pipeline(Path(sys.argv[1])) + "\n")
