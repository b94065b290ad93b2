"""What is offered for gas: never over the limit, and enough more to replace what is stuck."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from contracts.relayer.fees import OVER_MARKET, Offer, first_offer, gwei, higher_offer
from contracts.rpc.node import Fees

WEI = st.integers(0, 10**13)


def market(base: int, tip: int) -> Fees:
    return Fees(base=base, tip=tip, maximum=2 * base + tip)


@given(base=WEI, tip=WEI, limit=st.none() | st.integers(1, 10**13))
def test_a_first_offer_is_mined_or_not_made(base: int, tip: int, limit: int | None) -> None:
    """It covers the base fee and keeps to the limit; where both cannot be, there is none."""
    offer = first_offer(market(base, tip), limit)
    if offer is None:
        assert limit is not None
        assert limit < base
        return
    assert base <= offer.most <= (limit if limit is not None else 2 * base + tip)
    assert 0 <= offer.tip <= offer.most


@given(most=WEI, share=st.floats(0, 1), base=WEI, tip=WEI, limit=st.none() | st.integers(1, 10**13))
def test_a_replacement_is_taken_by_every_node_or_not_made(
    most: int, share: float, base: int, tip: int, limit: int | None
) -> None:
    """Both fields grow by at least an eighth, the tip stays under the whole, and the limit holds."""
    before = Offer(most, int(most * share))
    offer = higher_offer(before, market(base, tip), limit)
    ceiling = OVER_MARKET * (2 * base + tip) if limit is None else limit
    if offer is None:
        assert before.most * 9 > ceiling * 8 or before.tip * 9 > before.most * 8 or ceiling <= before.most + 1
        return
    assert offer.most <= ceiling
    assert offer.tip <= offer.most
    for old, new in zip(before, offer, strict=True):
        assert new > old
        assert new * 8 >= old * 9


def test_a_replacement_follows_the_market() -> None:
    """Ten times the base fee is met at once, not in steps of an eighth."""
    before = first_offer(market(10**9, 10**6), None)
    assert before is not None
    after = higher_offer(before, market(10**10, 10**6), None)
    assert after is not None
    assert after.most == 2 * 10**10 + 10**6
    assert higher_offer(before, market(10**10, 10**6), 2 * 10**9) is None


def test_fees_are_read_in_gwei() -> None:
    """As people write them: no exponent, no trailing zeros."""
    assert [gwei(10**9), gwei(25 * 10**6), gwei(1), gwei(0)] == ["1", "0.025", "0.000000001", "0"]
