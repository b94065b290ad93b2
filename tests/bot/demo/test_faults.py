"""The rules for faults on demand, which every embedded service shares."""

from __future__ import annotations

import asyncio
from typing import Literal

import pytest
from pydantic import TypeAdapter

from bot.demo.faults import MOST_RULES, FaultError, Rule, Rules, control_routes, matches


class Rain(Rule):
    fault: Literal["rain"]
    place: str = "*"


def rain() -> Rules[Rain]:
    return Rules(TypeAdapter(Rain))


def test_once_unless_told_otherwise() -> None:
    """Without a rate or a count a fault strikes once; with a count so often; with a rate until it is switched off."""
    for wanted, expected in (({}, 1), ({"count": 3}, 3), ({"rate": 1}, 50), ({"rate": 1, "count": 4}, 4)):
        rules = rain()
        rules.add({"fault": "rain", **wanted})
        assert sum(rules.strike(lambda _: True) is not None for _ in range(50)) == expected
        assert rules.look()["done"] == {"rain": expected}


def test_chance_is_the_same_for_the_same_seed() -> None:
    """A rate of a third strikes about a third, and the same ones in each run."""
    runs = []
    for seed in (1, 1, 2):
        rules = rain()
        rules.add({"fault": "rain", "rate": 1 / 3, "seed": seed})
        runs.append([rules.strike(lambda _: True) is not None for _ in range(300)])
    assert runs[0] == runs[1] != runs[2]
    assert 60 < sum(runs[0]) < 140


def test_what_does_not_apply_is_neither_met_nor_struck() -> None:
    """A filter leaves the dice alone."""
    rules = rain()
    rule = rules.add({"fault": "rain", "place": "hill*"})
    assert rules.strike(lambda known: matches(known.place, "valley")) is None
    assert (rule.look()["met"], rule.is_spent) == (0, False)
    assert rules.strike(lambda known: matches(known.place, "hillside")) is rule
    assert (rule.look()["met"], rule.is_spent) == (1, True)


async def test_who_is_held_up_goes_on_when_it_is_switched_off() -> None:
    """Off releases whom a fault holds up; another fault goes on holding, and time releases too."""
    rules = rain()
    first, second = rules.add({"fault": "rain"}), rules.add({"fault": "rain"})
    waiting = [asyncio.create_task(rule.hold(None)) for rule in (first, second)]
    await asyncio.sleep(0)
    assert [rule["holding"] for rule in rules.look()["faults"]] == [1, 1]
    rules.off(first.id)
    await waiting[0]
    assert not waiting[1].done()
    rules.off()
    await waiting[1]
    third = rules.add({"fault": "rain"})
    await third.hold(0.01)


def test_there_is_an_end_to_it() -> None:
    """So many faults and no more; those that have done their work are forgotten in time."""
    rules = rain()
    for _ in range(MOST_RULES):
        rules.add({"fault": "rain"})
    with pytest.raises(FaultError, match="already; switch some off"):
        rules.add({"fault": "rain"})
    for _ in range(MOST_RULES):
        rules.strike(lambda _: True)
    for _ in range(5 * MOST_RULES):
        rules.add({"fault": "rain"})
        rules.strike(lambda _: True)
    assert len(rules.look()["faults"]) < MOST_RULES
    assert rules.look()["done"] == {"rain": 6 * MOST_RULES}


def test_no_control_without_a_token() -> None:
    """An empty token would let anybody in."""
    with pytest.raises(ValueError, match="needs a token"):
        control_routes(rain(), "")
