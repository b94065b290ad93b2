"""Refusals of the embedded host: `{"errors": [sentence, …]}` with the status that Livepeer gives."""

from __future__ import annotations

import json

from aiohttp import web


class Refused(Exception):  # noqa: N818 - an answer, not a failure of the host
    """A request that gets an answer of that status with these sentences."""

    def __init__(self, status: int, *sentences: str) -> None:
        super().__init__(*sentences)
        self.status = status
        self.sentences = sentences

    def response(self) -> web.Response:
        return errors(self.status, *self.sentences)


def errors(status: int, *sentences: str) -> web.Response:
    """Return an answer that refuses a request."""
    return web.json_response({"errors": list(sentences)}, status=status, dumps=_dumps)


def answer(body: object, status: int = 200) -> web.Response:
    """Return an answer that holds what was asked for."""
    return web.json_response(body, status=status, dumps=_dumps)


def _dumps(body: object) -> str:
    return json.dumps(body, separators=(",", ":"))
