"""`flock run`: what keeps it from starting is a sentence."""

from __future__ import annotations

from pathlib import Path

from tests.builders.command_line import complete, flock, plain


def test_missing_settings_are_told_at_once(tmp_path: Path) -> None:
    """`flock run` without settings lists all of them before anything starts."""
    run = flock(tmp_path, "run")
    plain(run, "FLOCK_DISCORD_TOKEN is missing", "FLOCK_KEYSTORE is missing", ".env.example")
    assert not (tmp_path / "data").exists()


def test_an_unreachable_discord_is_a_sentence(tmp_path: Path) -> None:
    """Nothing answers at Discord's address: the last line says so, and that nothing is lost."""
    plain(flock(tmp_path, "run", **complete(tmp_path)), "Discord cannot be reached", "Nothing is lost")


def test_a_keystore_that_others_can_read_is_refused(tmp_path: Path) -> None:
    """The relayer's key is not opened while its file is readable by others; the remedy is named."""
    settings = complete(tmp_path)
    (tmp_path / "key").chmod(0o644)
    plain(flock(tmp_path, "run", **settings), "chmod 600")
