"""The order of the votes of a battle round, as a text that the description of a release names by its hash.

A batch of the ledger holds its votes by item and seat, so their order within a batch is lost. The rule needs it: a
member's first few battles are the ballot. The order across batches is the ledger's alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import cast

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.manifests import canonical_json
from migrations.schema import battles, outbox
from migrations.states.ledger import OutboxKind

FORMAT = "flock battle vote order 1"


class VoteOrderError(ValueError):
    """A text is no order of votes."""


async def order_of_votes(connection: AsyncConnection, round_id: int) -> bytes:
    """Return the text: the keys of battles, the voters' ids, and each vote as its two places in these lists."""
    query = (
        select(battles.c.chain_key, outbox.c.voter_id)
        .join(battles, battles.c.id == outbox.c.video_id)
        .where(outbox.c.kind == OutboxKind.VOTE, outbox.c.round_id == round_id)
        .order_by(outbox.c.id)
    )
    rows = (await connection.execute(query)).all()
    keys = {key: place for place, key in enumerate(dict.fromkeys(row.chain_key for row in rows))}
    voters = {voter: place for place, voter in enumerate(dict.fromkeys(row.voter_id for row in rows))}
    votes = [[keys[row.chain_key], voters[row.voter_id]] for row in rows]
    return canonical_json({"format": FORMAT, "battles": list(keys), "voters": list(voters), "votes": votes})


def read_vote_order(content: bytes) -> Mapping[tuple[bytes, bytes], int]:
    """Return the place of each vote by its battle's key and its voter's id. Raises VoteOrderError for another text."""
    try:
        fields = json.loads(content)
        if fields["format"] != FORMAT:
            raise VoteOrderError("The text is no order of votes.")
        keys = [bytes.fromhex(key) for key in cast(list[str], fields["battles"])]
        voters = [bytes.fromhex(voter) for voter in cast(list[str], fields["voters"])]
        places: dict[tuple[bytes, bytes], int] = {}
        for place, (battle, voter) in enumerate(cast(list[tuple[int, int]], fields["votes"])):
            places.setdefault((keys[battle], voters[voter]), place)
    except (ValueError, RecursionError, KeyError, TypeError, IndexError) as error:
        raise VoteOrderError("The text is no order of votes.") from error
    return places
