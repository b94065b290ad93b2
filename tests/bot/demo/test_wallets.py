"""A member whose own account signs: linked, voting, changing, unlinked; on Discord, on the page, on the chain."""

from __future__ import annotations

import json
import re
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from eth_utils.crypto import keccak
from playwright.async_api import Page, expect

from bot.demo.discord.people import Answer, Message, wait_for
from bot.domain.videos import Video
from bot.store import videos
from contracts.ledger import calldata as calls
from contracts.ledger.client import Ledger
from contracts.outbox import progress as receipts
from contracts.signers.keystore import open_key_file
from tests.builders.accounts import member, sign
from tests.builders.stack import SETTLED_S, Scenario
from tests.chromium import needs_chromium, open_chromium

pytestmark = pytest.mark.asyncio(loop_scope="module")

ANA, BEN, EMI, CHLOE = (member(number) for number in range(1, 5))
UP, DOWN = 1, 2


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def card(shared_scenario: Scenario) -> Message:
    """A card whose video is on the chain."""
    scenario = shared_scenario
    card = await scenario.post_card("a white square at noon")
    video = await video_of(scenario, card)

    async def recorded() -> bool | None:
        found = await videos.get_or_none(scenario.database, video.id)
        return True if found is not None and await number_of(scenario, found) else None

    await wait_for("the video on the chain", recorded, seconds=SETTLED_S)
    return card


async def video_of(scenario: Scenario, card: Message) -> Video:
    for entry in await videos.entries(scenario.database, scenario.number):
        if entry.video.message_id == int(card.id):
            return entry.video
    raise LookupError("The card has no video.")


async def number_of(scenario: Scenario, video: Video) -> int:
    async with Ledger(scenario.stack.rpc_url, scenario.stack.deployment.address) as ledger:  # type: ignore[union-attr]  # it stands
        return await ledger.video_of(bytes.fromhex(video.chain_key))


async def tally(scenario: Scenario, card: Message) -> tuple[int, int]:
    async with Ledger(scenario.stack.rpc_url, scenario.stack.deployment.address) as ledger:  # type: ignore[union-attr]  # it stands
        found = await ledger.tally(await number_of(scenario, await video_of(scenario, card)))
        return found.up, found.down


async def on_chain(scenario: Scenario, card: Message, *, up: int, down: int) -> None:
    async def so() -> bool | None:
        return True if await tally(scenario, card) == (up, down) else None

    await wait_for(f"{up} up and {down} down on the chain", so, seconds=SETTLED_S)


def message_in(answer: Answer) -> dict[str, Any]:
    """The message to sign, as a member copies it from the answer."""
    found = re.search(r"```json\n(.*?)\n```", answer.text, re.DOTALL)
    assert found is not None, answer.text
    read: dict[str, Any] = json.loads(found[1])
    return read


def page_of(answer: Answer) -> tuple[str, str]:
    """The page's address and its token."""
    link, _, token = answer.message.links["Sign in the browser"].partition("#")
    return link, token


async def paste(scenario: Scenario, who: Any, answer: Answer, signature: str) -> str:
    form = await who.press(answer.message, "Paste a signature")
    return str((await who.submit(form, text=signature)).text)


async def linked(scenario: Scenario, who: Any) -> None:
    async def so() -> bool | None:
        return True if "votes for you. `/wallet sign`" in (await who.command("wallet show")).text else None

    await wait_for("the link on the chain", so, seconds=SETTLED_S)


async def test_a_member_links_votes_changes_and_unlinks(scenario: Scenario, card: Message) -> None:
    """All of it by pasted signatures and the page's border; the chain has it, the database agrees, receipts tell."""
    ana, video = scenario.ana, await video_of(scenario, card)
    await ana.press(card, "Up")
    await on_chain(scenario, card, up=1, down=0)
    assert "no linked wallet" in (await ana.command("wallet show")).text
    assert "isn't a wallet address" in (await ana.command("wallet link", address="ana.eth")).text
    asked = await ana.command("wallet link", address=ANA.address.lower())
    assert asked.ephemeral
    message = message_in(asked)
    assert message["message"]["wallet"] == ANA.address
    assert "isn't a signature of" in await paste(scenario, ana, asked, "0x" + sign(BEN, message).hex())
    assert "Linked" in await paste(scenario, ana, asked, "0x" + sign(ANA, message).hex())
    assert "has expired or is already signed" in await paste(scenario, ana, asked, "0x" + sign(ANA, message).hex())
    await linked(scenario, ana)

    asked = await ana.press(card, "Down")
    assert "you chose **down**" in asked.text
    assert "It counts once" in asked.text
    assert (await scenario.choices(video.id))["ana"] == UP
    link, token = page_of(asked)
    async with aiohttp.ClientSession() as browser:
        headers = {"Authorization": f"Bearer {token}"}
        async with browser.get(f"{link}/request", headers=headers) as told:
            request = await told.json()
        assert request["message"] == message_in(asked)
        for wrong in ("", "0x" + "11" * 65, None, ["0x"]):
            async with browser.post(f"{link}/signature", headers=headers, json={"signature": wrong}) as answer:
                assert answer.status == 422
                assert "isn't a signature of" in (await answer.json())["sentence"]
        async with browser.post(f"{link}/signature", headers={"Authorization": "Bearer x"}, json={}) as answer:
            assert answer.status == 410
        signature = "0x" + sign(ANA, request["message"]).hex()
        for status in (200, 410):
            async with browser.post(f"{link}/signature", headers=headers, json={"signature": signature}) as answer:
                assert answer.status == status, await answer.text()
    assert (await scenario.choices(video.id))["ana"] == DOWN
    await on_chain(scenario, card, up=0, down=1)
    await scenario.check_audit()
    receipt = await ana.command("receipt")
    assert "down" in receipt.text
    assert "signed by your wallet" in receipt.text
    assert "nothing to sign" in (await ana.command("wallet sign")).text

    asked = await ana.command("wallet unlink")
    assert "Unlinked" in await paste(scenario, ana, asked, "0x" + sign(ANA, message_in(asked)).hex())

    async def unlinked() -> bool | None:
        return True if "no linked wallet" in (await ana.command("wallet show")).text else None

    await wait_for("the unlink on the chain", unlinked, seconds=SETTLED_S)
    assert "Your wallet voted in round" in (await ana.press(card, "Up")).text
    assert (await scenario.choices(video.id))["ana"] == DOWN


async def test_somebody_elses_wallet_is_refused(scenario: Scenario, card: Message) -> None:
    """A wallet votes for one member; a request is signed by the member who was asked."""
    ben, emi = scenario.ben, scenario.community.person("emi")
    asked = await ben.command("wallet link", address=BEN.address)
    signature = "0x" + sign(BEN, message_in(asked)).hex()
    assert "Linked" in await paste(scenario, ben, asked, signature)
    assert "votes for another member" in (await emi.command("wallet link", address=BEN.address)).text
    assert "already" in (await ben.command("wallet link", address=EMI.address)).text
    await linked(scenario, ben)
    assert "votes for another member" in (await emi.command("wallet link", address=BEN.address)).text
    assert "no linked wallet" in (await emi.command("wallet sign")).text


async def test_a_wallet_may_send_its_ballot_and_its_unlink_itself(scenario: Scenario, card: Message) -> None:
    """Past a relayer that would not: the bot hears of it from the chain, counts it, and the receipt names it."""
    chloe, video = scenario.community.person("chloé"), await video_of(scenario, card)
    asked = await chloe.command("wallet link", address=CHLOE.address)
    assert "Linked" in await paste(scenario, chloe, asked, "0x" + sign(CHLOE, message_in(asked)).hex())
    await linked(scenario, chloe)
    before = await tally(scenario, card)
    message = message_in(await chloe.press(card, "Down"))["message"]
    listed = [(one["video"], one["choice"]) for one in message["choices"]]
    told = message_in(await chloe.command("wallet sign"))
    about = (CHLOE.address, told["message"]["round"], listed, told["message"]["nonce"], told["message"]["deadline"])
    await fund(scenario, CHLOE.address)
    tx = await send(scenario, CHLOE, calls.cast_signed(*about, sign(CHLOE, told)))
    await scenario.wait_for_choices(video.id, chloé=DOWN)
    assert await tally(scenario, card) == (before[0], before[1] + 1)
    receipt = (await chloe.command("receipt")).text
    assert "signed by your wallet" in receipt
    assert tx in receipt
    await scenario.check_audit()
    voter = bytes.fromhex(receipt.split("voter id in this server is `")[1][:64])
    await send(scenario, CHLOE, calls.unlink(voter, 0, 0, b""))

    async def unlinked() -> bool | None:
        return True if "no linked wallet" in (await chloe.command("wallet show")).text else None

    await wait_for("the bot to hear of the unlink", unlinked, seconds=SETTLED_S)
    assert "Your wallet voted in round" in (await chloe.press(card, "Up")).text


async def fund(scenario: Scenario, address: str) -> None:
    """Coin for an account, from the chain's own, while the relayer that shares it has nothing to do."""

    async def idle() -> bool | None:
        return True if await receipts.drained(scenario.database, scenario.number) else None

    await wait_for("the relayer to be idle", idle, seconds=SETTLED_S)
    await send(scenario, open_key_file(scenario.stack.key_file), b"", to=address, value=10**18)


async def send(scenario: Scenario, account: Any, data: bytes, *, to: str | None = None, value: int = 0) -> str:
    """Sends a transaction, to the ledger unless said otherwise, and waits for it; its hash."""
    async with Ledger(scenario.stack.rpc_url, scenario.stack.deployment.address) as ledger:  # type: ignore[union-attr]  # it stands
        node = ledger.node
        call = {
            "chainId": await node.chain_id(),
            "nonce": await node.nonce(account.address),
            "to": to or ledger.address,
            "data": data,
            "value": value,
            "gas": 1_000_000 if data else 21_000,
            "maxFeePerGas": 2 * 10**9,
            "maxPriorityFeePerGas": 0,
        }
        signed = await account.sign(call) if hasattr(account, "sign") else account.sign_transaction(call)
        raw = getattr(signed, "raw", None) or bytes(signed.raw_transaction)
        tx = "0x" + keccak(raw).hex()
        await node.send(raw)
        assert (await node.wait(tx)).ok
        return tx


class BrowserWallet:
    """An EIP-1193 wallet as an extension puts it into a page, announced by EIP-6963; it really signs."""

    def __init__(self, page: Page, *, declines: bool = False) -> None:
        self.page = page
        self.declines = declines
        self.asked: list[str] = []

    async def install(self) -> None:
        await self.page.expose_function("flockWallet", self.answer)
        await self.page.add_init_script(
            """
            const provider = { request: async ({ method, params }) => {
              const told = await window.flockWallet(method, params ?? []);
              if (told.error) throw Object.assign(new Error(told.error.message), { code: told.error.code });
              return told.result;
            } };
            const info = { uuid: "1", name: "Test Wallet", icon: "data:,", rdns: "org.example.wallet" };
            const announce = () => window.dispatchEvent(
              new CustomEvent("eip6963:announceProvider", { detail: Object.freeze({ info, provider }) }));
            window.addEventListener("eip6963:requestProvider", announce);
            announce();
            """
        )

    async def answer(self, method: str, params: list[Any]) -> dict[str, Any]:
        self.asked.append(method)
        if method == "eth_requestAccounts":
            return {"result": [EMI.address.lower()]}
        if method == "eth_chainId":
            return {"result": "0x1"}
        if method == "wallet_switchEthereumChain":
            return {"error": {"code": 4902, "message": "Unrecognized chain"}}
        if method == "wallet_addEthereumChain":
            return {"result": None}
        assert method == "eth_signTypedData_v4"
        if self.declines:
            return {"error": {"code": 4001, "message": "User rejected the request."}}
        return {"result": "0x" + sign(EMI, json.loads(params[1])).hex()}


@needs_chromium
async def test_a_browser_wallet_signs_on_the_page(scenario: Scenario, card: Message) -> None:
    """The page finds the wallet, brings it to the right chain, and sends what it signs; a refusal is no loss."""
    emi = scenario.community.person("emi")
    async with open_chromium() as browser:
        asked = await emi.command("wallet link", address=EMI.address)
        page = await browser.new_page()
        wallet = BrowserWallet(page, declines=True)
        await wallet.install()
        await page.goto(asked.message.links["Sign in the browser"])
        await expect(page.get_by_role("heading")).to_have_text("Link your wallet")
        await page.get_by_role("button", name="Sign with Test Wallet").click()
        await expect(page.get_by_role("status")).to_contain_text("You declined")
        wallet.declines = False
        await page.get_by_role("button", name="Sign with Test Wallet").click()
        await expect(page.get_by_role("status")).to_contain_text("votes for you from now on")
        assert "wallet_addEthereumChain" in wallet.asked
        await linked(scenario, emi)

        asked = await emi.press(card, "Up")
        page = await browser.new_page()
        await page.goto(asked.message.links["Sign in the browser"])
        await expect(page.get_by_role("status")).to_contain_text("No wallet was found")
        await expect(page.locator("#choices li .choice")).to_have_text("👍")
        await expect(page.locator("#choices li .prompt")).to_have_text("a white square at noon")
        await expect(page.locator("#choices li a")).to_have_attribute("href", re.compile("/channels/.+/.+/[0-9]+$"))
        message = json.loads(await page.locator("#message").input_value())
        await page.get_by_label("Signature", exact=True).fill("0x12")
        await page.get_by_role("button", name="Send the signature").click()
        await expect(page.get_by_role("status")).to_contain_text("isn't a signature of")
        await page.get_by_label("Signature", exact=True).fill(sign(EMI, message).hex())
        await page.get_by_role("button", name="Send the signature").click()
        await expect(page.get_by_role("status")).to_contain_text("1 choice signed by")
        await page.reload()
        await expect(page.get_by_role("heading")).to_have_text("Nothing to sign here")
    video = await video_of(scenario, card)
    assert (await scenario.choices(video.id))["emi"] == UP


async def test_the_round_ends_with_what_wallets_signed(scenario: Scenario, card: Message) -> None:
    """The result, the ledger and the database agree; nobody signs afterwards."""
    asked = await scenario.ben.press(card, "Up")
    token = page_of(asked)[1]
    await scenario.close_round()
    await scenario.check_audit()
    form = await scenario.ben.press_id(asked.message, f"w1:paste:{token}")
    late = await scenario.ben.submit(form, text="0x" + sign(BEN, message_in(asked)).hex())
    assert "too late" in late.text
    assert "nothing to sign" in (await scenario.ben.command("wallet sign")).text
