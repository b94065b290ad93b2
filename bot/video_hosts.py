"""Opens the video host that the settings name, and the listener for its webhooks."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from bot.domain.errors import OperatorError
from bot.monitoring.http import listening
from bot.settings import Settings, reveal
from generation.extras import require
from generation.hosting.host import Polling, VideoHost
from generation.hosting.livepeer import LivepeerHost
from generation.hosting.reach import Reach
from generation.hosting.webhooks import MOST_BYTES, PATH, Receiver

log = logging.getLogger(__name__)


def open_host(settings: Settings) -> VideoHost:
    """Return the video host. Raises OperatorError if its settings cannot be used, MissingExtraError without boto3."""
    polling = Polling(
        first_s=settings.host_poll_s,
        longest_s=6 * settings.host_poll_s,
        mp4_every_s=min(2.0, settings.host_poll_s),
        deadline_s=settings.host_deadline_s,
    )
    try:
        if settings.video_host == "s3":
            require("s3", "FLOCK_VIDEO_HOST=s3")
            return _open_s3(settings)
        return LivepeerHost(
            settings.livepeer_api_base, reveal(settings.livepeer_api_key), settings.watch_page, polling=polling
        )
    except ValueError as error:
        raise OperatorError(f"The video host cannot be used: {error}") from error


def reach_of(settings: Settings) -> Reach:
    """Return what the configured video host may have us ask, beside all that is public."""
    if settings.video_host == "s3":
        return Reach.of(settings.s3_endpoint, settings.s3_public_url, trust_names=True)  # the operator's own names
    return Reach.of(settings.livepeer_api_base)


def _open_s3(settings: Settings) -> VideoHost:
    from generation.hosting.s3 import S3Host, S3Settings

    return S3Host(
        S3Settings(
            bucket=settings.s3_bucket or "",
            public_url=settings.s3_public_url or "",
            access_key=reveal(settings.s3_access_key),
            secret_key=reveal(settings.s3_secret_key),
            endpoint=settings.s3_endpoint,
            region=settings.s3_region,
            prefix=settings.s3_prefix,
            acl=settings.s3_acl,
            path_style=settings.s3_path_style,
            watch_page=settings.watch_page if "watch_page" in settings.model_fields_set else None,
        )
    )


@asynccontextmanager
async def hearing(settings: Settings, host: VideoHost) -> AsyncIterator[None]:
    """Receive the host's webhooks within this block, if a port is set. Raises OperatorError if it cannot be opened."""
    if not settings.webhook_port:
        yield
        return
    receiver = Receiver(reveal(settings.webhook_secret), host.nudge)
    application = web.Application(client_max_size=MOST_BYTES)
    application.router.add_post(PATH, receiver.receive)
    address = (settings.webhook_host, settings.webhook_port)
    async with listening(application, *address, purpose="webhooks", setting="FLOCK_WEBHOOK_PORT"):
        log.info("Webhooks are received at http://%s:%d%s.", *address, PATH)
        yield
