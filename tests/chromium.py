"""A real, headless Chromium for the tests of the demo's page."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from playwright.async_api import Browser, async_playwright, expect

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
MISSING = "There is no Chromium: install Debian's package `chromium` to see the demo's page in a browser."

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason=MISSING)


@asynccontextmanager
async def open_chromium(patience_ms: int = 60_000) -> AsyncIterator[Browser]:
    """`patience_ms` is how long an expectation waits before it fails."""
    expect.set_options(timeout=patience_ms)
    async with async_playwright() as playwright:
        # Containers have no user namespaces for its sandbox; what is opened are our own pages.
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            await browser.close()
