"""The errors in a host's HTTP answers: they become the tree of `host`, and no secret becomes part of a sentence."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from urllib.parse import urlsplit

import httpx

from generation.hosting.host import HostBusy, HostError, HostRejected, HostUnreachable

# A token in a query, a bearer, or the path of an upload: any reader of one of them can write to our account.
_SECRETS = re.compile(r"(?i)(token=|bearer\s+)[^\s&\"'<>]+|(/upload/(?:tus|direct)/)[^\s\"'<>]+")
_LONGEST_SENTENCE = 300
_MOST_SENTENCES = 5


def check_url(url: str, name: str) -> str:
    """Return a plain http or https url without a user in it. Raises ValueError, which does not repeat it.

    `name` is the subject of the error's sentence.
    """
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.username is None
        _ = parts.port  # raises ValueError where it is no number
    except ValueError:
        usable = False
    if not usable or re.search(r"[\s\x00-\x1f]", url):
        raise ValueError(f"{name} must be an http or https address without a user name in it.")
    return url


def redact(text: str, *secrets: str) -> str:
    """Return the text as one printable line, without keys, tokens and upload addresses."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "…")
    text = _SECRETS.sub(lambda m: (m[1] or m[2]) + "…", text)
    text = "".join(c if c.isprintable() else " " for c in text).strip()
    return text if len(text) <= _LONGEST_SENTENCE else text[: _LONGEST_SENTENCE - 1] + "…"


def sentences(response: httpx.Response, *secrets: str) -> tuple[str, ...]:
    """Return the host's own words from `{"errors": [...]}`; empty for any other body.

    Livepeer's 422 answers hold JSON strings of the validator ajv; those are made readable.
    """
    try:
        errors = response.json()["errors"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ()
    if not isinstance(errors, list):
        return ()
    return tuple(redact(_readable(e), *secrets) for e in errors[:_MOST_SENTENCES] if isinstance(e, str))


def _readable(error: str) -> str:
    try:
        ajv = json.loads(error)
        where = ajv.get("instancePath", "").strip("/").replace("/", ".")
        extra = ajv.get("params", {}).get("additionalProperty")
        return f"{where + ' ' if where else ''}{ajv['message']}{f' ({extra})' if extra else ''}"
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        return error


def error_of(response: httpx.Response, doing: str, *secrets: str) -> HostError:
    """Return the error for an answer outside 2xx. `doing` completes "The video host … when it was asked to …"."""
    status = response.status_code
    words = sentences(response, *secrets)
    details = f": {'; '.join(words)}" if words else "."
    if status == 429:
        seconds = retry_after(response)
        after = f" Try again in {seconds:.0f} s." if seconds is not None else ""
        return HostBusy(f"The video host is busy and would not {doing}{details}{after}", seconds)
    if status >= 500 or status == 408:
        return HostUnreachable(f"The video host is out of order: it answered {status} when asked to {doing}{details}")
    if 300 <= status < 400:
        return HostRejected(
            f"The video host sent us elsewhere ({status}) when asked to {doing}. Check the host's address.",
            status=status,
        )
    if status in {401, 403} and secrets:
        details += " Check the API key of the video host."
    return HostRejected(f"The video host refused to {doing} ({status}){details}", status=status, sentences=words)


def no_answer(error: httpx.HTTPError | httpx.InvalidURL, doing: str) -> HostUnreachable:
    """Return the error for an answer that did not come whole. httpx's own text is left out: it may quote an address."""
    kind = "took too long to answer" if isinstance(error, httpx.TimeoutException) else "cannot be reached"
    return HostUnreachable(f"The video host {kind} ({type(error).__name__}) when asked to {doing}. We try again later.")


def json_object(response: httpx.Response, doing: str) -> Mapping[str, object]:
    """Return the body as a JSON object. Raises HostUnreachable for a page of HTML and anything else."""
    body = json_body(response, doing)
    if not isinstance(body, dict):
        raise unreadable(doing)
    return body


def json_body(response: httpx.Response, doing: str) -> object:
    """Return the body as JSON. Raises HostUnreachable for any other body (a proxy's page, for instance)."""
    try:
        body: object = response.json()
    except (ValueError, RecursionError):
        raise HostUnreachable(
            f"The video host answered {response.status_code} with something other than JSON when asked to {doing}. "
            "A proxy may be in between."
        ) from None
    return body


def unreadable(doing: str) -> HostUnreachable:
    """Return the error for JSON of an unknown form."""
    return HostUnreachable(f"The video host answered in a form that we do not know when asked to {doing}.")


def retry_after(response: httpx.Response) -> float | None:
    """Return the seconds of Retry-After, at most an hour; None if the host gives none (Livepeer does not)."""
    value = response.headers.get("retry-after", "")
    return min(float(value), 3600.0) if re.fullmatch(r"[0-9]{1,9}", value) else None


class _HideAddresses(logging.Filter):
    """A filter of upload addresses: httpx logs each address that it asks, and httpcore each header."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name != "httpx":
            return "headers" not in str(record.msg)
        if isinstance(record.args, tuple):
            record.args = tuple(f"{a.scheme}://{a.host}/…" if isinstance(a, httpx.URL) else a for a in record.args)
        return True


def hide_addresses_in_logs() -> None:
    """Keep upload addresses and keys out of the logs of the HTTP libraries; a second call changes nothing."""
    for name in ("httpx", "httpcore.http11", "httpcore.http2"):
        logger = logging.getLogger(name)
        if not any(isinstance(f, _HideAddresses) for f in logger.filters):
            logger.addFilter(_HideAddresses())
