"""Reads the operator's file of rules for prompts (FLOCK_PROMPT_RULES)."""

from __future__ import annotations

import os
from pathlib import Path

from bot.prompt_filter.rules import PromptRules, RulesError, read_rules

LARGEST = 4 << 20  # bytes


def open_rules(path: Path | None) -> PromptRules:
    """Return the rules of a file; no rules without a path. Raises RulesError with a sentence."""
    if path is None:
        return PromptRules()
    try:
        if path.stat().st_size > LARGEST:
            raise RulesError(f"The file {path} that FLOCK_PROMPT_RULES names is larger than {LARGEST >> 20} MiB.")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        problem = os.strerror(error.errno or 0)
        raise RulesError(f"The file {path} that FLOCK_PROMPT_RULES names cannot be read ({problem}).") from None
    except UnicodeDecodeError:
        raise RulesError(f"The file {path} that FLOCK_PROMPT_RULES names is not UTF-8.") from None
    return read_rules(text, path.name)
