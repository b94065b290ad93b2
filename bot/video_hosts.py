"""Which video host there is, by the settings; and the word that one sends us."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from bot.domain.errors import OperatorError
from bot.settings import Settings, reveal
from generation.extras import require
from generation.hosting.host import Polling, VideoHost
from generation.hosting.livepeer import LivepeerHost
from generation.hosting.webhooks import PATH, Receiver, receiving

log = logging.getLogger(__name__)


def open_host(settings: Settings) -> VideoHost:
    """The video host. Raises OperatorError where its settings cannot be used, MissingExtraError without boto3."""
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
        raise OperatorError(f"The video host: {error}") from error


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
    """Takes the host's webhooks within this block, where that is set. Raises OperatorError where the port is taken."""
    if not settings.webhook_port:
        yield
        return
    receiver = Receiver(reveal(settings.webhook_secret), host.nudge)
    async with AsyncExitStack() as stack:
        try:
            await stack.enter_async_context(receiving(receiver, settings.webhook_host, settings.webhook_port))
        except OSError as error:
            raise OperatorError(
                f"Port {settings.webhook_port} for webhooks cannot be opened ({error.strerror}). Set another "
                "FLOCK_WEBHOOK_PORT."
            ) from None
        log.info("Webhooks are taken at http://%s:%d%s.", settings.webhook_host, settings.webhook_port, PATH)
        yield
