"""Tables of the ledger: voters, wallets, the outbox and the relayer's transactions."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    false,
)

from migrations.schema.base import RowId, metadata

voters = Table(
    "voters",
    metadata,
    Column("voter_id", Text, primary_key=True),  # HMAC of guild and member under the pepper, 32 bytes, hex
    Column("voter_index", BigInteger),  # the ledger's number, once registered
    Index(None, "voter_index"),
)

seats = Table(
    "seats",
    metadata,
    Column("round_id", RowId, ForeignKey("rounds.id"), primary_key=True),
    Column("voter_id", Text, primary_key=True),
    Column("seat", BigInteger, nullable=False),  # the ledger's number within the round, from 0
    Column("transaction_id", RowId),  # the batch that assigned the seat, if the batch was ours
    Column("claimed", Boolean, nullable=False, default=False, server_default=false()),  # then only the wallet writes it
    UniqueConstraint("round_id", "seat"),
)

# A member's wallet. Its state follows from its entries: the wallet is linked once `link_entry` is final, and until
# `unlink_entry` is.
wallets = Table(
    "wallets",
    metadata,
    Column("guild_id", BigInteger, primary_key=True, autoincrement=False),
    Column("member_id", BigInteger, primary_key=True, autoincrement=False),
    Column("voter_id", Text, nullable=False),
    Column("address", Text, nullable=False),  # checksummed
    Column("link_entry", RowId, nullable=False),  # of the outbox
    Column("unlink_entry", RowId),
    Index(None, "voter_id"),
    Index(None, "address"),
)

# The messages that members were asked to sign. The token is the only secret of the page on which they sign.
signing_requests = Table(
    "signing_requests",
    metadata,
    Column("token", Text, primary_key=True),
    Column("guild_id", BigInteger, nullable=False),
    Column("member_id", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),  # SigningKind
    Column("wallet", Text, nullable=False),  # the account that has to sign, checksummed
    Column("round_id", RowId),  # kind ballot
    Column("content", JSON, nullable=False),  # nonce, deadline; of a ballot the choices
    Column("entry", RowId),  # of the outbox, once it is signed
    Column("created_at_ms", BigInteger, nullable=False),
    Column("expires_at_ms", BigInteger, nullable=False),
    Index("ix_signing_requests_member_id", "member_id", "guild_id"),
    Index(None, "entry"),
)

# The choices that a member with a wallet has made and not signed yet. They count nowhere.
unsigned_choices = Table(
    "unsigned_choices",
    metadata,
    Column("video_id", Text, ForeignKey("videos.id"), primary_key=True),
    Column("member_id", BigInteger, primary_key=True, autoincrement=False),
    Column("choice", SmallInteger, nullable=False),  # 0 withdrawn | 1 up | 2 down
    Column("source", Text, nullable=False),  # VoteSource, but never `wallet`
    Column("chosen_at_ms", BigInteger, nullable=False),
    CheckConstraint("choice BETWEEN 0 AND 2", name="choice"),
    Index(None, "member_id"),
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    # round | video | vote | close | link | unlink | ballot (a signed one) | signed (a choice of a ballot)
    # | battle | reveal | commitment
    Column("kind", Text, nullable=False),
    Column("round_id", RowId),  # none for link, unlink and commitment
    Column("video_id", Text),  # kinds video, vote and signed; of a battle, its reveal and votes on it: the battle's id
    Column("voter_id", Text),  # kinds vote, link, unlink, ballot and signed
    Column("choice", SmallInteger),  # kinds vote and signed: 0 withdrawn | 1 up, or A | 2 down, or B | 3 a tie
    Column("payload", JSON, nullable=False),  # the facts to record; of kind signed: the ballot of the choice
    # pending -> batched -> final. A vote that a later vote of the same voter overtook is superseded. An entry that the
    # contract turns down is rejected, with the reason.
    Column("state", Text, nullable=False),
    Column("reason", Text),
    Column("transaction_id", RowId),
    Column("created_at_ms", BigInteger, nullable=False),
    Index(None, "state", "kind"),
    Index(None, "video_id", "voter_id"),
    Index(None, "round_id", "state"),
    Index(None, "transaction_id"),
    # For the oldest pending entry of a kind: without it, PostgreSQL would walk the primary key over every final entry.
    # The index of state and kind in SQLite is in the order of the id anyway.
    Index(None, "state", "kind", "id", info={"only": "postgresql"}).ddl_if(dialect="postgresql"),
)

# A blind battle as the ledger knows it. Its ids are in one row with those of videos: no video has the id of a battle.
battles = Table(
    "battles",
    metadata,
    Column("id", Text, primary_key=True),
    Column("round_id", RowId, ForeignKey("rounds.id"), nullable=False),
    Column("chain_key", Text, nullable=False),  # the ledger's name of the battle, 32 bytes, hex
    Column("chain_id", BigInteger),  # the ledger's number, once it is there
    UniqueConstraint("chain_key"),
    Index(None, "round_id"),
)

# What the ledger fixes by a root hash. The state follows from the entry.
commitments = Table(
    "commitments",
    metadata,
    Column("kind", Text, primary_key=True),  # dataset | release
    Column("root", Text, primary_key=True),  # 32 bytes, hex
    Column("parent", Text),  # root of the commitment of the same kind that this one continues
    Column("meta", Text, nullable=False),  # hash of its description
    Column("dataset", Text),  # kind release: root of the data set
    Column("round_id", RowId, ForeignKey("rounds.id")),  # kind release: the round in which its battles were held
    Column("entry", RowId, nullable=False),  # of the outbox
    Column("number", BigInteger),  # the ledger's number, once it is there
    Index(None, "entry"),
)

# The texts that the ledger names by their hash alone: registrations, manifests of releases, descriptions.
ledger_documents = Table(
    "ledger_documents",
    metadata,
    Column("hash", Text, primary_key=True),  # SHA-256, hex
    Column("content", LargeBinary, nullable=False),
)

chain_transactions = Table(
    "chain_transactions",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    # round | video | voters | votes | close | finalize | link | unlink | claim | ballot | battle | reveal | commitment
    Column("kind", Text, nullable=False),
    Column("round_id", RowId),
    Column("seq", BigInteger),  # kind votes: the batch's place in the ledger's strict order
    Column("sender", Text, nullable=False),  # the account whose nonce it is
    Column("nonce", BigInteger, nullable=False),
    Column("raw", LargeBinary, nullable=False),  # the signed bytes, stored before they are first sent
    Column("hashes", JSON, nullable=False),  # every hash under which this nonce was ever sent
    Column("state", Text, nullable=False),  # signed | sent | final | reverted
    Column("block_number", BigInteger),
    Column("block_hash", Text),
    Column("gas_used", BigInteger),
    Column("digest", Text),  # kind votes: the ledger's rolling digest after this batch
    Column("created_at_ms", BigInteger, nullable=False),
    Column("final_at_ms", BigInteger),
    UniqueConstraint("sender", "nonce"),
    UniqueConstraint("seq"),
    Index(None, "state"),
    Index(None, "kind", "round_id"),
)

chain_attempts = Table(
    "chain_attempts",
    metadata,
    Column("tx", Text, primary_key=True),  # its hash
    Column("transaction_id", RowId, nullable=False),  # the row of its nonce: one of its attempts may be mined
    Column("raw", LargeBinary, nullable=False),  # the signed bytes, stored before they are first sent
    Column("created_at_ms", BigInteger, nullable=False),
    Index(None, "transaction_id"),
)

# The subjects of transactions that were mined and reverted (`relayer.reverts`): an entry, a voter, a seat or a close.
reverts = Table(
    "reverts",
    metadata,
    Column("transaction_id", RowId, primary_key=True, autoincrement=False),
    Column("subject", Text, primary_key=True),
    Column("shared", Integer, nullable=False),  # the number of subjects that the transaction had
    Index(None, "subject"),
)
