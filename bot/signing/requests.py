"""What members' wallets sign: requests are made here, and what comes back is checked and recorded here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy.ext.asyncio import AsyncConnection

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
from bot.domain.wallets import SignedChoice, SigningRequest, Wallet, WalletState, clean_address, clean_signature
from bot.store import rounds, signed_ballots, signing_requests, wallets
from contracts.ledger import eip1271 as smart_accounts
from contracts.ledger import typed_data as wallet
from contracts.outbox.entries import voter_id
from contracts.rpc.node import LedgerError
from migrations.database import now_ms
from migrations.states_community import SigningKind

if TYPE_CHECKING:
    from bot.app import App

CHANGE_S = 24 * 3600  # how long a signed link or unlink may take to reach the chain
MOST_CHOICES = 64  # in one signed ballot, as the ledger has it
MOST_BALLOTS = 20  # of a member in a round: we pay for sending them
MOST_CHANGES = 6  # links and unlinks of a member in a day: likewise
MOST_TURNED_DOWN = 2  # in a day, of what an account agreed to and then denied in a block: we paid for that in vain
DAY_MS = 24 * 3600 * 1000
LAST_S = 24.0  # before its round closes, a ballot is too late for two blocks of a slow chain


class Signing:
    """Asks for signatures, and takes them. Every method raises a MemberError with what to do."""

    def __init__(self, app: App) -> None:
        self.app = app
        self._domain: wallet.Domain | None = None

    async def link(self, guild_id: int, member_id: int, text: str) -> SigningRequest:
        """Asks a wallet to take over a member's votes."""
        address = clean_address(text)
        before = await wallets.of_member_or_none(self.app.database, guild_id, member_id)
        if before is not None and before.signs:
            raise WalletLinkedError(address=before.address)
        if before is not None and before.state == "unlinking":
            raise WalletUnlinkingError
        voter, nonce = await self._known(address)
        if voter or await wallets.is_taken(self.app.database, address):
            raise WalletTakenError(address=address)
        mine = voter_id(self.app.pepper, guild_id, member_id)
        new = Wallet(guild_id, member_id, mine, address, WalletState.LINKING)
        return await self._ask_change(new, SigningKind.LINK, nonce)

    async def unlink(self, guild_id: int, member_id: int) -> SigningRequest:
        """Asks a member's wallet to give the votes back."""
        linked = await self._linked(guild_id, member_id)
        _, nonce = await self._known(linked.address)
        return await self._ask_change(linked, SigningKind.UNLINK, nonce)

    async def ballot(self, guild_id: int, member_id: int) -> SigningRequest:
        """Asks a member's wallet to sign what was chosen in the open round."""
        linked = await self._linked(guild_id, member_id)
        round_ = await rounds.latest_or_none(self.app.database, guild_id)
        if round_ is None:
            raise NoRoundError
        chosen = await signed_ballots.list_unsigned(self.app.database, round_.id, member_id)
        if not chosen or not round_.accepts_votes(now_ms()):
            raise NothingToSignError
        self._check_time(round_)
        async with self.app.database.connect() as connection:
            await self._check_ballots(connection, round_, linked.voter_id, linked.address)
        ready = [SignedChoice(video, place, Choice(choice)) for video, place, choice in chosen if place is not None]
        if round_.chain_id is None or not ready:
            raise NotOnChainYetError
        _, nonce = await self._known(linked.address)
        return await signing_requests.add(
            self.app.database,
            linked,
            SigningKind.BALLOT,
            nonce=nonce,
            deadline=-(-round_.closes_at_ms // 1000),
            round_id=round_.id,
            round_number=round_.chain_id,
            choices=ready[:MOST_CHOICES],
        )

    async def message(self, request: SigningRequest) -> dict[str, Any]:
        """What the wallet is shown and signs (EIP-712)."""
        domain = await self._ledger_domain()
        if request.kind == "ballot":
            listed = [(one.number, int(one.choice)) for one in request.choices]
            return wallet.ballot_message(
                domain, request.wallet, request.round_number, listed, request.nonce, request.deadline
            )
        about = wallet.link_message if request.kind == "link" else wallet.unlink_message
        return about(domain, request.wallet, bytes.fromhex(request.voter_id), request.nonce, request.deadline)

    async def sign(self, token: str, text: str) -> SigningRequest:
        """Takes a signature for a request, and returns the request that it settles; it counts from here on."""
        request = await signing_requests.get(self.app.database, token)
        signature = clean_signature(text)
        if signature is None or not await self._signed(request, signature):
            raise SignatureError(address=request.wallet)
        async with self.app.database.begin() as connection:
            await signing_requests.lock_member(connection, request)
            await signing_requests.take(connection, token)
            if request.kind == "ballot":  # what was allowed when it was asked for may be used up by now
                round_ = await rounds.lock_for_read(connection, request.round_id or 0)
                self._check_time(round_)
                await self._check_ballots(connection, round_, request.voter_id, request.wallet)
                await signed_ballots.cast(connection, request, signature)
            else:
                await self._check_changes(connection, request.voter_id, request.wallet)
                change = wallets.link if request.kind == "link" else wallets.unlink
                await change(connection, request, signature)
        self.app.relayer.nudge()
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
        found = await wallets.of_member_or_none(self.app.database, guild_id, member_id)
        if found is None or found.state in ("refused", "unlinked"):
            raise WalletMissingError
        if found.state == "unlinking":
            raise WalletUnlinkingError
        return found

    async def _known(self, address: str) -> tuple[int, int]:
        """The voter for whom a wallet votes on the ledger, 0 for none, and a nonce that it has not used."""
        try:
            voter, last = await self.app.ledger.voter_of(address)
        except LedgerError as error:
            raise ChainAwayError from error
        return voter, max(last + 1, now_ms())

    async def _ask_change(self, about: Wallet, kind: SigningKind, nonce: int) -> SigningRequest:
        async with self.app.database.connect() as connection:
            await self._check_changes(connection, about.voter_id, about.address)
        deadline = now_ms() // 1000 + CHANGE_S
        return await signing_requests.add(self.app.database, about, kind, nonce=nonce, deadline=deadline)

    async def _ledger_domain(self) -> wallet.Domain:
        if self._domain is None:
            try:
                self._domain = wallet.Domain(await self.app.ledger.node.chain_id(), self.app.ledger.address)
            except LedgerError as error:
                raise ChainAwayError from error
        return self._domain

    async def _signed(self, request: SigningRequest, signature: bytes) -> bool:
        message = await self.message(request)
        try:
            return await smart_accounts.signed(self.app.ledger.node, request.wallet, message, signature)
        except LedgerError as error:
            raise ChainAwayError from error
