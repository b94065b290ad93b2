"""Ballots read from the chain alone: no table is asked, only the log, and the names that belong to voter ids."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from contracts.audit.replay import Replay
from contracts.ledger.client import Ledger
from contracts.outbox.entries import voter_id
from tests.chaos.oracle import Key


class Recorded:
    """The records of the ledger: the videos by prompt and their number, the hashes of their files, and every ballot."""

    def __init__(self, replay: Replay, prompts: Mapping[str, str], names: Mapping[int, str]) -> None:
        """`prompts` by their hash and `names` of members by their index on the ledger; both may lack some."""
        self.problems = list(replay.problems)
        self.videos: Counter[str] = Counter()
        self.content: dict[str, str] = {}
        self.ballots: dict[Key, int] = {}
        self.final = [about.winner is not None for about in replay.rounds.values()]
        for video in replay.videos.values():
            prompt = prompts.get(video.prompt_hash.hex(), f"unknown prompt {video.prompt_hash.hex()[:8]}")
            self.videos[prompt] += 1
            self.content[prompt] = video.content_hash.hex()
            for voter, choice in video.ballots.items():
                self.ballots[prompt, names.get(voter, f"unknown voter {voter}")] = choice


async def read_ledger(
    rpc_url: str, address: str, *, pepper: bytes, guild_id: int, prompts: Mapping[str, str], members: Mapping[str, int]
) -> Recorded:
    """Read the ledger's log; `prompts` are recognized by their hashes, and members by their voter ids."""
    replay = Replay()
    async with Ledger(rpc_url, address) as ledger:
        async for event in ledger.events(0, await ledger.node.block_number()):
            replay.take(event)
    pseudonyms = {bytes.fromhex(voter_id(pepper, guild_id, member)): name for name, member in members.items()}
    names = {index: pseudonyms[voter] for voter, index in replay.voters.items() if voter in pseudonyms}
    return Recorded(replay, prompts, names)
