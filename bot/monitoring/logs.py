"""The log of a process: lines of text or of JSON, with the id of the video that they are about, and no secret.

The packages below use the standard `logging` alone: `extra={"video": …}` on a line, or `generation.log_context.about`.
"""

from __future__ import annotations

import contextlib
import logging
import re
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Literal, TypeAlias
from urllib.parse import parse_qsl, quote, urlsplit

from pydantic import SecretStr
from pythonjsonlogger.json import JsonFormatter
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from bot.monitoring.credentials import hide_shapes
from bot.settings import Settings
from generation.log_context import now_about
from generation.printable import one_line

Role = Literal["bot", "worker", "operator"]
JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"

HIDDEN = "•••"
FACTS = ("video", "videos", "round", "tx", "kind")  # a line may carry these besides its message, in this order
SHORT = 8  # a shorter secret is hidden only in the place of a password: hidden everywhere, it would hide words

# Below WARNING these are noise to an operator, and some of them would quote addresses that are credentials.
QUIET = ("httpx", "httpcore", "alembic", "web3", "urllib3", "aiosqlite", "asyncio", "aiohttp", "sqlalchemy", "PIL")


class Secrets:
    """Hides credentials: the values that it was given, and everything that has the shape of one."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        whole: set[str] = set()
        short: set[str] = set()
        for value in values:
            for form in {value, quote(value, safe="")} - {""}:
                (whole if len(form) >= SHORT else short).add(form)
        longest_first = sorted(whole, key=len, reverse=True)
        alternatives = [re.escape(value) for value in longest_first]
        alternatives += [f"(?<=:){re.escape(value)}(?=@)" for value in sorted(short)]
        self._values = re.compile("|".join(alternatives)) if alternatives else None

    def __repr__(self) -> str:
        return "Secrets(...)"

    @classmethod
    def of(cls, settings: Settings) -> Secrets:
        """Return the secrets of these settings."""
        return cls(_secret_values(settings))

    def hide(self, text: str) -> str:
        """Return the text without secrets."""
        if self._values is not None:
            text = self._values.sub(HIDDEN, text)
        return hide_shapes(text, HIDDEN)

    def hide_in(self, value: object) -> JsonValue:
        """Return a value for JSON without secrets; a value of any other type becomes text first."""
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, Mapping):
            return {str(key): self.hide_in(inner) for key, inner in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self.hide_in(inner) for inner in value]
        return self.hide(str(value))


def _secret_values(settings: Settings) -> Iterator[str]:
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, SecretStr):
            yield value.get_secret_value()
    with contextlib.suppress(ArgumentError):  # of no address at all, with which nothing is opened
        yield str(make_url(settings.database_url).password or "")
    for setting in (settings.rpc_url, settings.livepeer_api_base, settings.discord_api_base):
        for address in re.split(r"[\s,]+", setting or ""):  # there may be several chain nodes
            with contextlib.suppress(ValueError):
                yield from _in_address(address)


def _in_address(address: str) -> Iterator[str]:
    """Yield the parts of an address in which providers put keys: the password, a long part of the path, a parameter."""
    parts = urlsplit(address)
    yield parts.password or ""
    yield from (part for part in parts.path.split("/") if len(part) >= 16)
    yield from (value for _, value in parse_qsl(parts.query) if len(value) >= SHORT)


def facts_of(record: logging.LogRecord) -> dict[str, object]:
    """Return the facts that a line is about, given with the line itself or by the work in which it was logged."""
    context: Mapping[str, object] = {**now_about(), **vars(record)}
    return {name: context[name] for name in FACTS if context.get(name) not in (None, "", [])}


class TextFormatter(logging.Formatter):
    """`2026-01-31 12:00:00,000 INFO    bot.app: A sentence. [video=…]`, and the traceback below, if there is one."""

    def __init__(self, secrets: Secrets) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
        self._secrets = secrets

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # the standard library's name
        # One message, one line: no member can forge a line by the name that they choose.
        line = one_line(super().formatMessage(record))
        facts = " ".join(f"{name}={_plain(value)}" for name, value in facts_of(record).items())
        return f"{line} [{facts}]" if facts else line

    def format(self, record: logging.LogRecord) -> str:
        return self._secrets.hide(super().format(record))


def _plain(value: object) -> str:
    return one_line(",".join(map(str, value)) if isinstance(value, list | tuple) else value)


class JsonLines(JsonFormatter):
    """One JSON object a line: ts (UTC), level, logger, message, role, the facts, and the traceback, if there is one."""

    def __init__(self, secrets: Secrets, role: str) -> None:
        super().__init__(json_ensure_ascii=False)
        self._secrets = secrets
        self._role = role

    def add_fields(
        self, log_data: dict[str, object], record: logging.LogRecord, message_dict: dict[str, object]
    ) -> None:
        """Add the documented fields alone: whatever else a library attaches to a record stays out."""
        log_data.update(
            ts=datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            level=record.levelname,
            logger=record.name,
            message=record.message or str(message_dict),
            role=self._role,
            **facts_of(record),
        )
        if message_dict.get("exc_info"):
            log_data["traceback"] = message_dict["exc_info"]

    def process_log_record(self, log_data: dict[str, object]) -> dict[str, object]:
        """Return the fields without secrets."""
        return {name: self._secrets.hide_in(value) for name, value in log_data.items()}


def start(settings: Settings, role: Role) -> None:
    """Log on stderr from here on, as the settings say, also an unforeseen end of the process or of a thread."""
    secrets = Secrets.of(settings)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(secrets, role) if settings.log_format == "json" else TextFormatter(secrets))
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("apscheduler").setLevel(logging.ERROR)  # a tick may be skipped: nothing depends on one
    logging.getLogger("discord").setLevel(max(logging.INFO, logging.getLogger().level))
    # Without a handler the durable engine would give itself one, which has neither our format nor our secrets.
    logging.getLogger("dbos").addHandler(logging.NullHandler())
    logging.captureWarnings(True)
    sys.excepthook = _log_the_end
    threading.excepthook = lambda args: _log_the_end(args.exc_type, args.exc_value, args.exc_traceback)


def _log_the_end(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    if error is not None and not issubclass(kind, KeyboardInterrupt | SystemExit):
        logging.getLogger("bot").critical("An unforeseen error", exc_info=(kind, error, trace))


def say_last(lines: Sequence[str]) -> bool:
    """Log the reason why a command ends, if this process logs in JSON; return False if plain stderr is right."""
    if not any(isinstance(handler.formatter, JsonLines) for handler in logging.getLogger().handlers):
        return False
    logging.getLogger("bot").error("%s", " ".join(line.strip() for line in lines))
    return True
