"""The facts that a data set takes from a provenance card: with no path, no name and no certificate of its operator."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from generation.models.config import is_folder
from generation.strict_json import JsonObject, JsonValue

_REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9_.-]+")
KEPT: tuple[str, ...] = ("format", "ai_generated", "seed", "settings", "software", "frames_sha256", "latents")
KEPT += ("motion", "label_in_picture", "best_of")


def canonical(value: JsonValue) -> str:
    """Return JSON with one form for each value: sorted names, no spaces, every character as it is."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def seed_of(card: JsonObject | None, asked: int) -> int:
    """Return the seed that made a video: the card's own, since the best of several came from another than was asked."""
    seed = (card or {}).get("seed")
    return seed if isinstance(seed, int) and not isinstance(seed, bool) and 0 <= seed < 1 << 63 else asked


def facts_of_card(card: JsonObject | None, prompt: str) -> dict[str, object]:
    """Return the columns that come from a card; each is None where there is no card, or the card does not say."""
    card = card or {}
    model, latents = _object(card.get("model")), _object(card.get("latents"))
    release = _object(model.get("release"))
    whole = card.get("format") is not None and model.get("id") is not None
    return {
        "model_source": repository(model.get("source")),
        "release": str(release["number"]) if isinstance(release.get("number"), int) else None,
        "settings": canonical(_object(card.get("settings"))) if "settings" in card else None,
        "card": canonical(public_card(card, prompt)) if whole else None,
        "frames_sha256": _text(card.get("frames_sha256")),
        "latents_sha256": _text(latents.get("sha256")),
    }


def public_card(card: Mapping[str, JsonValue], prompt: str) -> JsonObject:
    """Return a card that `flock rerender` still takes, without the certificate and without folders of a machine."""
    model = _object(card.get("model"))
    adapters, components = model.get("adapters"), _object(model.get("components"))
    public_model = {
        **model,
        "source": repository(model.get("source")),
        "adapters": [_public(each) for each in adapters] if isinstance(adapters, list) else [],
        "components": {name: _public(each) for name, each in components.items()},
    }
    return {**{name: card[name] for name in KEPT if name in card}, "prompt": prompt, "model": public_model}


def repository(source: object) -> str | None:
    """Return the name of a repository; None for a folder, whose path is its operator's own."""
    if isinstance(source, str) and _REPOSITORY.fullmatch(source) and not is_folder(source):
        return source
    return None


def _public(part: object) -> JsonObject:
    facts = _object(part)
    return {**facts, "source": repository(facts.get("source"))}


def _object(value: object) -> JsonObject:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
