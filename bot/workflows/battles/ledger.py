"""The entries of a battle round for the ledger: its registration, its pairs, the votes on them, its end, the reveals.

Catch pairs are entered as battles like any other: before the reveals nobody can tell one. The side that shows another
prompt is revealed as `DECOY`, so that anybody can see later whose wrong answer held their ballot out.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from bot.domain.battles import Battle, BattlePair, BattleVideo
from bot.domain.errors import BattleLedgerError
from bot.store.battles import rounds as battles
from bot.store.battles.attempts import is_dataset_entered
from bot.store.battles.ballots import FinalVote
from bot.workflows.battle_parts import LedgerPlace
from bot.workflows.battles.registration import prompts_of
from contracts.manifests import DECOY, SALT_PREFIX, base_model_hash, canonical_json, sides_hash
from contracts.outbox import entries
from contracts.outbox.battles import (
    TIE,
    A,
    B,
    battle_vote_row,
    enqueue_battle,
    enqueue_battle_round,
    enqueue_reveal,
)
from contracts.outbox.documents import keep_document
from contracts.outbox.progress import round_progress
from generation.feedback.registration import pair_salt, read_registration
from migrations.states.battles import BattleChoice

_CHOICES = {BattleChoice.A: A, BattleChoice.B: B, BattleChoice.TIE: TIE, BattleChoice.BOTH_BAD: TIE}


class OutboxBattles:
    """Enters the whole of a battle round."""

    def __init__(self, database: AsyncEngine, grace_s: int) -> None:
        """`grace_s`: how many seconds later than on Discord a round closes on the ledger."""
        self._database = database
        self._grace_s = grace_s

    async def register(self, connection: AsyncConnection, battle: Battle) -> None:
        """Enter the round, which opens with the hash of its registration.

        Raises BattleLedgerError where the candidate's data set was entered and does not stand on the ledger yet.
        """
        root = read_registration(battle.registration).data_root
        prompts = prompts_of(await battles.pairs_within(connection, battle.round.id))
        try:
            await enqueue_battle_round(
                connection,
                round_id=battle.round.id,
                key=battle.round.chain_key,
                opens_ms=battle.round.opens_at_ms,
                closes_ms=battle.round.closes_at_ms,
                registration=battle.registration,
                prompts=canonical_json([dataclasses.asdict(prompt) for prompt in prompts]),
                dataset=root if await is_dataset_entered(connection, root) else None,
                grace_s=self._grace_s,
            )
        except ValueError as error:
            raise BattleLedgerError(what=f"the data set `{root[:12]}…`") from error

    async def place(self, round_id: int) -> LedgerPlace:
        """Return where the round's registration is."""
        progress = await round_progress(self._database, round_id)
        return LedgerPlace(progress.chain_id is not None, progress.rejection)

    async def enter(
        self, connection: AsyncConnection, battle: Battle, pair: BattlePair, a: BattleVideo, b: BattleVideo
    ) -> None:
        """Enter a pair with the hashes of its two videos, in the order in which they are shown."""
        assert a.shown_sha256 is not None  # noqa: S101  # a pair that is ready has both files
        assert b.shown_sha256 is not None  # noqa: S101  # as above
        model_a, model_b, salt = _sides(battle, pair)
        await enqueue_battle(
            connection,
            round_id=battle.round.id,
            battle_id=battle_id(pair),
            key=hashlib.sha256(f"flock:battle:{battle.round.chain_key}:{pair.number}".encode()).hexdigest(),
            prompt_hash=entries.text_hash(pair.prompt),
            content_a=a.shown_sha256,
            content_b=b.shown_sha256,
            sides=sides_hash(bytes.fromhex(model_a), bytes.fromhex(model_b), salt).hex(),
        )

    async def vote(self, connection: AsyncConnection, battle: Battle, votes: Sequence[FinalVote]) -> None:
        """Enter final votes, in their order."""
        await entries.record_votes(
            connection,
            [
                battle_vote_row(
                    round_id=battle.round.id,
                    battle_id=battle_id(vote.pair),
                    voter_id=vote.voter,
                    choice=_CHOICES[vote.choice],
                )
                for vote in votes
            ],
        )

    async def close(self, connection: AsyncConnection, battle: Battle) -> None:
        """Ask for the end of the round, after all votes that were entered."""
        await entries.record_close(connection, round_id=battle.round.id)

    async def reveal(self, connection: AsyncConnection, battle: Battle, pair: BattlePair) -> None:
        """Enter which model was which side of a pair that was entered."""
        model_a, model_b, salt = _sides(battle, pair)
        await enqueue_reveal(connection, battle_id=battle_id(pair), model_a=model_a, model_b=model_b, salt=salt.hex())

    async def show_salt(self, connection: AsyncConnection, battle: Battle) -> None:
        """Keep the salt of a round that is over as the text whose hash its registration holds."""
        await keep_document(connection, SALT_PREFIX + battle.salt)


def battle_id(pair: BattlePair) -> str:
    """Return the id of a pair's battle in the outbox; no video has such an id."""
    return f"battle-{pair.id}"


def _sides(battle: Battle, pair: BattlePair) -> tuple[str, str, bytes]:
    """Return the hashes of what stands behind A and B, and the salt that hides them."""
    registration = read_registration(battle.registration)
    live = registration.live_release or base_model_hash(f"{registration.base_model}@{registration.base_revision}")
    first, second = (live, DECOY) if pair.is_catch else (registration.candidate, live)
    a, b = (first, second) if pair.first_is_a else (second, first)
    return a, b, pair_salt(battle.salt, str(pair.number))
