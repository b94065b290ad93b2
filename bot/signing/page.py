"""Serves the signing page: what a request asks a wallet to sign, and the border at which signatures arrive.

A request's token is all that it takes, so it stands behind # in the link, which browsers send to nobody.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiohttp import web
from sqlalchemy.exc import SQLAlchemyError

from bot.cards import layout
from bot.cards import wallets as wallet_cards
from bot.domain.errors import MemberError, OperatorError, SigningOverError
from bot.store import signing_requests, videos

if TYPE_CHECKING:
    from bot.app import App

log = logging.getLogger(__name__)

STATIC = Path(__file__).with_name("static")
MOST_REQUEST_BYTES = 16 * 1024
_TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}
_SAFE = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_TITLES = {"link": "Link your wallet", "unlink": "Unlink your wallet", "ballot": "Sign your votes"}


@asynccontextmanager
async def serving_signing(app: App) -> AsyncIterator[None]:
    """Serves the page within this block, if it has a port. Raises OperatorError where the port is taken."""
    settings = app.settings
    if not settings.page_port:
        yield
        return
    runner = web.AppRunner(_application(app), access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, settings.page_host, settings.page_port).start()
        except OSError as error:
            raise OperatorError(
                f"Port {settings.page_port} for the signing page cannot be opened ({error.strerror}). Set another "
                "FLOCK_PAGE_PORT."
            ) from None
        log.info("Members sign at %s/sign.", settings.signing_url)
        yield
    finally:
        await runner.cleanup()


def _application(app: App) -> web.Application:
    async def file(request: web.Request) -> web.Response:
        path = STATIC / request.match_info.get("name", "sign.html")
        if not path.is_file():
            raise web.HTTPNotFound(headers=_SAFE)
        return web.Response(body=path.read_bytes(), content_type=_TYPES[path.suffix], charset="utf-8", headers=_SAFE)

    async def look(request: web.Request) -> web.Response:
        return await _answered(_told(app, _token(request)))

    async def take(request: web.Request) -> web.Response:
        return await _answered(_taken(app, _token(request), request))

    served = web.Application(client_max_size=MOST_REQUEST_BYTES)
    served.router.add_routes(
        [
            web.get("/sign", file),
            web.get("/sign/{name:[a-z]+[.](js|css)}", file),
            web.get("/sign/request", look),
            web.post("/sign/signature", take),
        ]
    )
    return served


def _token(request: web.Request) -> str:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token if scheme == "Bearer" else ""


async def _answered(work: Any) -> web.Response:
    """The answer as JSON; what went wrong is a sentence."""
    try:
        return web.json_response(await work, headers=_SAFE)
    except SigningOverError as error:
        return web.json_response({"sentence": error.sentence}, status=410, headers=_SAFE)
    except MemberError as error:
        return web.json_response({"sentence": error.sentence}, status=422, headers=_SAFE)
    except SQLAlchemyError as error:
        log.error("The database failed: %s", type(error).__name__)  # a trace may quote values
        sentence = "The database does not answer, so nothing was recorded. Please try again in a minute."
        return web.json_response({"sentence": sentence}, status=503, headers=_SAFE)


async def _told(app: App, token: str) -> dict[str, Any]:
    """What the page shows of a request, and the message that the wallet signs."""
    asked = await signing_requests.get(app.database, token)
    prompts = await videos.prompts_of(app.database, [one.video_id for one in asked.choices])
    return {
        "kind": asked.kind,
        "title": _TITLES[asked.kind],
        "wallet": asked.wallet,
        "choices": [
            {"emoji": one.choice.emoji, "prompt": prompts.get(one.video_id, "a video"), "video": one.number}
            for one in asked.choices
        ],
        "rpc": app.public_ledger.rpc,
        "message": await app.signing.message(asked),
    }


async def _taken(app: App, token: str, request: web.Request) -> dict[str, Any]:
    try:
        signature = (await request.json())["signature"]
    except (ValueError, TypeError, KeyError):
        signature = ""
    signed = await app.signing.sign(token, signature if isinstance(signature, str) else "")
    return {"sentence": wallet_cards.signed_words(signed, layout.minutes(app.on_chain_s)).replace("`", "")}
