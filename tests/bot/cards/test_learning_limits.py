"""No card of the learning loop is beyond what a message of Discord's holds, whatever has been written in it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from bot.cards import battles as battle_cards
from bot.cards import candidates as candidate_cards
from bot.cards import models as model_cards
from bot.cards import training as training_cards
from bot.domain.battles import PairCount, PairView, VerdictState
from bot.domain.releases import Evidence, Margin, Release, ReleaseFacts
from bot.domain.training import TrainingState
from bot.domain.training_report import TrainingFacts, TrainingStep
from generation.jobs import TrainingResult
from migrations.states.battles import BattleChoice
from migrations.states.community import RoundStatus, TrainingChoice
from migrations.states.learning import ReleaseState
from tests.bot.cards.test_battles import a_battle
from tests.bot.cards.test_limits import HEX, ID, Built, builders_of, checked, from_, prompts, text, texts
from tests.builders.battle_rounds import a_verdict

MODULES = (battle_cards, candidate_cards, model_cards, training_cards)

many = st.just(10**6)
verdicts = st.builds(
    a_verdict, st.sampled_from(list(VerdictState)), reasons=st.lists(texts(900), min_size=1, max_size=6).map(tuple),
    voters=many, votes=many, held_out=many, waiting=many, evidence_milli=many, evidence_needed=many,
)  # fmt: skip
battles = st.builds(a_battle, st.sampled_from([RoundStatus.OPENING, RoundStatus.OPEN, RoundStatus.CLOSED]))
pairs = st.builds(PairCount, many, many, many, many)
views = st.builds(
    PairView, pair_id=st.just(ID // 10), round_id=st.just(ID // 10), round_number=many,
    closes_at_ms=st.just(9_999_999_999_999), prompt=prompts, choice=st.sampled_from(list(BattleChoice)),
    is_final=st.booleans(), answered=many, of=many, counts=st.booleans(), is_catch=st.booleans(),
    candidate_is_a=st.booleans(), interim=st.none() | verdicts,
)  # fmt: skip
facts = st.builds(
    TrainingFacts, candidate_id=many, votes=many, videos=many, rounds=many, held_out=many, left_out=many,
    release=st.none() | many,
)  # fmt: skip
steps = st.none() | st.builds(
    TrainingStep, phase=texts(80), step=many, steps=many, eta_s=st.sampled_from([None, 1.0, 10.0**6])
)
sentences = st.lists(texts(600), max_size=20)
results = st.builds(
    TrainingResult, adapter_sha256=st.just(HEX), size_bytes=many, machine=texts(80), videos=many, drift=st.just(0.1),
    seconds=st.just(1.0), guards_passed=st.booleans(), guards=sentences, vetoes=sentences, notes=sentences,
)  # fmt: skip
releases = st.builds(
    Release, texts(200), many, many, st.just(HEX), st.none(), st.none(), st.none(), st.none(),
    st.sampled_from(list(ReleaseState)), st.just(9_999_999_999_999), st.none(), st.none(),
)  # fmt: skip
shaped = st.builds(
    ReleaseFacts, releases, st.none() | many, st.none() | many,
    st.none() | st.builds(Margin, many, st.just(0.5), st.just(0.4), st.just(0.6)),
    st.none() | st.builds(Evidence, many, many, many, many), st.none() | many,
)  # fmt: skip
pictures = st.sampled_from([None, "flock-filmstrip-1000000.png"])
marks = st.just("-# the end")
states = st.builds(TrainingState, st.booleans(), st.sampled_from([None, *TrainingChoice]))

# Every public function of these modules that gives a card, or a text of one; a new one must come here.
CARDS: dict[str, Built] = {
    "battles.announcement": from_(battle_cards.announcement, battles, pairs),
    "battles.pair_card": from_(battle_cards.pair_card, views, moderator=st.booleans()),
    "battles.verdict_card": from_(battle_cards.verdict_card, battles, verdicts, pairs),
    "battles.verdict_text": text(battle_cards.verdict_text, verdicts),
    "candidates.progress_text": text(candidate_cards.progress_text, facts, steps),
    "candidates.ready_text": text(candidate_cards.ready_text, facts, results, st.none() | texts(600)),
    "candidates.rejected_text": text(candidate_cards.rejected_text, facts, texts(600), sentences),
    "candidates.not_begun_text": text(candidate_cards.not_begun_text, marks, texts(600)),
    "candidates.no_battle_text": text(candidate_cards.no_battle_text, many, texts(600)),
    "candidates.no_release_text": text(candidate_cards.no_release_text, many, texts(600)),
    "candidates.card": from_(candidate_cards.card, texts(9000)),
    "candidates.begun": from_(candidate_cards.begun, st.just(ID)),
    "models.model_card": from_(
        model_cards.model_card, texts(200), st.lists(shaped, max_size=40), is_paused=st.booleans(), filmstrip=pictures
    ),
    "models.release_post": from_(
        model_cards.release_post, shaped, before=st.none() | releases, filmstrip=pictures, prompt=prompts
    ),
    "models.released": from_(model_cards.released, releases, st.none() | texts(600)),
    "models.rolled_back": from_(model_cards.rolled_back, releases, st.none() | releases),
    "models.paused": from_(model_cards.paused, changed=st.booleans()),
    "models.resumed": from_(model_cards.resumed, changed=st.booleans()),
    "training.notice": from_(training_cards.notice),
    "training.opted_out": from_(training_cards.opted_out),
    "training.opted_in": from_(training_cards.opted_in),
    "training.state_line": text(training_cards.state_line, states),
}
# Pieces of the above, or ids; each is bounded by what it is a part of.
PIECES = {
    "battles.custom_id", "battles.announcement_mark", "battles.verdict_mark", "candidates.mark_of",
    "candidates.no_battle_mark", "candidates.no_release_mark", "models.release_mark", "models.filmstrip_name",
}  # fmt: skip


def test_every_builder_is_tried_here() -> None:
    """Whoever adds a card, or a text of one, adds it to the table above."""
    assert builders_of(MODULES) == CARDS.keys() | PIECES


@pytest.mark.parametrize("name", CARDS)
@settings(max_examples=25, phases=[Phase.explicit, Phase.reuse, Phase.generate])  # making it smaller takes minutes
@given(data=st.data())
def test_no_card_is_too_large(name: str, data: Any) -> None:
    """With hostile texts as long as they may be."""
    checked(data.draw(CARDS[name]))
