"""Our requests and the embedded host's answers, against Livepeer's own published schema (see schema/LICENSE)."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from aiohttp import web
from jsonschema import Draft202012Validator, ValidationError, validators

from bot.demo.host import EmbeddedHost, Fault, Faults
from generation.hosting.host import HostError
from generation.hosting.livepeer import LivepeerHost
from generation.hosting.tus import upload

SCHEMA = Path(__file__).parent / "schema/livepeer_api_schema.yaml"
# What Livepeer's server takes and its schema does not name: how a list is asked for (its controllers/asset.ts).
UNWRITTEN = {("get", "/asset"): {"limit", "order", "filters", "cursor"}}
TUS = re.compile(r"/asset/upload/tus(/[^/]+)?")  # uploads have a protocol of their own: see test_tus.py


@dataclass
class Exchange:
    request: httpx.Request
    response: httpx.Response

    def __str__(self) -> str:
        return f"{self.request.method} {self.request.url.path} {self.response.status_code}"


class Listening(httpx.AsyncBaseTransport):
    """Real HTTP, with a note of each exchange with the API."""

    def __init__(self) -> None:
        self.inner = httpx.AsyncHTTPTransport()
        self.heard: list[Exchange] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await self.inner.handle_async_request(request)
        await response.aread()
        if request.url.path.startswith("/api/"):
            self.heard.append(Exchange(request, response))
        return response

    async def aclose(self) -> None:
        await self.inner.aclose()


def _refuse(why: str) -> Any:
    def check(_: Any, flag: bool, instance: Any, __: Any) -> Iterator[ValidationError]:
        if flag:
            yield ValidationError(f"{instance!r} is {why}")

    return check


class Contract:
    """Validates bodies by method, path and status."""

    def __init__(self) -> None:
        self.schema = _mended(yaml.safe_load(SCHEMA.read_text()))
        extend: Any = validators.extend  # which has no types
        self.request_kind = extend(Draft202012Validator, {"readOnly": _refuse("only for answers")})
        self.answer_kind = extend(Draft202012Validator, {"writeOnly": _refuse("only for requests")})

    def template(self, path: str) -> str:
        """The schema's own name of a path; those without an id in it come first. Raises ValidationError."""
        for template in sorted(self.schema["paths"], key=lambda one: "{" in one):
            if re.fullmatch(re.sub(r"\{[^}]+\}", "[^/]+", template), path):
                return str(template)
        raise ValidationError(f"{path} is no path of the API")

    def operation(self, method: str, path: str) -> dict[str, Any]:
        found = self.schema["paths"][self.template(path)].get(method.lower())
        if found is None:
            raise ValidationError(f"{path} does not take {method}")
        return dict(found)

    def check_address(self, method: str, url: httpx.URL) -> None:
        """Path and query; raises ValidationError for what the operation does not name, or misses."""
        path = url.path.removeprefix("/api")
        template, operation = self.template(path), self.operation(method, path)
        named = {each["name"]: each for each in operation.get("parameters", [])}
        values = re.fullmatch(re.sub(r"\{([^}]+)\}", r"(?P<\1>[^/]+)", template), path)
        assert values is not None
        for name, value in values.groupdict().items():
            self.check(self.request_kind, named[name]["schema"], value)
        queries = {name for name, each in named.items() if each["in"] == "query"}
        asked = {name: url.params.get_list(name) for name in url.params}
        if strange := set(asked) - queries - UNWRITTEN.get((method.lower(), template), set()):
            raise ValidationError(f"{method} {template} has no parameter {', '.join(sorted(strange))}")
        if missing := {name for name in queries if named[name].get("required")} - set(asked):
            raise ValidationError(f"{method} {template} needs the parameter {', '.join(sorted(missing))}")
        for name in queries & set(asked):
            self.check(self.request_kind, named[name]["schema"], _read_as(named[name]["schema"], asked[name]))

    def check(self, kind: Any, schema: dict[str, Any], body: Any) -> None:
        kind({**schema, "components": self.schema["components"]}).validate(body)

    def check_exchange(self, exchange: Exchange) -> None:
        """Raises ValidationError when the path, the query or a body does not fit."""
        self.check_address(exchange.request.method, exchange.request.url)
        operation = self.operation(exchange.request.method, exchange.request.url.path.removeprefix("/api"))
        if exchange.request.content:
            if "requestBody" not in operation:
                raise ValidationError(f"{exchange} takes no body")
            body = operation["requestBody"]["content"]["application/json"]["schema"]
            self.check(self.request_kind, body, json.loads(exchange.request.content))
        status = str(exchange.response.status_code)
        answer = operation["responses"].get(status) or operation["responses"]["default"]
        if "content" in answer:
            # Only what an operation does not name falls to its errors.
            assert status in operation["responses"] or int(status) >= 400, str(exchange)
            self.check(self.answer_kind, answer["content"]["application/json"]["schema"], exchange.response.json())
        else:
            assert exchange.response.content == b""


def _read_as(schema: dict[str, Any], given: list[str]) -> Any:
    """The texts of a query as what the schema takes them for. Raises ValidationError."""
    if schema.get("type") == "array":
        return given
    if len(given) != 1:
        raise ValidationError(f"{given!r} is asked more than once")
    try:
        return json.loads(given[0]) if schema.get("type") in {"integer", "number", "boolean"} else given[0]
    except ValueError:
        raise ValidationError(f"{given[0]!r} is no {schema['type']}") from None


def _mended(node: Any) -> Any:
    """The copy of a schema in which `$ref` stands as a property's name in two places: those are not references."""
    if isinstance(node, dict):
        mended = {key: _mended(value) for key, value in node.items() if key not in {"example", "examples"}}
        if isinstance(mended.get("properties"), dict):
            mended["properties"] = {k: v for k, v in mended["properties"].items() if isinstance(v, dict)}
        return mended
    return [_mended(item) for item in node] if isinstance(node, list) else node


@pytest.fixture
def contract() -> Contract:
    return Contract()


async def test_every_request_and_answer_fits_livepeers_schema(
    contract: Contract, hosting: Any, key: str, video: Path, tmp_path: Path, brisk: Any, ignore_url: Any, faults: Faults
) -> None:
    """A whole life, a failure and every refusal: what we send and what the stand-in answers are what Livepeer says."""
    transport = Listening()
    fake = tmp_path / "fake.mp4"
    fake.write_bytes(b"not a video")
    async with hosting() as host, httpx.AsyncClient(transport=transport) as client:
        livepeer = LivepeerHost(host.api_base, key, host.watch_page, client, polling=brisk, retry_s=0.01)
        await _live(livepeer, client, video, fake, ignore_url)
        await _misbehave(host, client, key, faults)
    checked = [e for e in transport.heard if not TUS.fullmatch(e.request.url.path.removeprefix("/api"))]
    for exchange in checked:
        contract.check_exchange(exchange)
    operations = {(e.request.method, re.sub(r"/[0-9a-f-]{16,36}$", "/{id}", e.request.url.path)) for e in checked}
    assert operations >= {
        ("POST", "/api/asset/request-upload"),
        ("POST", "/api/asset/upload/url"),
        ("GET", "/api/asset"),
        ("GET", "/api/asset/{id}"),
        ("PATCH", "/api/asset/{id}"),
        ("DELETE", "/api/asset/{id}"),
        ("POST", "/api/webhook"),
        ("GET", "/api/webhook"),
        ("GET", "/api/webhook/{id}"),
        ("DELETE", "/api/webhook/{id}"),
    }
    assert {"/api/playback", "/api/data/views/query/total"} <= {e.request.url.path.rpartition("/")[0] for e in checked}
    phases = {e.response.json()["status"]["phase"] for e in checked if e.response.is_success and _is_asset(e)}
    assert {"ready", "failed"} <= phases
    assert {401, 404, 422, 400, 429} <= {e.response.status_code for e in checked}


async def test_the_snapshot_in_a_webhook_is_an_asset(contract: Contract, host: EmbeddedHost) -> None:
    """What is told of an asset has the form in which the API shows one."""
    heard: list[Any] = []

    async def take(request: web.Request) -> web.Response:
        heard.append(await request.json())
        return web.Response(status=204)

    app = web.Application()
    app.router.add_post("/", take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    events = ["asset.created", "asset.updated", "asset.deleted"]
    hook = {"name": "h", "url": f"http://127.0.0.1:{runner.addresses[0][1]}/", "events": events}
    async with httpx.AsyncClient(headers={"Authorization": "Bearer lp-test-key-0123456789"}) as client:
        assert (await client.post(f"{host.api_base}/webhook", json=hook)).status_code == 200
        made = (
            await client.post(f"{host.api_base}/asset/request-upload", json={"name": "a", "staticMp4": True})
        ).json()
        await client.delete(f"{host.api_base}/asset/{made['asset']['id']}")
        async with asyncio.timeout(15):
            while {each["event"] for each in heard} != set(events):
                await asyncio.sleep(0.01)
    await runner.cleanup()
    for each in heard:
        asset = each["payload"]["asset"]
        assert asset["id"] == made["asset"]["id"]
        contract.check(contract.answer_kind, contract.schema["components"]["schemas"]["asset"], asset["snapshot"])


# What Livepeer's own API server answered when it was asked on one's own machine (packages/api, 2025-09).
OBSERVED = [
    ("POST", "/asset/request-upload", {"name": "a"}, True, 200, ""),
    ("POST", "/asset/request-upload", {"name": "a", "surprise": 1}, True, 422, "additional"),
    ("POST", "/asset/request-upload", {}, True, 422, "required property 'name'"),
    ("POST", "/asset/request-upload", {"name": "a", "profiles": []}, True, 400, "at least one profile"),
    ("POST", "/asset/request-upload", {"name": "a"}, False, 401, "request is not authenticated"),
    ("POST", "/asset/request-upload", {"name": "a"}, "wrong", 401, "no token wrong found"),
    ("GET", "/asset/unknown", None, True, 404, "Asset not found"),
    ("GET", "/asset/{asset}", None, True, 200, ""),
    ("PATCH", "/asset/{asset}", {"name": "b"}, True, 422, "asset is not ready"),
    ("GET", "/playback/{playback}", None, False, 422, "asset is not ready for playback"),
    ("GET", "/playback/0000000000000000", None, False, 404, "No playback URL found for 0000000000000000"),
    ("POST", "/asset/upload/url", {"name": "u", "url": "http://192.0.2.1/x.mp4"}, True, 201, ""),
    ("POST", "/asset/upload/url", {"name": "u", "url": "http://192.0.2.1/x.mp4"}, True, 201, ""),
    ("POST", "/asset/upload/tus", None, False, 401, "Missing uploadToken"),
    ("POST", "/asset/upload/tus?token=a.b.c", None, False, 403, "Invalid signed upload URL"),
    ("POST", "{tus}", None, False, 201, ""),
    ("DELETE", "/asset/{asset}", None, True, 204, ""),
    ("DELETE", "/asset/{asset}", None, True, 400, "asset is already deleted"),
    ("GET", "/asset/{asset}", None, True, 404, "Asset not found"),
    ("POST", "{tus}", None, False, 404, "asset not found"),
]


async def test_the_stand_in_answers_as_livepeer_was_seen_to(
    host: EmbeddedHost, key: str, http: httpx.AsyncClient, faults: Faults
) -> None:
    """Row by row: status and sentence. An address that was imported before is answered with its asset, and 200."""
    faults.stick_in = "waiting"
    made = (await http.post(f"{host.api_base}/asset/request-upload", json={"name": "x"}, headers=_bearer(key))).json()
    known = {"asset": made["asset"]["id"], "playback": made["asset"]["playbackId"], "tus": made["tusEndpoint"]}
    imported: list[str] = []
    for method, path, body, keyed, status, words in OBSERVED:
        url = path.format(**known)
        headers = {} if not keyed else _bearer(key if keyed is True else str(keyed))
        if "upload/tus" in url:
            headers |= {"Tus-Resumable": "1.0.0", "Upload-Length": "10"}
        answer = await http.request(
            method, url if url.startswith("http") else host.api_base + url, headers=headers, json=body
        )
        if "upload/url" in url:
            status = 200 if imported else 201
            imported.append(answer.json()["asset"]["id"])
        assert answer.status_code == status, (method, path, answer.text)
        if status >= 400:
            [sentence] = answer.json()["errors"]
            assert words in sentence, (method, path, sentence)
    assert len(set(imported)) == 1


def _bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def test_the_comparison_can_fail(contract: Contract) -> None:
    """A write-only field in an answer, an unknown field in a request and a phase that is none are all found."""
    asset = {"id": "a", "name": "n", "source": {"type": "directUpload"}}
    schemas = contract.schema["components"]["schemas"]
    contract.check(contract.answer_kind, schemas["asset"], asset)
    for wrong in ({"staticMp4": True}, {"status": {"phase": "polishing", "updatedAt": 1}}, {"surprise": 1}):
        with pytest.raises(ValidationError):
            contract.check(contract.answer_kind, schemas["asset"], asset | wrong)
    contract.check(contract.request_kind, schemas["new-asset-payload"], {"name": "n", "staticMp4": True})
    with pytest.raises(ValidationError):
        contract.check(contract.request_kind, schemas["new-asset-payload"], {"name": "n", "surprise": 1})


ASSET = "https://livepeer.studio/api/asset"


@pytest.mark.parametrize(
    ("method", "url"),
    [
        ("GET", f"{ASSET}?limit=10&order=createdAt-true&filters=%5B%5D&cursor=skip10"),
        ("GET", f"{ASSET}/0123-4567"),
        ("GET", "https://livepeer.studio/api/data/views/query?playbackId=p&timeStep=hour"),
    ],
)
def test_an_address_that_the_schema_has(contract: Contract, method: str, url: str) -> None:
    """Every parameter that is named, and those that the server takes beside."""
    contract.check_address(method, httpx.URL(url))


@pytest.mark.parametrize(
    ("method", "url", "words"),
    [
        ("GET", f"{ASSET}?limt=10", "no parameter limt"),
        ("GET", f"{ASSET}/0123?limit=10", "no parameter limit"),
        ("GET", "https://livepeer.studio/api/assets", "no path"),
        ("GET", f"{ASSET}/0123/more", "no path"),
        ("PUT", f"{ASSET}/0123", "does not take PUT"),
        ("POST", ASSET, "does not take POST"),
        ("GET", "https://livepeer.studio/api/data/views/query?timeStep=second", "is not one of"),
        ("GET", "https://livepeer.studio/api/data/views/query?timeStep=hour&timeStep=day", "more than once"),
        ("GET", "https://livepeer.studio/api/data/usage/query?from=monday", "monday"),
    ],
)
def test_an_address_that_the_schema_does_not_have_is_noticed(
    contract: Contract, method: str, url: str, words: str
) -> None:
    """An unknown path, method or parameter, or a value of another kind."""
    with pytest.raises(ValidationError, match=words):
        contract.check_address(method, httpx.URL(url))


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (httpx.Request("POST", f"{ASSET}/request-upload", json={"name": "n", "surprise": 1}), "surprise"),
        (httpx.Request("POST", f"{ASSET}/request-upload", json={"staticMp4": True}), "'name' is a required"),
        (httpx.Request("DELETE", f"{ASSET}/0123", json={"name": "n"}), "takes no body"),
        (httpx.Request("GET", f"{ASSET}?surprise=1"), "no parameter surprise"),
    ],
)
def test_an_exchange_with_something_unknown_in_it_is_noticed(
    contract: Contract, request_: httpx.Request, words: str
) -> None:
    """The check of the whole life above would fail for a single field, whatever is answered."""
    with pytest.raises(ValidationError, match=words):
        contract.check_exchange(Exchange(request_, httpx.Response(200, json=[])))


def _is_asset(exchange: Exchange) -> bool:
    body = exchange.response.content
    return exchange.request.method == "GET" and b'"phase"' in body and body.startswith(b"{")


async def _live(livepeer: LivepeerHost, client: httpx.AsyncClient, video: Path, fake: Path, ignore_url: Any) -> None:
    ticket = await livepeer.request_upload("clip", creator="discord:1")
    await livepeer.find_asset("clip")
    await livepeer.asset(ticket.asset_id)
    await upload(ticket.tus_endpoint, video, client=client, on_url=ignore_url)
    playback = await livepeer.wait_until_playable(ticket.asset_id)
    await livepeer.asset(ticket.asset_id)
    await livepeer.find_asset("clip")
    await livepeer.views(playback.playback_id)
    bad = await livepeer.request_upload("bad", creator="discord:1")
    await upload(bad.tus_endpoint, fake, client=client, on_url=ignore_url)
    with pytest.raises(HostError):
        await livepeer.wait_until_playable(bad.asset_id)
    early = await livepeer.request_upload("early", creator="discord:1")
    for wanted in (early.playback_id, "unknown"):
        with pytest.raises(HostError):
            await livepeer.playback(wanted or "")
    with pytest.raises(HostError):
        await livepeer.asset("unknown")
    await livepeer.delete(bad.asset_id)
    await livepeer.delete(bad.asset_id)


async def _misbehave(host: EmbeddedHost, client: httpx.AsyncClient, key: str, faults: Faults) -> None:
    keyed = {"Authorization": f"Bearer {key}"}
    base = host.api_base
    await client.get(f"{base}/asset")
    await client.post(f"{base}/asset/request-upload", json={"name": "a", "profiles": []}, headers=keyed)
    # What all fields together look like on the way back: nothing write-only may be there.
    policy = {"type": "webhook", "webhookId": "w", "webhookContext": {"a": 1}, "refreshInterval": 600}
    everything = {
        "name": "all", "staticMp4": True, "playbackPolicy": policy, "creatorId": "x", "storage": {"ipfs": False},
        "c2pa": False, "profiles": [{"bitrate": 1_500_000}],
        "targetSegmentSizeSecs": 2,
    }  # fmt: skip
    made = await client.post(f"{base}/asset/request-upload", json=everything, headers=keyed)
    url = {**everything, "url": "http://192.0.2.1/x.mp4"}
    assert (await client.post(f"{base}/asset/upload/url", json=url, headers=keyed)).status_code == 201
    assert made.status_code == 200
    asset = made.json()["asset"]["id"]
    await client.patch(f"{base}/asset/{asset}", json={"name": "b"}, headers=keyed)
    await client.get(f"{base}/asset", headers=keyed)
    hook = {"name": "h", "url": "http://127.0.0.1:1/x", "events": ["asset.ready"], "sharedSecret": "s"}
    made = await client.post(f"{base}/webhook", json=hook, headers=keyed)
    await client.get(f"{base}/webhook", headers=keyed)
    for method in ("GET", "DELETE", "GET"):
        await client.request(method, f"{base}/webhook/{made.json()['id']}", headers=keyed)
    faults.answers = [Fault(429, method="GET", body='{"errors":["slow down"]}')]
    await client.get(f"{base}/asset", headers=keyed)
