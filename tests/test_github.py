"""The files that GitHub reads: valid, as narrow as they can be, and naming only what there is."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.test_documents import ROOT, commands_in, dead_links, flock_commands, missing_paths

GITHUB = ROOT / ".github"
WORKFLOW = GITHUB / "workflows" / "ci.yml"
FORMS = sorted(path for path in (GITHUB / "ISSUE_TEMPLATE").glob("*.yml") if path.name != "config.yml")
TEXTS = [*FORMS, GITHUB / "ISSUE_TEMPLATE" / "config.yml", GITHUB / "pull_request_template.md"]
KINDS = {"markdown", "textarea", "input", "dropdown", "checkboxes"}


def load(path: Path) -> dict[str, Any]:
    """Return a file of YAML as GitHub reads it; `on` is a word there."""
    loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {"on" if key is True else key: value for key, value in loaded.items()}


def loose_ends(workflow: dict[str, Any]) -> list[str]:
    """Return what a workflow may do that it need not, and what could keep it running or change under our feet."""
    ends = [] if workflow.get("permissions") == {"contents": "read"} else ["it may write"]
    ends += [] if workflow.get("concurrency", {}).get("cancel-in-progress") is True else ["outdated runs go on"]
    ends += ["it gives strangers our secrets"] if "pull_request_target" in workflow["on"] else []
    for name, job in workflow["jobs"].items():
        ends += [] if 0 < job.get("timeout-minutes", 0) <= 120 else [f"{name} has no end"]
        ends += [f"{name} may write"] if "permissions" in job else []
        ends += [f"{name} runs on a system that changes"] if "latest" in job["runs-on"] else []
        for step in job["steps"]:
            action = step.get("uses", "")
            ends += [f"{action} can change"] if action and not re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", action) else []
            kept = (
                action.startswith("actions/checkout@") and step.get("with", {}).get("persist-credentials") is not False
            )
            ends += ["the token stays on disk"] if kept else []
    return ends


def is_valid(path: Path, kind: str = "workflows") -> bool:
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.github-{kind}", str(path)]
    return subprocess.run(check, capture_output=True, timeout=120, check=False).returncode == 0


def test_the_workflow_runs_what_every_change_must_pass() -> None:
    """The script that runs on any machine, with the oldest Python that we support."""
    workflow = load(WORKFLOW)
    assert is_valid(WORKFLOW)
    assert loose_ends(workflow) == []
    assert {"push", "pull_request"} == set(workflow["on"])
    [job] = workflow["jobs"].values()
    [script] = [step["run"] for step in job["steps"] if "run" in step]
    assert script == "bash .ci/run"
    assert (ROOT / ".ci" / "run").is_file()
    [python] = [step["with"]["python-version"] for step in job["steps"] if "setup-python" in step.get("uses", "")]
    assert f'requires-python = ">={python}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_each_pinned_action_names_its_version() -> None:
    """A hash alone says nothing to who reads it: the full version stands beside it."""
    lines = re.findall(r"uses: (.+)$", WORKFLOW.read_text(encoding="utf-8"), re.MULTILINE)
    assert lines
    assert [line for line in lines if not re.search(r"@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line)] == []


@pytest.mark.parametrize(
    ("old", "new", "end"),
    [
        ("contents: read", "contents: write", "it may write"),
        ("cancel-in-progress: true", "cancel-in-progress: false", "outdated runs go on"),
        ("  pull_request:", "  pull_request_target:", "it gives strangers our secrets"),
        ("    timeout-minutes: 90\n", "", "test has no end"),
        ("ubuntu-24.04", "ubuntu-latest", "test runs on a system that changes"),
        ("@08c6903cd8c0fde910a37f88322edcfb5dd907a8", "@v5", "actions/checkout@v5 can change"),
        ("persist-credentials: false", "persist-credentials: true", "the token stays on disk"),
    ],
)
def test_a_loose_end_is_noticed(old: str, new: str, end: str) -> None:
    """Each of the rules above can be broken."""
    text = WORKFLOW.read_text(encoding="utf-8")
    assert old in text
    loaded = yaml.safe_load(text.replace(old, new))
    assert loose_ends({"on" if key is True else key: value for key, value in loaded.items()}) == [end]


@pytest.mark.parametrize("wrong", ["runs-on: 3", "steps: none"])
def test_a_workflow_that_github_would_refuse_is_noticed(wrong: str, tmp_path: Path) -> None:
    """A value of another kind does not pass."""
    text = WORKFLOW.read_text(encoding="utf-8").replace("runs-on: ubuntu-24.04", wrong)
    (tmp_path / "ci.yml").write_text(text)
    assert not is_valid(tmp_path / "ci.yml")


def form_errors(form: dict[str, Any]) -> list[str]:
    """Return the reasons for which GitHub would not show a form."""
    errors = [f"no {key}" for key in ("name", "description", "body") if not form.get(key)]
    fields = form.get("body") or []
    errors += [f"a {field.get('type')}" for field in fields if field.get("type") not in KINDS]
    ids = [field.get("id") for field in fields if field.get("type") != "markdown"]
    errors += ["ids that are missing or used twice"] if None in ids or len(ids) != len(set(ids)) else []
    for field in fields:
        attributes = field.get("attributes", {})
        needed = {"markdown": ["value"], "dropdown": ["label", "options"], "checkboxes": ["label", "options"]}
        keys = needed.get(field.get("type"), ["label"])
        errors += [f"{field.get('id')} without {key}" for key in keys if not attributes.get(key)]
    errors += [] if any(field.get("type") not in {"markdown", None} for field in fields) else ["nothing to fill in"]
    return errors


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_github_can_show_each_form(path: Path) -> None:
    """A name, a sentence, and fields with labels of their own."""
    assert is_valid(path, "issue-forms")
    assert form_errors(load(path)) == []


def test_there_is_a_form_for_a_bug_and_one_for_an_idea() -> None:
    """And no way around them but the one for weaknesses, which is private."""
    assert [path.stem for path in FORMS] == ["bug", "idea"]
    assert is_valid(GITHUB / "ISSUE_TEMPLATE" / "config.yml", "issue-config")
    config = load(GITHUB / "ISSUE_TEMPLATE" / "config.yml")
    assert config["blank_issues_enabled"] is False
    [link] = config["contact_links"]
    assert link["url"].startswith("https://docs.github.com/")
    assert "SECURITY.md" in link["about"]
    assert "Report a vulnerability" in (ROOT / "SECURITY.md").read_text(encoding="utf-8")


def test_a_form_that_github_cannot_show_is_noticed() -> None:
    """Each rule can be broken."""
    good = load(FORMS[0])
    text = {"type": "input", "id": "a", "attributes": {"label": "A"}}
    assert form_errors({**good, "name": ""}) == ["no name"]
    assert form_errors({**good, "body": [text, text]}) == ["ids that are missing or used twice"]
    assert form_errors({**good, "body": [{**text, "type": "slider"}]}) == ["a slider"]
    assert form_errors({**good, "body": [{**text, "attributes": {}}]}) == ["a without label"]
    assert form_errors({**good, "body": [{"type": "markdown", "attributes": {"value": "a"}}]}) == ["nothing to fill in"]


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_what_the_templates_name_exists(path: Path) -> None:
    """Files and folders, `flock` commands, targets of the Makefile, links."""
    text = path.read_text(encoding="utf-8")
    assert missing_paths(text) == []
    named = [word for word in re.findall(r"`?\b([A-Z]{3,}\.md)\b", text) if not (ROOT / word).is_file()]
    assert named == []
    assert commands_in(text) - flock_commands() == set()
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(re.findall(r"`make ([a-z]+)", text)) <= set(targets)
    assert dead_links(str(path.relative_to(ROOT)), text) == []
