"""DBOS's private parts are as they were tried; where they are not, the test says what to check."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest
from dbos import _core, _dbos, _error, _queue, _serialization, _sys_db

from generation.queue import dbos_private
from generation.queue.dbos_private import AWAITED_WORKFLOW_ENDED, DECODING_MODULES, TRIED_VERSION, untried_version

ROOT = Path(__file__).parents[3]
PACKAGES = ("bot", "contracts", "generation", "migrations")
CHECK = "Read in the sources of the installed dbos what stands for it, and mend generation/queue/dbos_private.py."


def test_the_installed_dbos_is_one_that_was_tried() -> None:
    """Another one may work as well: the sentence says how that is found out."""
    assert untried_version() is None, untried_version()


@pytest.mark.parametrize("installed", ["3.5.0", "4.0", "3.40.1"])
def test_another_dbos_is_noticed(installed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin: a later minor version says what to check; a later patch of the tried one says nothing."""
    monkeypatch.setattr(dbos_private, "version", lambda _name: installed)
    sentence = untried_version()
    assert sentence is not None
    assert sentence.startswith(f"dbos {installed} is installed, and {TRIED_VERSION} was tried with FLock. Check ")
    monkeypatch.setattr(dbos_private, "version", lambda _name: f"{TRIED_VERSION}.99")
    assert untried_version() is None


def test_the_count_of_running_workflows_still_limits_what_is_taken() -> None:
    """Of the queue's name, in the loop that takes workflows from a queue, as an attribute of one object."""
    count = getattr(_core.ActiveWorkflowById, "count_for_queue", None)
    assert callable(count), f"dbos no longer has ActiveWorkflowById.count_for_queue. {CHECK}"
    assert list(inspect.signature(count).parameters) == ["self", "queue_name"], f"count_for_queue has changed. {CHECK}"
    assert "_active_workflows_set.count_for_queue(queue.name)" in inspect.getsource(_queue), CHECK
    assert "self._active_workflows_set: ActiveWorkflowById" in inspect.getsource(_dbos), CHECK
    assert not hasattr(_core.ActiveWorkflowById, "__slots__"), f"A method of one object cannot be replaced. {CHECK}"
    assert callable(getattr(_dbos, "_get_dbos_instance", None)), f"dbos no longer has _get_dbos_instance. {CHECK}"


def test_a_waiter_still_gets_these_errors() -> None:
    """They are raised where a result is awaited, and are no errors of another kind."""
    source = inspect.getsource(_sys_db)
    for kind in AWAITED_WORKFLOW_ENDED:
        assert getattr(_error, kind.__name__, None) is kind, f"dbos no longer has {kind.__name__}. {CHECK}"
        assert f"raise {kind.__name__}(" in source, f"dbos no longer raises {kind.__name__} to who waits. {CHECK}"


def test_rows_are_still_decoded_by_these_modules() -> None:
    """The guard against rows that hold code tries each decoder of each; see test_portable_json.py."""
    assert (_serialization, _core, _sys_db) == DECODING_MODULES
    for module in (_core, _sys_db):
        assert callable(getattr(module, "deserialize_value", None)), f"{module.__name__} decodes otherwise. {CHECK}"


def test_only_one_file_imports_private_modules_of_dbos() -> None:
    """So that whoever raises the version has one place to read."""
    importers = set()
    for path in (path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "dbos":
                words = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
            elif isinstance(node, ast.Import):
                words = [
                    word for alias in node.names if alias.name.startswith("dbos.") for word in alias.name.split(".")
                ]
            else:
                continue
            if any(word.startswith("_") for word in words):
                importers.add(path.relative_to(ROOT).as_posix())
    assert importers == {"generation/queue/dbos_private.py"}
