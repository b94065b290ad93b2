"""axe itself: it is in force where it is installed, and finds what is wrong."""

from __future__ import annotations

from tests.acceptance.axe import needs_axe, violations
from tests.chromium import needs_chromium, open_chromium

GOOD = '<html lang="en"><head><title>A page</title></head><body><main><h1>Words</h1></main></body></html>'


@needs_chromium
@needs_axe
async def test_axe_finds_a_picture_without_words_and_nothing_on_a_good_page() -> None:
    """The twin of the page's own tests, which find nothing."""
    async with open_chromium() as browser:
        window = await browser.new_page()
        await window.set_content(GOOD)
        assert await violations(window) == []
        await window.set_content(GOOD.replace("</main>", '<img src="data:,"></main>'))
        assert any("image-alt" in violation for violation in await violations(window))
