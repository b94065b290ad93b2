"""The states and kinds of rows, as they stand in the tables. A value is data and never changes; a member's name may."""

from __future__ import annotations

from enum import StrEnum

# --------------------------------------------------------------------------- the ledger


class OutboxKind(StrEnum):
    """The kinds of entries in `outbox`: what the ledger is to record."""

    ROUND = "round"  # a round opens
    VIDEO = "video"  # a video is entered into a round
    VOTE = "vote"  # a voter's choice about a video, sent by the relayer within a batch
    CLOSE = "close"  # a round ends: it is closed, then finalized
    LINK = "link"  # a voter hands its votes to a wallet
    UNLINK = "unlink"  # a wallet gives a voter's votes back
    BALLOT = "ballot"  # a ballot that a wallet signed
    SIGNED = "signed"  # one choice of a signed ballot; it shares the ballot's fate
    BATTLE = "battle"  # a battle is entered into a round
    REVEAL = "reveal"  # after the round: which model was which side of a battle
    COMMITMENT = "commitment"  # a data set or a release is fixed by its root hash


class OutboxState(StrEnum):
    """The states of an entry in `outbox`: pending -> batched -> final, or rejected, or superseded."""

    PENDING = "pending"  # waits for its transaction
    BATCHED = "batched"  # a transaction that is not final yet carries it
    FINAL = "final"  # on the ledger, in a block that stands for good
    SUPERSEDED = "superseded"  # a vote that a later one of the same voter overtook before it was sent
    REJECTED = "rejected"  # the ledger will never record it; `reason` says why


class TransactionKind(StrEnum):
    """The kinds of transactions in `chain_transactions`: the call that each one makes."""

    ROUND = "round"  # open_round
    VIDEO = "video"  # add_video
    VOTERS = "voters"  # register
    VOTES = "votes"  # batch
    CLOSE = "close"  # close_round
    FINALIZE = "finalize"  # finalize
    LINK = "link"  # link
    UNLINK = "unlink"  # unlink
    CLAIM = "claim"  # claim
    BALLOT = "ballot"  # cast_signed
    BATTLE = "battle"  # add_battle
    REVEAL = "reveal"  # reveal_battle
    COMMITMENT = "commitment"  # commit
    NOOP = "noop"  # nothing: it uses up a nonce that a reorganisation freed


class CommitmentKind(StrEnum):
    """The kinds of rows in `commitments`."""

    DATASET = "dataset"  # what a model is tuned on
    RELEASE = "release"  # a model that is in use, or was


class TransactionState(StrEnum):
    """The states of a transaction in `chain_transactions`: signed -> sent -> final, or reverted."""

    SIGNED = "signed"  # its bytes are stored, and were not accepted by a node yet
    SENT = "sent"  # a node took it, or a block holds it that is not final yet
    FINAL = "final"  # its block stands for good; a reorganisation may still make it `sent` again
    REVERTED = "reverted"  # a block holds it and it did nothing, or another transaction has its nonce


UNDERWAY_TRANSACTIONS = (TransactionState.SIGNED, TransactionState.SENT)  # not over yet
