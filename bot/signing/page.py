"""The server of the signing page: what a request asks a wallet to sign, and the border at which signatures arrive.

The token of a request is all that it takes, so it stands behind # in the link, which browsers send to no server.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.cards import layout
from bot.cards import videos as video_cards
from bot.cards import wallets as wallet_cards
from bot.domain.errors import MemberError, SigningOverError
from bot.domain.videos import Video
from bot.domain.wallets import SignedChoice
from bot.monitoring.http import listening
from bot.signing.requests import SigningRequests
from bot.store import signing_requests, videos
from migrations.states.community import VideoStatus

log = logging.getLogger(__name__)

STATIC = Path(__file__).with_name("static")
MOST_REQUEST_BYTES = 16 * 1024
_TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}
_SAFE = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",  # whoever opened the page cannot reach into it, nor it back
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_TITLES = {"link": "Link your wallet", "unlink": "Unlink your wallet", "ballot": "Sign your votes"}


class SigningPage:
    """Answers the page's requests."""

    def __init__(self, *, database: AsyncEngine, signing: SigningRequests, rpc: str | None, on_ledger_s: float) -> None:
        """`rpc` is a public node that the page may name; `on_ledger_s` is how long a vote takes to the ledger."""
        self._database = database
        self._signing = signing
        self._rpc = rpc
        self._on_ledger_s = on_ledger_s

    @asynccontextmanager
    async def serving(self, host: str, port: int | None, url: str) -> AsyncIterator[None]:
        """Serve the page within this block, if it has a port. Raises OperatorError when the port is taken."""
        purpose = "the signing page"
        async with listening(self._application(), host, port or 0, purpose=purpose, setting="FLOCK_PAGE_PORT"):
            if port:
                log.info("Members sign at %s/sign.", url)
            yield

    def _application(self) -> web.Application:
        application = web.Application(client_max_size=MOST_REQUEST_BYTES)
        application.router.add_routes(
            [
                web.get("/sign", self._file),
                web.get("/sign/{name:[a-z]+[.](js|css)}", self._file),
                web.get("/sign/request", self._show_request),
                web.post("/sign/signature", self._take_signature),
            ]
        )
        return application

    async def _file(self, request: web.Request) -> web.Response:
        path = STATIC / request.match_info.get("name", "sign.html")
        if not path.is_file():
            raise web.HTTPNotFound(headers=_SAFE)
        return web.Response(body=path.read_bytes(), content_type=_TYPES[path.suffix], charset="utf-8", headers=_SAFE)

    async def _show_request(self, request: web.Request) -> web.Response:
        return await _answered(self._request(_token(request)))

    async def _take_signature(self, request: web.Request) -> web.Response:
        return await _answered(self._sign(_token(request), request))

    async def _request(self, token: str) -> dict[str, Any]:
        """Return what the page shows of a request, and the message that the wallet signs."""
        signing_request = await signing_requests.get(self._database, token)
        about = await videos.by_ids(self._database, [each.video_id for each in signing_request.choices])
        return {
            "kind": signing_request.kind,
            "title": _TITLES[signing_request.kind],
            "wallet": signing_request.wallet,
            "server": {"name": signing_request.names.server, "id": str(signing_request.guild_id)},
            "member": {"name": signing_request.names.member, "id": str(signing_request.member_id)},
            "voter": signing_request.voter_id,
            "choices": [_shown(each, about.get(each.video_id)) for each in signing_request.choices],
            "rpc": self._rpc,
            "message": await self._signing.message(signing_request),
        }

    async def _sign(self, token: str, request: web.Request) -> dict[str, Any]:
        try:
            signature = (await request.json())["signature"]
        except (ValueError, TypeError, KeyError):
            signature = ""
        signed = await self._signing.sign(token, signature if isinstance(signature, str) else "")
        words = wallet_cards.signed_words(signed, layout.minutes(self._on_ledger_s))
        return {"sentence": words.replace("`", "")}


def _shown(choice: SignedChoice, video: Video | None) -> dict[str, Any]:
    """Return a choice as the wallet shows it, by numbers, beside the video that they stand for."""
    is_posted = video is not None and video.status == VideoStatus.PUBLISHED and video.message_id is not None
    return {
        "emoji": choice.choice.emoji,
        "video": choice.number,
        "choice": int(choice.choice),
        "prompt": video_cards.plain_title(video) if video else "a video",
        "sha256": video.sha256 if video else None,
        "card": video_cards.message_link(video) if video and is_posted else None,
    }


def _token(request: web.Request) -> str:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token if scheme == "Bearer" else ""


async def _answered(work: Awaitable[dict[str, Any]]) -> web.Response:
    """Return the answer as JSON. An error is a sentence."""
    try:
        return web.json_response(await work, headers=_SAFE)
    except SigningOverError as error:
        return web.json_response({"sentence": error.sentence}, status=410, headers=_SAFE)
    except MemberError as error:
        return web.json_response({"sentence": error.sentence}, status=422, headers=_SAFE)
    except SQLAlchemyError as error:
        log.error("The database failed: %s", type(error).__name__)  # a trace may quote values
        sentence = "The database isn't responding, so nothing was recorded. Please try again in a minute."
        return web.json_response({"sentence": sentence}, status=503, headers=_SAFE)
