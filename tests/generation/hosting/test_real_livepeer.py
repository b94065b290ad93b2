"""With a key of one's own, against Livepeer itself: `FLOCK_REAL_LIVEPEER_KEY=… pytest tests/…/test_real_livepeer.py`.

Makes one short public video there, and deletes it.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any

import httpx
import pytest

from generation.hosting.host import AssetMissing
from generation.hosting.livepeer import LivepeerHost
from generation.hosting.tus import upload

KEY = os.environ.get("FLOCK_REAL_LIVEPEER_KEY", "")


@pytest.mark.skipif(not KEY, reason="FLOCK_REAL_LIVEPEER_KEY is not set, so Livepeer itself is not asked.")
async def test_a_video_lives_at_livepeer(http: httpx.AsyncClient, make: Any, tmp_path: Path, ignore_url: Any) -> None:
    """Ticket, upload, mp4, views, deletion."""
    clip = make(tmp_path / "clip.mp4", frames=120)
    async with LivepeerHost("https://livepeer.studio/api", KEY) as livepeer:
        await livepeer.check()
        name = f"flock-smoke-{secrets.token_hex(8)}"
        ticket = await livepeer.request_upload(name, creator="flock:test", size_bytes=clip.stat().st_size)
        try:
            await upload(ticket.tus_endpoint, clip, client=http, on_url=ignore_url)
            playback = await livepeer.wait_until_playable(ticket.asset_id)
            assert playback.mp4_url
            assert (await http.get(playback.mp4_url, follow_redirects=True)).content[4:8] == b"ftyp"
            assert await livepeer.views(playback.playback_id) == 0
        finally:
            await livepeer.delete(ticket.asset_id)
        with pytest.raises(AssetMissing):
            await livepeer.asset(ticket.asset_id)
