"""The size of a community that learns, and the settings with which its bot and workers run."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.demo.discord.world import CROWD
from bot.demo.learning.plan import SENTENCES, LearningPlan
from bot.domain.errors import OperatorError
from bot.learning_loop import ELIGIBILITY, RULE
from generation.feedback.community.tastes import TASTES
from generation.models.registry import TINY, load_models


def test_the_usual_community_can_pass_the_rule_as_it_is() -> None:
    """Enough members, each with enough votes before the battle, and enough pairs; noisy and hostile ones among them."""
    plan = LearningPlan()
    assert 40 <= plan.voters <= len(CROWD)
    assert plan.voters > RULE.min_voters
    assert plan.pairs >= RULE.min_pairs
    votes = plan.prompts * plan.videos_a_prompt * plan.votes_a_video
    assert votes // plan.voters >= ELIGIBILITY.votes_before
    assert plan.noise > 0
    assert plan.hostile * plan.voters >= 1


def test_each_taste_has_words_and_another_one_is_refused() -> None:
    """The sentence names those that there are."""
    assert set(SENTENCES) == set(TASTES)
    assert LearningPlan("dark").likes == "dark backgrounds"
    with pytest.raises(OperatorError, match="no taste 'sour'; those are warm, large"):
        LearningPlan("sour")


@pytest.mark.parametrize("voters", [0, len(CROWD) + 1])
def test_a_community_has_members_whom_the_guild_can_have(voters: int) -> None:
    """Neither none nor more than there are names."""
    with pytest.raises(OperatorError, match="members vote"):
        LearningPlan(voters=voters)


def test_the_pictures_are_smaller_and_the_model_is_the_same(tmp_path: Path) -> None:
    """What the settings name is a models file that changes the size of the picture alone."""
    settings = LearningPlan().settings_in(tmp_path)
    changed = load_models(tmp_path, Path(settings["FLOCK_MODELS_FILE"]))[TINY]
    usual = load_models(tmp_path, None)[TINY]
    assert {**changed.overrides, "upscale": 0} == {**usual.overrides, "upscale": 0}
    assert changed.overrides["upscale"] < usual.overrides["upscale"]
    assert changed.source == usual.source
