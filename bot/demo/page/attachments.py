"""Attachments at the page's own address, for a machine of which browsers reach this one port, as in a container."""

from __future__ import annotations

import aiohttp
from aiohttp import web
from yarl import URL

PATH = "/attachments/"
_ASKED = ("Range", "If-Range", "If-None-Match", "If-Modified-Since")
# The sandbox travels along: what members send must never run as a page of this origin.
_ANSWERED = (
    "Content-Type",
    "Content-Range",
    "Content-Disposition",
    "Content-Security-Policy",
    "X-Content-Type-Options",
    "Accept-Ranges",
    "Cache-Control",
    "ETag",
    "Last-Modified",
)


def move_addresses(text: str, discord: str, page: str) -> str:
    """Return an answer of the embedded Discord in which its attachments have the page's address."""
    return text.replace(f"{discord}{PATH}", f"{page}{PATH}")


async def pass_on(request: web.Request, session: aiohttp.ClientSession, discord: str) -> web.Response:
    """Answer GET and HEAD of an attachment with the embedded Discord's answer, ranges and stills included.

    `session` must have no right of its own. Nothing but an attachment can be asked for: a name has no way out of it.
    """
    asked = {name: request.headers[name] for name in _ASKED if name in request.headers}
    name = request.match_info["name"]
    if "/" in name or name in {".", ".."}:  # as they are once %2F and its like are decoded
        raise web.HTTPNotFound
    url = URL(discord) / PATH.strip("/") / request.match_info["channel"] / request.match_info["id"] / name
    url = url.with_query({key: request.query[key] for key in ("format",) if key in request.query})
    async with session.request(request.method, url, headers=asked, allow_redirects=False) as answer:
        headers = {name: answer.headers[name] for name in _ANSWERED if name in answer.headers}
        return web.Response(status=answer.status, body=await answer.read(), headers=headers)
