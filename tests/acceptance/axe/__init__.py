"""axe-core (npm), a checker of accessibility, run within a page that a real Chromium shows.

`.ci/run` installs it into build/axe; where it is missing, its tests are skipped.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import Page as Window
from playwright.async_api import ViewportSize

SCRIPT = Path(__file__).parents[3] / "build/axe/node_modules/axe-core/axe.min.js"
MISSING = (
    "axe-core is not installed: mkdir -p build/axe && cp tests/acceptance/axe/package*.json build/axe/ && "
    "npm ci --prefix build/axe --ignore-scripts"
)
DESK, PHONE = ViewportSize(width=1280, height=880), ViewportSize(width=390, height=844)
_RUN = """async () => {
    const { violations } = await axe.run();
    return violations.flatMap((v) => v.nodes.map((n) => `${v.id}: ${n.html.slice(0, 200)} ${n.failureSummary}`));
}"""

needs_axe = pytest.mark.skipif(not SCRIPT.is_file(), reason=MISSING)


async def violations(window: Window) -> list[str]:
    """Return what axe finds on a page, dark and light; an empty list without axe."""
    if not SCRIPT.is_file():
        return []
    found: list[str] = []
    await window.evaluate(SCRIPT.read_text())  # by the debugger: the page's own policy lets no such script in
    for scheme in ("dark", "light"):
        await window.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        found += [f"{scheme}: {violation}" for violation in await window.evaluate(_RUN)]
    await window.emulate_media(color_scheme="dark", reduced_motion="no-preference")
    return found
