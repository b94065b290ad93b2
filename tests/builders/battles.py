"""A community that holds a battle round: registered, voted on, revealed, and followed by a release."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import insert, select, update

from contracts.audit.registrations import merkle_root
from contracts.manifests import ReleaseManifest, canonical_json, document_hash, sides_hash
from contracts.outbox import battles, commitments
from contracts.outbox import entries as outbox
from migrations.database import now_ms
from migrations.schema import commitments as commitment_rows
from migrations.schema import outbox as entries
from migrations.schema import rounds
from tests.builders.relayed_community import PEPPER, Community

CANDIDATE, LIVE = document_hash(b"candidate"), document_hash(b"live")
PROMPTS = ("a cat", "a dog")
DATASET = document_hash(b"data set")


def prompt_rows(prompts: Sequence[str] = PROMPTS, catch: Sequence[str] = ()) -> list[dict[str, Any]]:
    listed = [(prompt, False) for prompt in prompts] + [(prompt, True) for prompt in catch]
    return [
        {"pair": f"p{place}", "prompt": prompt, "seed": place, "catch": is_catch}
        for place, (prompt, is_catch) in enumerate(listed)
    ]


def prompts_text(prompts: Sequence[str] = PROMPTS, catch: Sequence[str] = ()) -> bytes:
    return json.dumps(prompt_rows(prompts, catch)).encode()


def prompts_root(prompts: Sequence[str] = PROMPTS, catch: Sequence[str] = ()) -> str:
    rows = [json.dumps(row, sort_keys=True, separators=(",", ":")).encode() for row in prompt_rows(prompts, catch)]
    return merkle_root(rows).hex()


def registration(attempt: int = 1, candidate: str = CANDIDATE, **other: Any) -> bytes:
    """What a round is opened with: the text whose hash stands on the ledger before the first vote."""
    about = {
        "format": "flock-battle-registration/1", "community": "c0" * 32, "attempt": attempt,
        "last_failed": attempt - 1, "base_model": "tiny", "base_revision": "1", "live_release": LIVE,
        "candidate": candidate, "data_root": DATASET, "prompts_root": prompts_root(), "rule": {"wealth": 20},
    } | other  # fmt: skip
    return canonical_json(about) + b"\n"


def salt_of(battle_id: str) -> bytes:
    return bytes.fromhex(outbox.text_hash("salt" + battle_id))


class Tuners(Community):
    """What the bot does around a release."""

    async def battle_round(
        self, number: int = 1, text: bytes | None = None, seconds: int = 3600, dataset: str | None = None
    ) -> int:
        key, opens = f"{number:064x}", now_ms() - 2000
        async with self.engine.begin() as connection:
            made = await connection.execute(
                insert(rounds)
                .values(
                    guild_id=7, number=number, task="t", opened_by=1, channel_id=1, status="open", opens_at_ms=opens,
                    closes_at_ms=opens + seconds * 1000, chain_key=key,
                )
                .returning(rounds.c.id)
            )  # fmt: skip
            round_id = int(made.scalar_one())
            await battles.enqueue_battle_round(
                connection, round_id=round_id, key=key, opens_ms=opens, closes_ms=now_ms() + seconds * 1000,
                registration=registration(number) if text is None else text, prompts=prompts_text(), dataset=dataset,
            )  # fmt: skip
        return round_id

    async def battle(
        self, round_id: int, battle_id: str, prompt: str = "a cat", candidate: str = CANDIDATE, live: str = LIVE,
        *, swapped: bool = False, reveal: bool = True,
    ) -> None:  # fmt: skip
        """A battle and, beside it, its reveal; A is the candidate unless they are swapped."""
        model_a, model_b = (live, candidate) if swapped else (candidate, live)
        sides = sides_hash(bytes.fromhex(model_a), bytes.fromhex(model_b), salt_of(battle_id))
        async with self.engine.begin() as connection:
            await battles.enqueue_battle(
                connection, round_id=round_id, battle_id=battle_id, key=outbox.text_hash("key" + battle_id),
                prompt_hash=outbox.text_hash(prompt), content_a=outbox.text_hash("a" + battle_id),
                content_b=outbox.text_hash("b" + battle_id), sides=sides.hex(),
            )  # fmt: skip
            if reveal:
                await battles.enqueue_reveal(
                    connection, battle_id=battle_id, model_a=model_a, model_b=model_b, salt=salt_of(battle_id).hex()
                )

    async def battle_with_other_sides(self, round_id: int, battle_id: str) -> None:
        await self.battle(round_id, battle_id, reveal=False)
        async with self.engine.begin() as connection:
            await battles.enqueue_reveal(
                connection, battle_id=battle_id, model_a=LIVE, model_b=LIVE, salt=salt_of(battle_id).hex()
            )

    async def choose(self, round_id: int, battle_id: str, *choices: tuple[int, int]) -> None:
        """Members' choices about a battle, in order: 1 A, 2 B, 3 a tie."""
        rows = [
            battles.battle_vote_row(
                round_id=round_id, battle_id=battle_id, voter_id=outbox.voter_id(PEPPER, 7, member), choice=choice
            )
            for member, choice in choices
        ]
        async with self.engine.begin() as connection:
            await outbox.record_votes(connection, rows)

    async def dataset(self, root: str = DATASET, parent: str | None = None) -> int:
        async with self.engine.begin() as connection:
            return await commitments.enqueue_dataset(connection, root=root, description=b"data", parent=parent)

    async def release(self, manifest: ReleaseManifest, description: bytes = b"a release") -> int:
        async with self.engine.begin() as connection:
            return await commitments.enqueue_release(connection, manifest=manifest, description=description)

    async def suppose_recorded(self, round_id: int) -> None:
        """What the relayer would have written down by now: numbers, and all entries final."""
        async with self.engine.begin() as connection:
            await connection.execute(update(rounds).where(rounds.c.id == round_id).values(chain_id=round_id))
            await connection.execute(update(commitment_rows).values(number=1))
            await connection.execute(update(entries).values(state="final"))

    async def manifest(self, round_id: int, **other: Any) -> ReleaseManifest:
        """The manifest of a release after this round, from what is on the ledger."""
        async with self.engine.begin() as connection:
            here = select(rounds.c.chain_id, rounds.c.chain_key).where(rounds.c.id == round_id)
            about = (await connection.execute(here)).one()
        usual = ReleaseManifest(
            base_model="tiny@1", adapter=CANDIDATE, dataset=DATASET, dataset_number=1,
            registration=document_hash(registration(about.chain_id)), round_key=about.chain_key,
            round_number=about.chain_id, recipe={"seed": 1},
        )  # fmt: skip
        return replace(usual, **other)
