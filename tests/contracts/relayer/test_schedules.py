"""Any schedule of faults ends with each member's last choice on the chain, each batch once, and in order."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.builders.anvil import Anvil, needs_anvil
from tests.builders.relayer_schedules import ACTIONS, OFTEN, SLOW, World

pytestmark = needs_anvil

STRATEGIES = {name: st.tuples(st.just(name), *map(st.sampled_from, of)) for name, of in ACTIONS.items()}
# What is slow is in none of these; two schedules below have it.
ANY = st.one_of([STRATEGIES[name] for name in (*ACTIONS, *OFTEN, *OFTEN) if name not in SLOW])


@pytest.fixture(scope="module")
def node_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Anvil]:
    made = Anvil(tmp_path_factory.mktemp("anvil") / "state.json")
    yield made
    made.stop()


@settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(actions=st.lists(ANY, min_size=6, max_size=24), confirmations=st.sampled_from([1, 3]))
@example(
    actions=[
        ("vote", 1, 1), ("tick", 3), ("foreign",), ("vote", 1, 2), ("tick", 3), ("reorg", 4), ("vote", 2, 1)
    ],
    confirmations=1,
)  # fmt: skip
@example(
    actions=[
        ("vote", 1, 1), ("tick", 3), ("hold",), ("vote", 1, 2), ("fault", "cut after"), ("tick", 1), ("restart",),
        ("dear",), ("mine", 1), ("tick", 2), ("drop",), ("mine", 1), ("reorg", 2), ("tick", 2),
    ],
    confirmations=3,
)  # fmt: skip
@example(
    actions=[
        ("vote", 1, 1), ("tick", 1), ("link", 1), ("vote", 2, 1), ("vote", 1, 2), ("tick", 3), ("reorg", 3),
        ("fault", "cut after"), ("link", 2), ("tick", 2), ("restart",), ("vote", 2, 2), ("unlink", 1), ("tick", 2),
        ("reorg", 4), ("drop",), ("link", 1), ("vote", 1, 1),
    ],
    confirmations=1,
)  # fmt: skip
def test_any_schedule_of_faults_ends_well(
    node_process: Anvil, migrated: Path, actions: list[tuple[Any, ...]], confirmations: int
) -> None:
    """Whatever happens and in whatever order, on the chain stands what members chose last."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(migrated, f"{folder}/flock.db")
        asyncio.run(World(node_process, Path(folder), confirmations).play(actions))


@pytest.mark.parametrize(
    ("actions", "confirmations", "struck"),
    [
        (
            [
                ("vote", 1, 1), ("tick", 3), ("vote", 2, 1), ("fault", "cut after"), ("kill", "after persist"),
                ("vote", 1, 2), ("hold",), ("tick", 1), ("reboot",), ("go",), ("vote", 2, 2), ("tick", 2), ("reorg", 1),
                ("vote", 3, 1), ("kill", "after send"), ("tick", 2),
            ],
            1,
            {"SIGKILL after persist", "SIGKILL after send", "node restarted"},
        ),
        (
            [
                ("vote", 1, 1), ("tick", 3), ("link", 1), ("vote", 2, 2), ("kill", "after receipt"), ("foreign",),
                ("vote", 1, 2), ("vote", 3, 1), ("kill", "before final"), ("reorg", 2), ("vote", 2, 0),
                ("kill", "after sign"), ("reboot",), ("fault", "502 after"), ("tick", 2),
            ],
            3,
            {"SIGKILL after receipt", "SIGKILL before final", "SIGKILL after sign", "node restarted"},
        ),
    ],
    ids=["around a sending", "around a receipt"],
)  # fmt: skip
def test_kills_and_restarts_of_the_node_among_other_faults_end_well(
    node_process: Anvil, migrated: Path, tmp_path: Path,
    actions: list[tuple[Any, ...]], confirmations: int, struck: set[str],
) -> None:  # fmt: skip
    """SIGKILL at steps of a batch and a node that forgets what waited, between all that may happen otherwise."""
    shutil.copy(migrated, tmp_path / "flock.db")
    world = World(node_process, tmp_path, confirmations)
    asyncio.run(world.play(actions))
    assert {which for which in struck if world.survived[which]} == struck
