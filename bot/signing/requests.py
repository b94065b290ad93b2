"""The requests that members' wallets sign: made here, and their signatures checked and recorded here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from bot.domain.errors import (
    AccountChangesError,
    ChainAwayError,
    NoRoundError,
    NothingToSignError,
    NotOnChainYetError,
    SignatureError,
    TooLateToSignError,
    TooManyBallotsError,
    TooManyChangesError,
    WalletLinkedError,
    WalletMissingError,
    WalletTakenError,
    WalletUnlinkingError,
)
from bot.domain.rounds import Round
from bot.domain.votes import Choice
from bot.domain.wallets import Names, SignedChoice, SigningRequest, Wallet, WalletState, clean_address, clean_signature
from bot.store import rounds, signed_ballots, signing_requests, wallets
from contracts.ledger import eip1271, typed_data
from contracts.ledger.client import Ledger
from contracts.outbox.entries import voter_id
from contracts.rpc.node import LedgerError
from migrations.database import now_ms
from migrations.states.community import SigningKind

CHANGE_S = 24 * 3600  # the time that a signed link or unlink may take to reach the ledger
MOST_CHOICES = 64  # in one signed ballot, as the ledger has it
MOST_BALLOTS = 20  # of a member in a round: the operator pays for sending them
MOST_CHANGES = 6  # links and unlinks of a member in a day: likewise
MOST_TURNED_DOWN = 2  # a day, of messages that an account agreed to and then denied in a block: paid for in vain
DAY_MS = 24 * 3600 * 1000
NOBODY = Names()
LAST_S = 24.0  # before its round closes, a ballot is too late for two blocks of a slow chain


class SigningRequests:
    """Asks for signatures, and takes them. Every method raises a MemberError that says what to do."""

    def __init__(self, *, database: AsyncEngine, ledger: Ledger, pepper: bytes, on_signed: Callable[[], None]) -> None:
        """`on_signed` is called after a signature was recorded: the relayer has work."""
        self._database = database
        self._ledger = ledger
        self._pepper = pepper
        self._on_signed = on_signed
        self._domain: typed_data.Domain | None = None

    async def link(self, guild_id: int, member_id: int, text: str, names: Names = NOBODY) -> SigningRequest:
        """Ask a wallet to take over a member's votes. `names` say on the page whose votes they are."""
        address = clean_address(text)
        before = await wallets.of_member_or_none(self._database, guild_id, member_id)
        if before is not None and before.signs:
            raise WalletLinkedError(address=before.address)
        if before is not None and before.state == WalletState.UNLINKING:
            raise WalletUnlinkingError
        voter, nonce = await self._voter_of(address)
        if voter or await wallets.is_taken(self._database, address):
            raise WalletTakenError(address=address)
        mine = voter_id(self._pepper, guild_id, member_id)
        new = Wallet(guild_id, member_id, mine, address, WalletState.LINKING)
        return await self._ask_change(new, SigningKind.LINK, nonce, names)

    async def unlink(self, guild_id: int, member_id: int, names: Names = NOBODY) -> SigningRequest:
        """Ask a member's wallet to give the votes back."""
        linked = await self._linked(guild_id, member_id)
        _, nonce = await self._voter_of(linked.address)
        return await self._ask_change(linked, SigningKind.UNLINK, nonce, names)

    async def ballot(self, guild_id: int, member_id: int, names: Names = NOBODY) -> SigningRequest:
        """Ask a member's wallet to sign what was chosen in the open round."""
        linked = await self._linked(guild_id, member_id)
        round_ = await rounds.latest_or_none(self._database, guild_id)
        if round_ is None:
            raise NoRoundError
        choices = await signed_ballots.list_unsigned(self._database, round_.id, member_id)
        if not choices or not round_.accepts_votes(now_ms()):
            raise NothingToSignError
        self._check_time(round_)
        async with self._database.connect() as connection:
            await self._check_ballots(connection, round_, linked.voter_id, linked.address)
        ready = [SignedChoice(video, place, Choice(choice)) for video, place, choice in choices if place is not None]
        if round_.chain_id is None or not ready:
            raise NotOnChainYetError
        _, nonce = await self._voter_of(linked.address)
        return await signing_requests.add(
            self._database,
            linked,
            SigningKind.BALLOT,
            nonce=nonce,
            deadline=-(-round_.closes_at_ms // 1000),
            round_id=round_.id,
            round_number=round_.chain_id,
            choices=ready[:MOST_CHOICES],
            names=names,
        )

    async def message(self, request: SigningRequest) -> dict[str, Any]:
        """Return what the wallet shows and signs (EIP-712)."""
        domain = await self._ledger_domain()
        if request.kind == SigningKind.BALLOT:
            numbered_choices = [(each.number, int(each.choice)) for each in request.choices]
            return typed_data.ballot_message(
                domain, request.wallet, request.round_number, numbered_choices, request.nonce, request.deadline
            )
        message_of = typed_data.link_message if request.kind == SigningKind.LINK else typed_data.unlink_message
        return message_of(domain, request.wallet, bytes.fromhex(request.voter_id), request.nonce, request.deadline)

    async def sign(self, token: str, text: str) -> SigningRequest:
        """Record a signature for a request, and return that request. The signature counts from here on."""
        request = await signing_requests.get(self._database, token)
        signature = clean_signature(text)
        if signature is None or not await self._signed(request, signature):
            raise SignatureError(address=request.wallet)
        async with self._database.begin() as connection:
            await signing_requests.lock_member(connection, request)
            await signing_requests.take(connection, token)
            if request.kind == SigningKind.BALLOT:  # the limit may be reached since the request was made
                round_ = await rounds.lock_for_read(connection, request.round_id or 0)
                self._check_time(round_)
                await self._check_ballots(connection, round_, request.voter_id, request.wallet)
                await signed_ballots.cast(connection, request, signature)
            else:
                await self._check_changes(connection, request.voter_id, request.wallet)
                change = wallets.link if request.kind == SigningKind.LINK else wallets.unlink
                await change(connection, request, signature)
        self._on_signed()
        return request

    # ------------------------------------------------------------------ pieces

    def _check_time(self, round_: Round) -> None:
        if not round_.accepts_votes(now_ms() + round(LAST_S * 1000)):
            raise TooLateToSignError(number=round_.number)

    async def _check_ballots(self, connection: AsyncConnection, round_: Round, voter: str, address: str) -> None:
        if await signed_ballots.count_cast(connection, round_.id, voter) >= MOST_BALLOTS:
            raise TooManyBallotsError(limit=MOST_BALLOTS, number=round_.number)
        await self._check_account(connection, voter, address)

    async def _check_changes(self, connection: AsyncConnection, voter: str, address: str) -> None:
        now = now_ms()
        recent = await wallets.change_times(connection, voter, now - DAY_MS)
        if len(recent) >= MOST_CHANGES:
            free = recent[-MOST_CHANGES] + DAY_MS - now
            raise TooManyChangesError(limit=MOST_CHANGES, hours=max(1, -(-free // 3_600_000)))
        await self._check_account(connection, voter, address)

    async def _check_account(self, connection: AsyncConnection, voter: str, address: str) -> None:
        if await wallets.count_changed_answers(connection, voter, address, now_ms() - DAY_MS) >= MOST_TURNED_DOWN:
            raise AccountChangesError(address=address)

    async def _linked(self, guild_id: int, member_id: int) -> Wallet:
        linked = await wallets.of_member_or_none(self._database, guild_id, member_id)
        if linked is None or linked.state in (WalletState.REFUSED, WalletState.UNLINKED):
            raise WalletMissingError
        if linked.state == WalletState.UNLINKING:
            raise WalletUnlinkingError
        return linked

    async def _voter_of(self, address: str) -> tuple[int, int]:
        """Return the voter for whom a wallet votes on the ledger, 0 for none, and a nonce that it has not used."""
        try:
            voter, last = await self._ledger.voter_of(address)
        except LedgerError as error:
            raise ChainAwayError from error
        return voter, max(last + 1, now_ms())

    async def _ask_change(self, changed: Wallet, kind: SigningKind, nonce: int, names: Names) -> SigningRequest:
        async with self._database.connect() as connection:
            await self._check_changes(connection, changed.voter_id, changed.address)
        deadline = now_ms() // 1000 + CHANGE_S
        return await signing_requests.add(self._database, changed, kind, nonce=nonce, deadline=deadline, names=names)

    async def _ledger_domain(self) -> typed_data.Domain:
        if self._domain is None:
            try:
                self._domain = typed_data.Domain(await self._ledger.node.chain_id(), self._ledger.address)
            except LedgerError as error:
                raise ChainAwayError from error
        return self._domain

    async def _signed(self, request: SigningRequest, signature: bytes) -> bool:
        message = await self.message(request)
        try:
            return await eip1271.signed(self._ledger.node, request.wallet, message, signature)
        except LedgerError as error:
            raise ChainAwayError from error
