"""The sentences about refusals: of refusals that the contract knows, and for people."""

from __future__ import annotations

import pytest

from contracts.compile import SOURCE
from contracts.outbox.rejections import ANSWER_CHANGED, NOT_OPEN, SENTENCES, TEMPORARY_REFUSALS, UNEXPLAINED

OF_THE_CONTRACT = [NOT_OPEN, *TEMPORARY_REFUSALS, *sorted(set(SENTENCES) - {ANSWER_CHANGED, UNEXPLAINED})]


@pytest.mark.parametrize("reason", OF_THE_CONTRACT)
def test_the_contract_knows_the_reason(reason: str) -> None:
    """A reason that is misspelt would never be met, and its entries would be treated as any other's."""
    assert f'"{reason}"' in SOURCE.read_text(encoding="utf-8")


def test_our_own_reasons_are_not_the_contracts() -> None:
    """They name reverts that no reason explains."""
    assert not any(reason in SOURCE.read_text(encoding="utf-8") for reason in (ANSWER_CHANGED, UNEXPLAINED))


def test_what_people_read_is_a_sentence() -> None:
    """What is only put off is not explained as a rejection as well."""
    for sentence in (*SENTENCES.values(), *TEMPORARY_REFUSALS.values()):
        assert sentence[0].isupper()
        assert sentence.endswith(".")
    assert not SENTENCES.keys() & TEMPORARY_REFUSALS.keys()
