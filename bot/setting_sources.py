"""Looks at where settings come from: names that are no settings, secrets in files of their own; and writes the example.

A secret is given as FLOCK_X, as FLOCK_X_FILE with the path of a file, or as a systemd credential of the name FLOCK_X.
No text here quotes a value: one that was put into the wrong variable may be a secret.
"""

from __future__ import annotations

import difflib
import os
import re
import stat
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from pydantic import SecretStr
from pydantic_settings import BaseSettings, DotEnvSettingsSource, EnvSettingsSource

PREFIX = "FLOCK_"
MOST_BYTES = 16 * 1024
LONGEST_MISTAKE = 4  # letters too many behind a secret's name; what is longer may be the secret itself
WITH_SECRETS = ("database_url", "rpc_url")  # a password or a key may stand in these addresses
# Variables of this form are not for the bot: those of the demo's services, and of tests.
OTHERS = re.compile(r"(DEMO|REAL|TEST)_\w+")
# Kubernetes and Docker describe a service named `flock` or `flock-…` in the environment of every container.
OF_SERVICES = re.compile(r"(\w+_)?SERVICE_(HOST|PORT)(_\w+)?|(\w+_)?PORT_\d+_(TCP|UDP|SCTP)(_(ADDR|PORT|PROTO))?")
OF_LINKS = re.compile(r"(tcp|udp|sctp)://")


class Problem(NamedTuple):
    """A setting that cannot be used, in a sentence, and the remedy in another."""

    sentence: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.sentence} {self.remedy}".rstrip()


@dataclass
class Sources:
    """The secrets that stand in files, by the names of their settings, and the problems by the names of settings."""

    values: dict[str, str] = field(default_factory=dict)
    problems: dict[str, Problem] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)
    reads_env_file: bool = True

    def __repr__(self) -> str:
        return "Sources(...)"


class SecretFileError(Exception):
    """A file that holds no secret; its text goes on after the name of the file's setting."""


def look_at_sources(kind: type[BaseSettings], replaced: Collection[str] = ()) -> Sources:
    """Return what the settings' sources hold besides plain values; `replaced` settings are not looked at."""
    sources = Sources()
    environment = _named_ours(EnvSettingsSource(kind).env_vars)
    in_file: dict[str, str] = {}
    broken: set[str] = set()  # names of .env that have no = behind them, or more than a name before it
    try:
        variables = DotEnvSettingsSource(kind).env_vars
        in_file = _named_ours(variables)
        broken = set(_named_ours({name: None for name, value in variables.items() if value is None}))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        sources.reads_env_file = False
        sources.problems[".env"] = Problem(f"The file .env cannot be read ({reason}).", "Check its owner and its mode.")
    given = {**in_file, **{name: value for name, value in environment.items() if not _is_of_another(name, value)}}
    secrets = {name for name, info in kind.model_fields.items() if _is_secret(name, str(info.annotation))}
    known = {*kind.model_fields, *(f"{name}_file" for name in secrets)}
    for name in sorted(given.keys() - known):
        if name in broken or _may_hold_a_secret(name, secrets):
            near = max((each for each in known if name.startswith(each)), key=len, default="")
            sources.problems[f"{PREFIX}{near.upper()}…"] = _unreadable(near)
        elif not OTHERS.fullmatch(name.upper()):
            sources.problems[f"{PREFIX}{name.upper()}"] = _unknown(name, known)
    credentials = _credentials(sources, kind, secrets)
    for name in sorted(secrets - set(replaced)):
        _take(sources, name, given, credentials)
    return sources


def _named_ours(variables: Mapping[str, str | None]) -> dict[str, str]:
    """Return the variables of our prefix that hold something, or are at least there, by their names without it."""
    prefix = PREFIX.lower()
    ours = {name.lower(): value or "" for name, value in variables.items()}
    return {name.removeprefix(prefix): value for name, value in ours.items() if name.startswith(prefix)}


def _is_of_another(name: str, value: str) -> bool:
    return bool(OF_SERVICES.fullmatch(name.upper()) or (name.endswith("port") and OF_LINKS.match(value)))


def _is_secret(name: str, annotation: str) -> bool:
    return SecretStr.__name__ in annotation or name in WITH_SECRETS


def _may_hold_a_secret(name: str, secrets: Collection[str]) -> bool:
    """Return True for a name that no shell would take, and for one that goes on where a secret's name ends."""
    ends = (name.removeprefix(secret) for secret in secrets if name.startswith(secret))
    return not re.fullmatch(r"\w{1,60}", name) or any(len(end.removesuffix("_file")) > LONGEST_MISTAKE for end in ends)


def _unreadable(near: str) -> Problem:
    sentence = f"A line that begins with {PREFIX}{near.upper()} has no = behind the name of a setting."
    return Problem(sentence, "Write NAME=VALUE. The line is not shown, since it may hold a secret.")


def _unknown(name: str, known: Collection[str]) -> Problem:
    shown = "".join(letter for letter in name.upper()[:60] if letter.isprintable())
    sentence = f"{PREFIX}{shown} is not a setting"
    plain = name.removesuffix("_file")
    close = [plain] if plain in known else difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.7)
    if not close:
        close = [each for each in sorted(known) if f"_{name}_" in f"_{each}_" and not each.endswith("_file")]
    if len(close) == 1:
        return Problem(f"{sentence}; did you mean {PREFIX}{close[0].upper()}?", "Correct the name, or remove it.")
    return Problem(f"{sentence}.", "Remove it; .env.example lists all settings.")


def _credentials(sources: Sources, kind: type[BaseSettings], secrets: Collection[str]) -> dict[str, Path]:
    """Return the files of systemd's credentials by the names of their settings; note those that are no secrets."""
    files: dict[str, Path] = {}
    for path in _credential_files(sources):
        name = path.name.removeprefix(PREFIX).lower()
        if name in secrets:
            files[name] = path
        elif name in kind.model_fields:
            remedy = "Set it in the environment or in .env."
            sources.problems[path.name] = Problem(f"{path.name} is no secret, and cannot be a credential.", remedy)
        else:
            sources.problems[path.name] = _unknown(name, secrets)
    return files


def _credential_files(sources: Sources) -> Iterator[Path]:
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if not folder:
        return
    try:
        yield from sorted(path for path in Path(folder).iterdir() if path.name.startswith(PREFIX))
    except OSError as error:
        sentence = f"The folder of CREDENTIALS_DIRECTORY cannot be read ({error.strerror})."
        sources.problems["CREDENTIALS_DIRECTORY"] = Problem(sentence, "Check LoadCredential= in the unit of systemd.")


def _take(sources: Sources, name: str, given: Mapping[str, str], credentials: Mapping[str, Path]) -> None:
    """Read the secret of a setting, if a file or a credential holds it; note it if it stands in several places."""
    setting = f"{PREFIX}{name.upper()}"
    places = {setting: given.get(name), f"{setting}_FILE": given.get(f"{name}_file")}
    used = [place for place, value in places.items() if value]
    credential = credentials.get(name)
    if len(used) + (credential is not None) > 1:
        also = f"the credential {setting}" if credential is not None else used[1]
        sources.problems[name] = Problem(f"{used[0]} and {also} are both set.", "Keep one of them.")
        return
    path = credential or (Path(given[f"{name}_file"]) if given.get(f"{name}_file") else None)
    if path is None:
        return
    origin = f"The credential {setting}" if credential is not None else f"{setting}_FILE"
    try:
        sources.values[name] = read_secret(path)
        sources.files[name] = path
    except SecretFileError as error:
        remedy = "Check LoadCredential= in the unit of systemd." if credential else "Check its path, owner and content."
        sources.problems[name] = Problem(f"{origin} {error}.", remedy)


def read_secret(path: Path) -> str:
    """Return the text of a secret's file without the end of its last line. Raises SecretFileError."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise SecretFileError("names something that is not a regular file")
            content = os.read(handle, MOST_BYTES + 1)
        finally:
            os.close(handle)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no valid path"
        raise SecretFileError(f"names a file that cannot be read ({reason})") from None
    if len(content) > MOST_BYTES:
        raise SecretFileError(f"names a file of more than {MOST_BYTES // 1024} KiB, which is no secret")
    try:
        text = content.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError:
        raise SecretFileError("names a file that is not text in UTF-8") from None
    if "\0" in text:
        raise SecretFileError("names a file that is not text in UTF-8")
    if not text.strip():
        raise SecretFileError("names an empty file")
    return text


def example(kind: type[BaseSettings]) -> str:
    """Return the text of `.env.example`: every setting with its sentence and default."""
    lines = [
        "# FLock's settings. Copy this file to .env (mode 0600) and fill in what you need; the rest has defaults.",
        "# Each secret, FLOCK_DATABASE_URL and FLOCK_RPC_URL may stand in a file of its own: FLOCK_DISCORD_TOKEN_FILE",
        "# names the file of the token, and so on.",
        "",
    ]
    for name, about in kind.model_fields.items():
        default = "" if about.default is None else str(about.default)
        lines += [f"# {about.description}", f"{'' if default else '# '}FLOCK_{name.upper()}={default}", ""]
    return "\n".join(lines)
