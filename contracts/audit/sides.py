"""The sides of a battle round, compared with the salt that was committed to before the first vote.

The registration holds the hash of the salt. Whoever has the salt can throw every coin again: which model was A in each
pair, and with which salt of its own the pair was hidden. So nobody chose the sides once votes were known.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator, Mapping, Sequence

from contracts.audit.registrations import RegisteredPrompt, Registration
from contracts.audit.replayed import ReplayedBattle
from contracts.manifests import DECOY, SALT_PREFIX, base_model_hash


def master_salt(documents: Mapping[str, bytes], registration: Registration) -> bytes | None:
    """Return the salt that a registration committed to; None while nobody shows it."""
    content = documents.get(registration.salt_commitment or "", b"")
    return content.removeprefix(SALT_PREFIX) if content.startswith(SALT_PREFIX) else None


def pair_salt(salt: bytes, pair: str) -> bytes:
    """Return the salt of one pair, 32 bytes."""
    return _draw(salt, "pair", pair)


def first_is_a(salt: bytes, pair: str) -> bool:
    """Return True where the candidate, or in a catch pair the model in use, is shown as A."""
    return _draw(salt, "side", pair)[0] & 1 == 1


def check_sides(
    number: int,
    registration: Registration,
    battles: Mapping[int, ReplayedBattle],
    prompts: Sequence[RegisteredPrompt],
    salt: bytes,
) -> Iterator[str]:
    """Yield a sentence for each revealed battle of round `number` whose sides the salt did not draw."""
    pairs = {pair_salt(salt, prompt.pair): prompt for prompt in prompts}
    live = registration.live or base_model_hash(registration.base_model)
    used: dict[str, int] = {}
    for place, battle in battles.items():
        if battle.models is None or battle.salt is None:
            continue
        prompt = pairs.get(battle.salt)
        if prompt is None or prompt.hash != battle.prompt_hash:
            yield f"Battle {place} was hidden by another salt than the registration of round {number} gives its pair."
            continue
        if prompt.pair in used:
            yield f"Battles {used[prompt.pair]} and {place} are the same registered pair of round {number}."
        used.setdefault(prompt.pair, place)
        first, second = (live, DECOY) if prompt.catch else (registration.candidate, live)
        drawn = (first, second) if first_is_a(salt, prompt.pair) else (second, first)
        if tuple(model.hex() for model in battle.models) != drawn:
            yield f"Battle {place} was shown with other sides than the salt of round {number} draws."


def _draw(salt: bytes, *words: str) -> bytes:
    return hmac.new(salt, "\0".join(words).encode(), hashlib.sha256).digest()
