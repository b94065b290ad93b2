"""A batch of votes and reactions: applied in memory to what one transaction has read, then saved by it."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import bindparam, delete, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from bot.domain.errors import (
    ElsewhereError,
    RoundClosedError,
    VideoUnknownError,
    WalletSeatError,
    WalletUnlinkingError,
)
from bot.domain.rounds import Round
from bot.domain.votes import Choice, Reaction, Standing, Vote
from bot.domain.wallets import Wallet, WalletState
from bot.store import wallets
from contracts.outbox import entries as outbox
from migrations.database import now_ms, one_of, upsert_into
from migrations.schema import reactions, rounds, unsigned_choices, videos, votes
from migrations.states.community import VideoStatus, VoteSource


@dataclass(frozen=True)
class _Video:
    """A published video, and its round."""

    id: str
    guild_id: int
    prompt: str
    round: Round


@dataclass(frozen=True)
class _Ballot:
    """A choice, and the way in which it was made."""

    choice: Choice
    source: VoteSource


class VoteBatch:
    """The votes and reactions of one transaction: applied in memory to the state that it has read, then saved by it."""

    def __init__(self, pepper: bytes) -> None:
        self.now = now_ms()
        self.pepper = pepper
        self.videos: dict[str, _Video] = {}  # those that are published, by id
        self.by_message: dict[int, str] = {}
        self.ballots: dict[tuple[str, int], _Ballot] = {}  # by video and member
        self.changed: dict[tuple[str, int], None] = {}
        self.outbox: list[dict[str, object]] = []
        self.added: dict[tuple[str, int, int], bool] = {}
        self.wallets: dict[tuple[int, int], Wallet] = {}  # by guild and member
        self.wallet_seats: set[tuple[int, str]] = set()  # by round and voter id
        self.unsigned: dict[tuple[str, int], _Ballot] = {}
        self.changed_unsigned: dict[tuple[str, int], None] = {}

    @classmethod
    async def load(cls, connection: AsyncConnection, actions: list[Vote | Reaction], pepper: bytes) -> VoteBatch:
        """Return a batch with all state that the actions are about. Their rounds are locked for reading."""
        batch = cls(pepper)
        ids = {action.video_id for action in actions if isinstance(action, Vote)}
        messages = {action.message_id for action in actions if isinstance(action, Reaction)}
        query = select(videos).where(or_(videos.c.id.in_(ids), videos.c.message_id.in_(messages)))
        rows = (await connection.execute(query)).all()
        # Locked for reading (where rows can be locked): a round cannot close between this check and the commit.
        locked = await connection.execute(
            select(rounds).where(rounds.c.id.in_({row.round_id for row in rows})).with_for_update(read=True)
        )
        by_id = {row.id: Round.from_row(row) for row in locked}
        for row in rows:
            batch.by_message[row.message_id] = row.id
            if row.status == VideoStatus.PUBLISHED:
                batch.videos[row.id] = _Video(row.id, row.guild_id, row.prompt, by_id[row.round_id])
        batch.now = now_ms()  # after the locks: the wait for them may have passed the deadline
        keys = {(batch.video_id(action), action.member_id) for action in actions}
        standing = await connection.execute(select(votes).where(one_of(keys, votes.c.video_id, votes.c.member_id)))
        batch.ballots = {
            (row.video_id, row.member_id): _Ballot(Choice(row.choice), VoteSource(row.source)) for row in standing
        }
        await batch._load_wallets(connection, actions)
        return batch

    async def _load_wallets(self, connection: AsyncConnection, actions: list[Vote | Reaction]) -> None:
        """Load the wallets of the members, and their unsigned choices. Most of the time there are hardly any."""
        voters = [(self.videos.get(self.video_id(action)), action.member_id) for action in actions]
        self.wallets = await wallets.of_members(
            connection, {(video.guild_id, member_id) for video, member_id in voters if video is not None}
        )
        if not self.wallets:
            return
        members = {member_id for _, member_id in self.wallets}
        query = select(unsigned_choices).where(
            unsigned_choices.c.video_id.in_(self.videos), unsigned_choices.c.member_id.in_(members)
        )
        for row in await connection.execute(query):
            self.unsigned[row.video_id, row.member_id] = _Ballot(Choice(row.choice), VoteSource(row.source))
        former = {wallet.voter_id for wallet in self.wallets.values() if not wallet.signs}
        round_ids = {video.round.id for video in self.videos.values()}
        self.wallet_seats = await wallets.wallet_only_seats(
            connection, {(round_id, voter) for round_id in round_ids for voter in former}
        )

    def video_id(self, action: Vote | Reaction) -> str:
        """Return the id of an action's video; an empty text where a reaction is on no card."""
        return action.video_id if isinstance(action, Vote) else self.by_message.get(action.message_id, "")

    def takes_votes(self, video_id: str) -> bool:
        """Return True where a video takes votes now."""
        return video_id in self.videos and self.videos[video_id].round.accepts_votes(self.now)

    def apply(self, action: Vote | Reaction) -> Standing | Exception:
        """Apply an action in memory. Return the vote as it then stands, or the error for the member."""
        video_id = self.video_id(action)
        if video_id not in self.videos:
            return VideoUnknownError()
        video = self.videos[video_id]
        round_ = video.round
        if action.guild_id != video.guild_id:
            return ElsewhereError()
        if isinstance(action, Reaction):
            self.added[video_id, action.member_id, int(action.choice)] = action.change == "added"
        if not round_.accepts_votes(self.now):
            return RoundClosedError(number=round_.number)
        wallet = self.wallets.get((video.guild_id, action.member_id))
        if wallet is not None and wallet.signs:
            return self._choose(action, video, wallet)
        if wallet is not None and wallet.state == WalletState.UNLINKING:
            return WalletUnlinkingError()
        if wallet is not None and (round_.id, wallet.voter_id) in self.wallet_seats:
            return WalletSeatError(number=round_.number)
        ballot_key = (video_id, action.member_id)
        before = self.ballots.get(ballot_key, _Ballot(Choice.WITHDRAWN, VoteSource.BUTTON))
        after = _next(before, action)
        if after != before:
            self.ballots[ballot_key] = after
            self.changed[ballot_key] = None
        if after.choice != before.choice:
            voter = outbox.voter_id(self.pepper, video.guild_id, action.member_id)
            self.outbox.append(
                outbox.vote_row(
                    round_id=round_.id,
                    video_id=video_id,
                    voter_id=voter,
                    choice=int(after.choice),
                    created_at_ms=self.now,
                )
            )
        return Standing(
            choice=after.choice,
            changed=after.choice != before.choice,
            round_number=round_.number,
            closes_at_ms=round_.closes_at_ms,
            prompt=video.prompt,
        )

    def _choose(self, action: Vote | Reaction, video: _Video, wallet: Wallet) -> Standing:
        """Keep the choice of a member with a wallet; it counts once the wallet has signed it."""
        key = (video.id, action.member_id)
        before = self.unsigned.get(key) or self.ballots.get(key, _Ballot(Choice.WITHDRAWN, VoteSource.BUTTON))
        after = _next(before, action)
        if after != before:
            self.unsigned[key] = after
            self.changed_unsigned[key] = None
        return Standing(
            choice=after.choice,
            changed=after.choice != before.choice,
            round_number=video.round.number,
            closes_at_ms=video.round.closes_at_ms,
            prompt=video.prompt,
            wallet=wallet.address,
        )

    async def _save_unsigned(self, connection: AsyncConnection) -> None:
        recorded = {
            key: self.ballots[key].choice if key in self.ballots else Choice.WITHDRAWN for key in self.changed_unsigned
        }
        to_sign = [key for key in self.changed_unsigned if self.unsigned[key].choice != recorded[key]]
        to_delete = [key for key in self.changed_unsigned if self.unsigned[key].choice == recorded[key]]
        if to_sign:
            upsert = upsert_into(connection, unsigned_choices)
            await connection.execute(
                upsert.on_conflict_do_update(
                    index_elements=["video_id", "member_id"],
                    set_={name: upsert.excluded[name] for name in ("choice", "source", "chosen_at_ms")},
                ),
                [
                    {
                        "video_id": video_id,
                        "member_id": member_id,
                        "choice": int(self.unsigned[video_id, member_id].choice),
                        "source": self.unsigned[video_id, member_id].source,
                        "chosen_at_ms": self.now,
                    }
                    for video_id, member_id in to_sign
                ],
            )
        if to_delete:
            await connection.execute(
                delete(unsigned_choices).where(
                    unsigned_choices.c.video_id == bindparam("video"),
                    unsigned_choices.c.member_id == bindparam("member"),
                ),
                [{"video": video_id, "member": member_id} for video_id, member_id in to_delete],
            )

    async def save(self, connection: AsyncConnection) -> None:
        """Write everything that the actions changed, in the caller's transaction."""
        if self.changed_unsigned:
            await self._save_unsigned(connection)
        if self.changed:
            upsert = upsert_into(connection, votes)
            await connection.execute(
                upsert.on_conflict_do_update(
                    index_elements=["video_id", "member_id"],
                    set_={name: upsert.excluded[name] for name in ("choice", "source", "cast_at_ms")},
                ),
                [
                    {
                        "video_id": video_id,
                        "member_id": member_id,
                        "choice": int(self.ballots[video_id, member_id].choice),
                        "source": self.ballots[video_id, member_id].source,
                        "cast_at_ms": self.now,
                    }
                    for video_id, member_id in self.changed
                ],
            )
        if self.outbox:
            await outbox.record_votes(connection, self.outbox)
        added = [key for key, present in self.added.items() if present]
        removed = [key for key, present in self.added.items() if not present]
        if added:
            await connection.execute(
                upsert_into(connection, reactions).on_conflict_do_nothing(),
                [{"video_id": v, "member_id": m, "choice": c} for v, m, c in added],
            )
        if removed:
            await connection.execute(
                delete(reactions).where(
                    reactions.c.video_id == bindparam("video"),
                    reactions.c.member_id == bindparam("member"),
                    reactions.c.choice == bindparam("taken"),
                ),
                [{"video": v, "member": m, "taken": c} for v, m, c in removed],
            )


def _next(before: _Ballot, action: Vote | Reaction) -> _Ballot:
    """Return the ballot after an action. The last action wins; a removed reaction withdraws only its own vote."""
    if isinstance(action, Vote):
        return _Ballot(action.choice, action.source)
    if action.change == "added":
        return _Ballot(action.choice, VoteSource.REACTION)
    if before == _Ballot(action.choice, VoteSource.REACTION):
        return _Ballot(Choice.WITHDRAWN, VoteSource.REACTION)
    return before
