"""The operator's files name what there is, and docs/operations.md tells them: alert rules, dashboard, systemd units."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from bot.__main__ import build_parser
from bot.settings import Settings

ROOT = Path(__file__).parents[1]
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
METRICS: dict[str, list[str]] = tomllib.loads((ROOT / "tests/acceptance/durable_names.toml").read_text())["metrics"]
ALERTS: list[dict[str, Any]] = yaml.safe_load((ROOT / "docs/monitoring/alerts.yml").read_text())["groups"][0]["rules"]
DASHBOARD: dict[str, Any] = json.loads((ROOT / "docs/monitoring/grafana-dashboard.json").read_text())
UNITS = sorted((ROOT / "docs" / "systemd").glob("*.service"))

OF_GPUS = {"flock_gpu_memory_used_bytes", "flock_gpu_memory_total_bytes"}  # served where there is a GPU
HISTOGRAMS = {"flock_render_seconds", "flock_vote_ack_seconds"}
OF_PROMETHEUS = {"up", "job", "instance"}
FUNCTIONS = {"max", "min", "sum", "rate", "increase", "histogram_quantile", "by"}
NUMBERS = r"\b\d+(\.\d+)?(e\d+)?\b"


def served() -> set[str]:
    """Return the names of all metrics, histograms with the endings of their parts."""
    names = {*METRICS["served"], *OF_GPUS}
    parts = {f"{name}_{part}" for name in HISTOGRAMS for part in ("bucket", "count", "sum")}
    return (names - HISTOGRAMS) | parts


def documented() -> dict[str, set[str]]:
    """Return the labels of each metric that the table of docs/operations.md names."""
    rows = re.findall(r"^\| `((?:flock|process)_[a-z_]+)(?:\{([a-z,]+)\})?` \|", OPERATIONS, re.MULTILINE)
    assert len(rows) == len({name for name, _ in rows})
    return {name: {label for label in labels.split(",") if label} for name, labels in rows}


def unknown_in(expression: str) -> set[str]:
    """Return the words of an expression that are no metric, no label of its metric and no function."""
    labels = {label for name, of_it in documented().items() if name in metrics_of(expression) for label in of_it}
    selectors = re.findall(r'(\w+)\s*(?:=~|!~|!=|=)\s*"', expression)
    bare = re.sub(r'"[^"]*"|\[\d+[smhd]\]', "", expression)
    words = set(re.findall(r"[a-z_]\w*", re.sub(NUMBERS, "", bare)))
    known = served() | FUNCTIONS | OF_PROMETHEUS | labels | ({"le"} if "_bucket" in expression else set())
    return {word for word in {*words, *selectors} if word not in known}


def metrics_of(expression: str) -> set[str]:
    """Return the metrics of an expression, histograms by their own name."""
    names = re.findall(r"\b(?:flock|process)_[a-z_]+", expression)
    return {re.sub("_(bucket|count|sum)$", "", name) if name not in METRICS["served"] else name for name in names}


def label_values(expression: str) -> set[str]:
    """Return `metric.label=value` for each plain value that an expression selects."""
    found = re.findall(r'(flock_\w+)\{(\w+)=(~?)"([^"]+)"', expression)
    return {f"{name}.{label}={value}" for name, label, _, values in found for value in values.split("|")}


def test_the_table_of_metrics_is_what_is_served() -> None:
    """No metric without a sentence, and no sentence without its metric."""
    assert set(documented()) == {*METRICS["served"], *OF_GPUS}


def test_every_alert_names_metrics_that_there_are() -> None:
    """With labels that they have; each alert says how bad it is, what happened, and what to do."""
    assert len({alert["alert"] for alert in ALERTS}) == len(ALERTS) > 10
    for alert in ALERTS:
        assert unknown_in(alert["expr"]) == set(), alert["alert"]
        assert metrics_of(alert["expr"]) or "up{" in alert["expr"]
        assert alert["labels"]["severity"] in {"critical", "warning"}
        assert alert["annotations"]["summary"].endswith(".")
        assert alert["annotations"]["description"].endswith(".")
        assert re.fullmatch(r"\d+m", alert["for"])


def test_every_value_of_a_label_is_one_that_is_served() -> None:
    """A misspelt role would be an alert that never fires."""
    expressions = [alert["expr"] for alert in ALERTS] + [expression for _, expression in panels()]
    for chosen in set().union(*map(label_values, expressions)):
        if ".kind=" not in chosen:  # kinds are served as they occur
            assert chosen in METRICS["labels"]


@pytest.mark.parametrize(
    "wrong",
    [
        "flock_relayer_troubles == 1",
        'max(flock_processes{rule="bot"}) == 0',
        "flock_render_seconds > 3",
        "maximum(flock_votes)",
        "max by (colour) (flock_votes)",
    ],
)
def test_a_mistake_in_an_expression_is_noticed(wrong: str) -> None:
    """Each of the checks above can fail."""
    assert unknown_in(wrong)


def test_the_alerts_of_the_document_are_those_of_the_file() -> None:
    """The same names and expressions, with what to do."""
    rows = re.findall(r"^\| `(Flock\w+)` \| `(.+?)`(?: for (\d+m))? \| (.+) \|$", OPERATIONS, re.MULTILINE)
    told = {name: (expression.replace("\\|", "|"), wait or "0m", words) for name, expression, wait, words in rows}
    assert told == {
        alert["alert"]: (
            alert["expr"],
            alert["for"],
            f"{alert['annotations']['summary']} {alert['annotations']['description']}",
        )
        for alert in ALERTS
    }


def panels() -> list[tuple[str, str]]:
    """Return the title and the expression of each line of the dashboard."""
    return [(panel["title"], target["expr"]) for panel in DASHBOARD["panels"] for target in panel["targets"]]


def test_every_panel_shows_metrics_that_there_are() -> None:
    """Every metric has a place on the dashboard, but for what only says since when a process runs."""
    for title, expression in panels():
        assert unknown_in(expression) == set(), title
    shown = set().union(*(metrics_of(expression) for _, expression in panels()))
    assert set(documented()) - shown == {"process_start_time_seconds", "process_virtual_memory_bytes"}


def test_the_dashboard_has_no_panel_upon_another() -> None:
    """Grafana would move them, and a second number of a panel would hide the first."""
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    cells: set[tuple[int, int]] = set()
    for place in (panel["gridPos"] for panel in DASHBOARD["panels"]):
        columns = range(place["x"], place["x"] + place["w"])
        covered = {(x, y) for x in columns for y in range(place["y"], place["y"] + place["h"])}
        assert place["x"] + place["w"] <= 24
        assert not covered & cells
        cells |= covered
    assert {panel["datasource"]["uid"] for panel in DASHBOARD["panels"]} == {"${datasource}"}


# --------------------------------------------------------------------------- systemd


def values_of(unit: Path, name: str) -> list[str]:
    return re.findall(rf"^{name}=(.*)$", unit.read_text(), re.MULTILINE)


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: str(unit.name))
def test_a_unit_starts_a_command_that_we_have(unit: Path, tmp_path: Path) -> None:
    """systemd reads it without a complaint, where it is installed; a line that it does not know is one."""
    [command] = values_of(unit, "ExecStart")
    program, *arguments = command.split()
    assert program == "/opt/flock/.venv/bin/flock"
    assert callable(build_parser().parse_args(arguments).command)
    assert re.findall(r"^\[(\w+)\]$", unit.read_text(), re.MULTILINE) == ["Unit", "Service", "Install"]
    assert f"docs/systemd/{unit.name}" in OPERATIONS or f"systemd/{unit.name}" in OPERATIONS
    if shutil.which("systemd-analyze"):
        text = unit.read_text().replace(program, "/bin/true")
        assert complaints(tmp_path / unit.name, text) == ""
        assert "Unknown" in complaints(tmp_path / unit.name, text.replace("Restart=", "Restrat="))


def complaints(path: Path, text: str) -> str:
    """Return what systemd says of a unit."""
    path.write_text(text)
    run = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(path)], capture_output=True, text=True, timeout=60, check=False
    )
    return run.stdout + run.stderr


def test_a_unit_gives_secrets_that_are_settings_and_the_worker_no_key() -> None:
    """Each credential is a secret setting; the worker has the database's address alone."""
    names = {unit.stem: {each.split(":")[0] for each in values_of(unit, "LoadCredential")} for unit in UNITS}
    assert names["flock-worker"] == {"FLOCK_DATABASE_URL"}
    assert names["flock-bot"] >= {"FLOCK_DISCORD_TOKEN", "FLOCK_VOTER_PEPPER"}
    assert set().union(*names.values()) <= {f"FLOCK_{name.upper()}" for name in Settings.model_fields}


def test_a_worker_is_given_the_time_that_it_drains() -> None:
    """It would be killed in the middle of a video otherwise."""
    [unit] = [each for each in UNITS if each.stem == "flock-worker"]
    assert int(values_of(unit, "TimeoutStopSec")[0]) > Settings.model_fields["drain_s"].default + 10
