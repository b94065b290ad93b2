"""Nothing that others can write is ever unpickled: rows that hold code are refused, and cost nobody else anything."""

from __future__ import annotations

import asyncio
import json
import pickle
import sys
from pathlib import Path
from typing import Any

import pytest
from dbos import _core, _serialization, _sys_db

from generation.queue import portable_json
from generation.queue.portable_json import NotPortableError, UnsafeEngineError, read_portable_json_only
from tests.generation.queue import forged_rows
from tests.generation.queue.forged_rows import COLUMNS, SERIALIZATIONS, TOLD


async def run_forged(url: str, role: str, marks: Path, *options: str) -> dict[str, str]:
    """A process that reads forged rows; how its workflows ended."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", forged_rows.__name__, url, role, str(marks), *options),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, errors = await asyncio.wait_for(process.communicate(), 120)
    assert process.returncode == 0, errors.decode()
    ends: dict[str, str] = json.loads(said)
    return ends


@pytest.mark.parametrize("role", ["bot", "worker"])
async def test_code_in_a_row_never_runs(database_url: str, tmp_path: Path, role: str) -> None:
    """Whichever column of the engine's tables holds it, and by whatever name; honest work beside it goes on."""
    ends = await run_forged(database_url, role, tmp_path / "marks")
    assert not (tmp_path / "marks").exists()
    forged = {f"{column} {name}" for column in COLUMNS if column not in TOLD for name in SERIALIZATIONS}
    slept = {f"notifications.message {name}" for name in SERIALIZATIONS}  # a forged wake-up call wakes nobody
    assert {workflow for workflow, end in ends.items() if end == "ERROR"} == forged - slept
    honest = {"honest nothing", "honest step", "honest sleep"}
    assert {workflow for workflow, end in ends.items() if end == "SUCCESS"} == slept | honest


async def test_each_of_those_rows_is_read(sqlite_url: str, tmp_path: Path) -> None:
    """Without the guard every one of these columns runs its code: the test above is about rows that are really read."""
    await run_forged(sqlite_url, "bot", tmp_path / "marks", "--unguarded")
    assert set((tmp_path / "marks").read_text().split()) == set(COLUMNS)


def test_portable_json_is_read() -> None:
    """What FLock itself writes is read as before: arguments, results, errors; a row that names no form is ours."""
    read_portable_json_only()
    ours = _serialization.DBOSPortableJSON
    for name in ("portable_json", None):
        assert _core.deserialize_value('{"sum": 3}', name, ours) == {"sum": 3}
        assert _core.deserialize_args('{"positionalArgs": [1]}', "portable_json", ours)["args"] == (1,)
        assert str(_core.deserialize_exception('{"name": "E", "message": "m"}', name, ours)) == "m"
        assert _sys_db.deserialize_value(None, name, ours) is None


@pytest.mark.parametrize("text", ["", "gASV", "[" * 100_000, '{"a": 1', b"\x80\x04.".decode("latin-1")])
@pytest.mark.parametrize("name", ["portable_json", "py_pickle", None, "PORTABLE_JSON"])
def test_what_is_no_json_is_refused_in_one_way(text: str, name: str | None) -> None:
    """Whoever reads a row has one error to expect."""
    read_portable_json_only()
    for decode in (_core.deserialize_value, _core.deserialize_args, _core.deserialize_exception):
        with pytest.raises(NotPortableError, match="not portable JSON"):
            decode(text, name, _serialization.DBOSPortableJSON)


def unpickling(text: str, _name: Any, _serializer: Any) -> Any:
    """What a changed library might do."""
    import base64

    return pickle.loads(base64.b64decode(text))  # noqa: S301  # what the guard has to notice


@pytest.mark.parametrize("module", [_core, _sys_db, _serialization])
def test_a_library_that_unpickles_after_all_is_not_started(module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The guard tries each decoder, and does not take its own word for it."""
    read_portable_json_only()
    monkeypatch.setattr(module, "deserialize_value", unpickling)
    monkeypatch.setattr(portable_json, "_canaries", [])
    with pytest.raises(UnsafeEngineError, match=r"reads rows that are not JSON.*requirements\.lock"):
        read_portable_json_only()
    assert portable_json._canaries == [True]


@pytest.mark.parametrize("unsafe", [pickle, pickle.loads, pickle.Unpickler])
def test_a_library_that_has_a_decoder_of_code_is_not_started(unsafe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever in the engine it stands, and by whatever name."""
    read_portable_json_only()
    monkeypatch.setattr(_core, "quick_reader", unsafe, raising=False)
    with pytest.raises(UnsafeEngineError, match=r"dbos\._core\.quick_reader"):
        read_portable_json_only()


def test_a_library_without_the_decoders_that_are_guarded_is_not_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the library was rebuilt, nobody knows what reads its rows."""
    read_portable_json_only()
    monkeypatch.setattr(_serialization, "pickle", pickle, raising=False)  # as freshly imported
    monkeypatch.delattr(_serialization, "deserialize_args")
    with pytest.raises(UnsafeEngineError, match="no longer has deserialize_args"):
        read_portable_json_only()
