"""A community's past, made in the database by SQL: rounds that are over, and one that is open.

Two pasts of different length hold an open round of the same size, so that whatever is asked of them differs by what is
over alone. Nothing of it is on a chain.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from eth_account import Account
from sqlalchemy import Connection, Engine, create_engine, event, func, insert, select, text

from contracts.outbox.entries import voter_id
from migrations.database import now_ms, sync_url
from migrations.schema import (
    chain_attempts,
    chain_transactions,
    guilds,
    outbox,
    render_timings,
    reviews,
    rounds,
    seats,
    signing_requests,
    unsigned_choices,
    videos,
    voters,
    votes,
    wallets,
    workflow_attempts,
)

GUILD = 7
PEPPER = b"the pepper of a past, 32 bytes ."
MODEL = "tiny"
SENDER = "0x" + "55" * 20
MAKERS = 50  # members who ask for videos
DAY_MS = 86_400_000
BATCH = 150  # votes in a transaction of the ledger
FIRST_ID = 10**18  # of videos; Discord's ids of today have 19 digits
A_ROUND = 1_000  # numbers of videos and transactions that a round has for itself

INDEXES = sorted(
    (index for table in (votes, outbox, seats, chain_transactions, chain_attempts) for index in table.indexes),
    key=lambda index: str(index.name),
)
STATES = ("published",) * 17 + ("failed", "cancelled", "removed")


@dataclass(frozen=True)
class Past:
    """How much there is. Each round has `videos`; the votes of those that are over are `votes` each."""

    rounds: int
    votes: int
    videos: int = 40
    members: int = 10_000
    open_votes: int = 2_500  # of the open round, of which the last `waiting` have not been sent yet
    waiting: int = 500
    wallets: int = 12  # further members, who have linked one
    chain_id: int = 31_431  # for which its transactions were signed, the embedded chain's
    numbered: bool = True  # False: by no number of a ledger, so that a relayer may begin on a new one

    @property
    def open_round(self) -> int:
        return self.rounds + 1

    @property
    def of_the_open_round(self) -> list[str]:
        """Its videos, oldest first."""
        return [video_of(self.open_round, number) for number in range(self.videos)]


def video_of(round_id: int, number: int) -> str:
    return str(FIRST_ID + round_id * A_ROUND + number)


def message_of(video_id: str) -> int:
    return int(video_id) + 10**17


def address_of(member: int) -> str:
    return f"0x{member:040x}"


def member_of(past: Past, round_id: int, vote: int) -> int:
    """Who gave a round's vote of this number; nobody twice on one video."""
    return 1 + (round_id * 613 + vote // past.videos * 3 + vote % past.videos * 7) % past.members


def signed(past: Past) -> bytes:
    """The bytes of some transaction on the past's chain."""
    call = {"nonce": 0, "to": SENDER, "value": 0, "gas": 100_000, "maxFeePerGas": 1, "maxPriorityFeePerGas": 1}
    made = Account.from_key("0x" + "22" * 32).sign_transaction({"chainId": past.chain_id, "data": b"d" * 400, **call})
    return bytes(made.raw_transaction)


def engine_of(url: str) -> Engine:
    """An engine that need not survive a power cut."""
    engine = create_engine(sync_url(url))
    if engine.dialect.name == "sqlite":

        @event.listens_for(engine, "connect")
        def quick(connection: Any, _record: Any) -> None:
            for pragma in ("synchronous=OFF", "cache_size=-400000", "temp_store=MEMORY"):
                connection.execute(f"PRAGMA {pragma}")

    return engine


def fill(url: str, past: Past) -> None:
    """Writes the past into an empty database of today's schema; PostgreSQL then learns how much there is."""
    engine = engine_of(url)
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            # Each row has what it refers to, and indexes are made quicker at the end; on SQLite their order counts.
            connection.execute(text("SET session_replication_role = replica"))
            connection.execute(text("SET maintenance_work_mem = '512MB'"))
            for index in INDEXES:
                index.drop(connection)
        _prepare(connection, past)
        for round_id in range(1, past.open_round + 1):
            _round(connection, past, round_id)
            _votes(connection, past, round_id)
            connection.commit()  # SQLite's log need not hold all of it
        _wallets(connection, past)
        if engine.dialect.name == "postgresql":
            for index in INDEXES:
                index.create(connection)
            for table in (rounds, chain_transactions, outbox):
                sequence = func.pg_get_serial_sequence(table.name, "id")
                connection.execute(select(func.setval(sequence, func.max(table.c.id))))
        connection.commit()
    if engine.dialect.name == "postgresql":
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("CHECKPOINT"))
            connection.execute(text("VACUUM ANALYZE"))  # as autovacuum does by itself; never SQLite's ANALYZE
    engine.dispose()


def _prepare(connection: Connection, past: Past) -> None:
    connection.execute(text("CREATE TEMPORARY TABLE numbers (k INTEGER PRIMARY KEY)"))
    connection.execute(text("CREATE TEMPORARY TABLE members (member INTEGER PRIMARY KEY, voter TEXT NOT NULL)"))
    most = max(past.votes, past.open_votes)
    connection.execute(text("INSERT INTO numbers VALUES (:k)"), [{"k": k} for k in range(most)])
    ids = {member: voter_id(PEPPER, GUILD, member) for member in range(1, past.members + past.wallets + 1)}
    connection.execute(text("INSERT INTO members VALUES (:m, :v)"), [{"m": m, "v": v} for m, v in ids.items()])
    sign = 1 if past.numbered else -1
    connection.execute(insert(voters), [{"voter_id": v, "voter_index": sign * m} for m, v in ids.items()])
    connection.execute(insert(guilds).values(guild_id=GUILD, rounds_channel_id=1, set_up_by=1, updated_at_ms=1))


def _day(past: Past, round_id: int) -> int:
    """When a round opened, in milliseconds; the last one that is over closed more than a day ago."""
    return now_ms() - (past.open_round - round_id + (round_id <= past.rounds)) * DAY_MS - 3_600_000


def _round(connection: Connection, past: Past, round_id: int) -> None:
    """A round with its videos and what each of them left behind; of the open one, a few are still being made."""
    over = round_id <= past.rounds
    day = _day(past, round_id)
    first = round_id * A_ROUND  # number of its first transaction
    connection.execute(
        insert(rounds).values(
            id=round_id, guild_id=GUILD, number=round_id, task="a task", opened_by=1, channel_id=1, thread_id=round_id,
            status="closed" if over else "open", opens_at_ms=day, closes_at_ms=day + (DAY_MS // 2 if over else DAY_MS),
            chain_key=f"{round_id:064x}", chain_id=round_id if past.numbered else -round_id,
            finalized_tx=f"0x{round_id:064x}" if over else None,
        )
    )  # fmt: skip
    made, entered, sent = [], [], []
    for number in range(past.videos):
        video_id = video_of(round_id, number)
        status = STATES[number % len(STATES)] if over else "published"
        made.append(
            {
                "id": video_id, "guild_id": GUILD, "round_id": round_id, "member_id": 1 + number % MAKERS,
                "member_name": "a member", "prompt": f"a prompt of {number} words, of round {round_id}",
                "status": status, "created_at_ms": day + number, "cancel_requested": False, "seed": 1,
                "model_id": MODEL, "message_id": message_of(video_id), "thread_id": round_id,
                "chain_key": f"{int(video_id):064x}", "chain_id": round_id * A_ROUND + number + 1,
                "sha256": f"{number:064x}", "provenance": {"tool": "x" * 300},
            }
        )  # fmt: skip
        sent.append(("video", first + 2 + number))
        entered.append(
            _entry(
                "video", round_id, day, first + 2 + number, video_id=video_id, payload={"key": f"{int(video_id):064x}"}
            )
        )
    under_way = [] if over else ["queued", "queued", "rendering", "uploading", "posting"]
    for number, status in enumerate(under_way, start=past.videos):
        made.append(
            {
                **made[0],
                "created_at_ms": day + number,
                "id": video_of(round_id, number),
                "status": status,
                "message_id": None,
                "chain_id": None,
                "chain_key": f"{int(video_of(round_id, number)):064x}",
            }
        )
    connection.execute(insert(videos), made)
    entered.append(
        _entry("round", round_id, day, first, payload={"key": f"{round_id:064x}", "closes": day // 1000 + 86_400})
    )
    sent += [("round", first), ("voters", first + 1)]
    if over:
        entered.append(_entry("close", round_id, day, first + past.videos + 3))
        sent += [("close", first + past.videos + 2), ("finalize", first + past.videos + 3)]
    votes = past.votes if over else past.open_votes - past.waiting
    batches = range(first + past.videos + 4, first + past.videos + 4 + -(-votes // BATCH))
    sent += [("votes", number) for number in batches]
    connection.execute(insert(outbox), entered)
    raw = signed(past)
    connection.execute(
        insert(chain_transactions), [_transaction(past, raw, kind, round_id, number, day) for kind, number in sent]
    )
    connection.execute(
        insert(chain_attempts),
        [{"tx": f"0x{n:064x}", "transaction_id": n, "raw": raw, "created_at_ms": day} for _, n in sent],
    )
    connection.execute(
        insert(render_timings),
        [{"model_id": MODEL, "seconds": 3.0 + n % 7, "finished_at_ms": day + n} for n in range(past.videos)],
    )
    connection.execute(insert(workflow_attempts).values(workflow_id=f"video-{round_id}-render", attempts=1))
    held = ("approved", "rejected", "over", "approved") if over else ("waiting", "rejected")
    connection.execute(
        insert(reviews),
        [
            {
                "kind": "prompt", "video_id": f"{round_id}-{number}", "guild_id": GUILD, "round_id": round_id,
                "member_id": 1 + number, "member_name": "a member", "prompt": "p", "finding": "rule 1", "state": state,
                "created_at_ms": day,
            }
            for number, state in enumerate(held)
        ],
    )  # fmt: skip


def _entry(kind: str, round_id: int, day: int, transaction: int, **values: Any) -> dict[str, Any]:
    return {
        "kind": kind, "round_id": round_id, "video_id": None, "payload": {}, "state": "final",
        "transaction_id": transaction, "created_at_ms": day, **values,
    }  # fmt: skip


def _transaction(past: Past, raw: bytes, kind: str, round_id: int, number: int, day: int) -> dict[str, Any]:
    seq = number if kind == "votes" and past.numbered else None
    return {
        "id": number, "kind": kind, "round_id": round_id, "seq": seq, "sender": SENDER, "raw": raw,
        "nonce": number, "hashes": [f"0x{number:064x}"], "state": "final", "block_number": number,
        "block_hash": f"0x{number:064x}", "gas_used": 100_000, "digest": "0x" + "d" * 64 if kind == "votes" else None,
        "created_at_ms": day, "final_at_ms": day,
    }  # fmt: skip


def _votes(connection: Connection, past: Past, round_id: int) -> None:
    """A round's votes with their entries, seats and reactions, and a word on each third video."""
    over = round_id <= past.rounds
    day = _day(past, round_id)
    many = past.votes if over else past.open_votes
    about = {
        "round": round_id, "many": many, "sent": many if over else many - past.waiting, "videos": past.videos,
        "first": FIRST_ID + round_id * A_ROUND, "members": past.members, "shift": round_id * 613, "day": day,
        "batch": round_id * A_ROUND + past.videos + 4,
    }  # fmt: skip
    for statement in (VOTES, ENTRIES, SEATS, REACTIONS, WORDS, REPORTS):
        connection.execute(text(statement), about)


_VIDEO = "CAST(:first + k % :videos AS TEXT)"
_MEMBER = "1 + (:shift + k / :videos * 3 + k % :videos * 7) % :members"
VOTES = f"""
    INSERT INTO votes (video_id, member_id, choice, source, cast_at_ms)
    SELECT {_VIDEO}, {_MEMBER}, 1 + (k / 3) % 2, CASE WHEN k % 4 = 0 THEN 'reaction' ELSE 'button' END, :day + k
    FROM numbers WHERE k < :many ORDER BY k"""  # noqa: S608  # our own words
ENTRIES = f"""
    INSERT INTO outbox
        (kind, round_id, video_id, voter_id, choice, payload, state, reason, transaction_id, created_at_ms)
    SELECT 'vote', :round, {_VIDEO}, voter, 1 + (k / 3) % 2, '{{}}',
        CASE WHEN k >= :sent THEN 'pending' WHEN k % 500 = 7 THEN 'rejected' WHEN k % 100 = 9 THEN 'superseded'
             ELSE 'final' END,
        CASE WHEN k < :sent AND k % 500 = 7 THEN 'The round had already closed on the ledger.' END,
        CASE WHEN k < :sent AND k % 500 <> 7 AND k % 100 <> 9 THEN :batch + k / {BATCH} END, :day + k
    FROM numbers JOIN members ON member = {_MEMBER} WHERE k < :many ORDER BY k"""  # noqa: S608
SEATS = """
    INSERT INTO seats (round_id, voter_id, seat, transaction_id, claimed)
    SELECT :round, voter_id, ROW_NUMBER() OVER (ORDER BY first) - 1, :batch, FALSE
    FROM (SELECT voter_id, MIN(id) AS first FROM outbox WHERE round_id = :round AND kind = 'vote'
          AND state IN ('final', 'superseded') GROUP BY voter_id) AS seated"""
REACTIONS = f"""
    INSERT INTO reactions (video_id, member_id, choice)
    SELECT {_VIDEO}, {_MEMBER}, 1 + (k / 3) % 2 FROM numbers WHERE k < :many AND k % 4 = 0 ORDER BY k"""  # noqa: S608
WORDS = f"""
    INSERT INTO feedback (video_id, member_id, text, created_at_ms)
    SELECT {_VIDEO}, 1, 'well done', :day FROM numbers WHERE k < :videos AND k % 3 = 0"""  # noqa: S608
REPORTS = f"""
    INSERT INTO reports (video_id, member_id, reason, created_at_ms)
    SELECT {_VIDEO}, 1, 'not nice', :day FROM numbers WHERE k < :videos AND k % 9 = 0"""  # noqa: S608


def _wallets(connection: Connection, past: Past) -> None:
    """Some members link a wallet, and each third of them lets it go again; in each round one of them signs a ballot."""
    linking = [past.members + 1 + number for number in range(past.wallets)]
    entries: list[dict[str, Any]] = []
    first = int(connection.execute(text("SELECT max(id) FROM outbox")).scalar_one()) + 1

    def enter(kind: str, member: int, round_id: int | None) -> int:
        entries.append(
            {
                "id": first + len(entries), "kind": kind, "round_id": round_id, "state": "final", "created_at_ms": 1,
                "voter_id": voter_id(PEPPER, GUILD, member), "payload": {"nonce": 1, "choices": []},
                "transaction_id": (round_id or 1) * A_ROUND + 1,
            }
        )  # fmt: skip
        return first + len(entries) - 1

    for number, member in enumerate(linking):
        connection.execute(
            insert(wallets).values(
                guild_id=GUILD, member_id=member, voter_id=voter_id(PEPPER, GUILD, member), address=address_of(member),
                link_entry=enter("link", member, None),
                unlink_entry=enter("unlink", member, None) if number % 3 == 2 else None,
            )
        )  # fmt: skip
    for round_id in range(1, past.rounds + 1):
        member = linking[round_id % past.wallets]
        connection.execute(
            insert(signing_requests).values(
                token=f"token {round_id}", guild_id=GUILD, member_id=member, kind="ballot", wallet=address_of(member),
                round_id=round_id, content={"choices": [], "voter_id": voter_id(PEPPER, GUILD, member)},
                entry=enter("ballot", member, round_id), created_at_ms=1, expires_at_ms=2,
            )
        )  # fmt: skip
        connection.execute(
            insert(unsigned_choices).values(
                video_id=video_of(round_id, 0), member_id=member, choice=1, source="button", chosen_at_ms=1
            )
        )
    connection.execute(insert(outbox), entries)
