"""The interface of video hosts: a ticket survives its JSON, and its addresses stay out of logs."""

from __future__ import annotations

import json

import pytest

from generation.hosting import host
from generation.hosting.host import AssetFailed, HostBusy, HostError, HostRejected, UploadTicket


@pytest.mark.parametrize(
    "ticket",
    [
        UploadTicket("a", "p", tus_endpoint="https://h/upload/tus/secret"),
        UploadTicket("a", None, presigned={"objects": [{"url": "https://secret"}]}),
    ],
    ids=["tus", "presigned"],
)
def test_a_ticket_survives_its_json_and_is_never_printed(ticket: UploadTicket) -> None:
    """It is stored before the first byte is sent, and is a credential of its own."""
    data = json.loads(json.dumps(ticket.to_json()))
    assert UploadTicket.from_json(data) == ticket
    assert "secret" in json.dumps(data)
    assert "secret" not in repr(ticket)


def test_what_is_no_ticket_is_refused() -> None:
    """A ticket of another release, for instance."""
    with pytest.raises(TypeError):
        UploadTicket.from_json({"asset": "a"})


def test_errors_say_whether_to_ask_again() -> None:
    """Those that pass: out of reach, busy, not ready yet. Every error of the tree is a HostError."""
    kinds = [each for each in vars(host).values() if isinstance(each, type) and issubclass(each, HostError)]
    retryable = {each.__name__ for each in kinds if each.retryable}
    assert retryable == {"HostUnreachable", "HostBusy", "NotReady"}
    assert len(kinds) == 9
    assert HostBusy("busy", 3.0).retry_after == 3.0
    assert HostRejected("no", status=422, sentences=["why"]).sentences == ("why",)
    assert "a: it broke" in str(AssetFailed("a", "it broke"))
