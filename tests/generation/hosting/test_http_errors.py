"""A host's HTTP answers become errors of the tree, and no secret becomes part of a sentence."""

from __future__ import annotations

import json
import logging

import httpx
import pytest

from generation.hosting.host import HostBusy, HostRejected, HostUnreachable
from generation.hosting.http_errors import (
    check_url,
    error_of,
    hide_addresses_in_logs,
    json_object,
    no_answer,
    redact,
    retry_after,
    sentences,
)

SECRET = "lp-secret-key"


@pytest.mark.parametrize(
    ("status", "kind"),
    [(429, HostBusy), (500, HostUnreachable), (503, HostUnreachable), (408, HostUnreachable)]
    + [(status, HostRejected) for status in (302, 400, 401, 403, 404, 422)],
)
def test_a_status_is_an_error_of_the_tree(status: int, kind: type[Exception]) -> None:
    """What passes may be tried again, what is rejected may not, and the sentence says what was asked."""
    error = error_of(httpx.Response(status), "delete an asset")
    assert type(error) is kind
    assert error.retryable == (kind is not HostRejected)
    assert "delete an asset" in str(error)


def test_the_hosts_own_words_are_told_without_secrets() -> None:
    """Its sentences, made readable where they are ajv's; a key, a token and an upload's path are left out."""
    ajv = {"instancePath": "/name", "message": "must NOT have additional properties", "params": {}}
    ajv["params"] = {"additionalProperty": "size"}
    body = {"errors": [json.dumps(ajv), f"no {SECRET}, Bearer abc https://h/upload/tus/x?token=t", 3]}
    response = httpx.Response(422, json=body)
    said = sentences(response, SECRET)
    assert said[0] == "name must NOT have additional properties (size)"
    assert said[1] == "no …, Bearer … https://h/upload/tus/…"
    assert len(said) == 2
    error = error_of(response, "accept an upload", SECRET)
    assert isinstance(error, HostRejected)
    assert (error.status, error.sentences) == (422, said)
    assert SECRET not in str(error)
    for other in ("no json", "[]", '{"errors": 3}', "[" * 100_000):
        assert sentences(httpx.Response(400, text=other)) == ()


def test_a_wrong_key_is_named_where_there_is_one() -> None:
    """The remedy stands beside a 401 of a request with a key, and not beside one without."""
    assert "Check the API key" in str(error_of(httpx.Response(401), "show an asset", SECRET))
    assert "API key" not in str(error_of(httpx.Response(401), "show an asset"))


def test_a_sentence_is_one_printable_line_of_bounded_length() -> None:
    """Whatever the host writes."""
    assert redact("a\nb\x00c\u202e") == "a b c"
    assert len(redact("x" * 10_000)) == 300
    assert len(sentences(httpx.Response(400, json={"errors": ["no"] * 100}))) == 5


@pytest.mark.parametrize(
    ("value", "seconds"), [("3", 3.0), ("999999", 3600.0), ("soon", None), ("-1", None), ("", None)]
)
def test_retry_after_is_bounded(value: str, seconds: float | None) -> None:
    """A number of seconds, at most an hour; a date or nonsense is no time."""
    assert retry_after(httpx.Response(429, headers={"retry-after": value})) == seconds
    error = error_of(httpx.Response(429, headers={"retry-after": value}), "show an asset")
    assert isinstance(error, HostBusy)
    assert error.retry_after == seconds


@pytest.mark.parametrize("url", ["https://a.example", "http://127.0.0.1:9000/x?y=z"])
def test_a_usable_address_is_returned(url: str) -> None:
    """As it is."""
    assert check_url(url, "The address") == url


@pytest.mark.parametrize(
    "url",
    ["", "ftp://a", "https://", "https://me:secret@a", "https://a b", "https://a\n", "http://a:port", "file:///x"],
)
def test_an_unusable_address_is_refused_without_repeating_it(url: str) -> None:
    """It may hold a password."""
    with pytest.raises(ValueError, match="The address must be an http or https address") as caught:
        check_url(url, "The address")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("body", ["<html>", "[]", '"x"', "3", "[" * 100_000])
def test_a_body_of_another_form_is_a_host_out_of_order(body: str) -> None:
    """A proxy's page, or JSON that is no object."""
    with pytest.raises(HostUnreachable, match="show an asset"):
        json_object(httpx.Response(200, text=body), "show an asset")
    assert json_object(httpx.Response(200, text='{"id": 1}'), "show an asset") == {"id": 1}


def test_a_failure_on_the_way_is_told_without_its_text() -> None:
    """httpx quotes addresses."""
    slow = no_answer(httpx.ReadTimeout("https://h/upload/tus/secret"), "take a part")
    away = no_answer(httpx.ConnectError("https://h/upload/tus/secret"), "take a part")
    assert "took too long" in str(slow)
    assert "cannot be reached" in str(away)
    assert "secret" not in str(slow) + str(away)


def test_addresses_are_hidden_in_logs(caplog: pytest.LogCaptureFixture) -> None:
    """The host's name is left; headers are not logged at all. Twice is once."""
    hide_addresses_in_logs()
    hide_addresses_in_logs()
    caplog.set_level(logging.DEBUG)
    logging.getLogger("httpx").info("HTTP Request: %s", httpx.URL("https://h.example/upload/tus/secret"))
    logging.getLogger("httpcore.http11").debug("send_request_headers.started")
    logging.getLogger("httpcore.http11").debug("receive_response_body.started")
    assert caplog.messages == ["HTTP Request: https://h.example/…", "receive_response_body.started"]
