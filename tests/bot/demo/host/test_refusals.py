"""Refusals of the embedded host."""

from __future__ import annotations

from bot.demo.host.refusals import Refused, answer


def test_a_refusal_is_livepeers_json() -> None:
    """Sentences under `errors`, written without spaces, with the status."""
    response = Refused(422, "one", "two").response()
    assert (response.status, response.text) == (422, '{"errors":["one","two"]}')
    assert answer({"a": 1}, 201).text == '{"a":1}'
