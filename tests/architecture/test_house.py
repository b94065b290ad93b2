"""The rules of the house, as `python -m tests.architecture` measures them."""

from __future__ import annotations

import json
import math
import subprocess
from pathlib import Path

import pytest

from .__main__ import ROOT, main, measure_all
from .documents import BEGIN, END, write_map
from .measures import FULL_FOLDER, MIRROR, House, Measure

# The most that each measure may come to.
LIMITS = {
    "folders": FULL_FOLDER,
    "long-files": 0,
    "circles": 0,
    "any": 5,
    "clauses": 0,
    "mirror": 0,
    "map": 0,
    "wide-lines": 0,
    "decisions": 0,
    "changelog": 0,
}

# A house in which every rule holds, and for each rule the files that break it, and no other rule.
GOOD = {
    "pyproject.toml": '[tool.importlinter]\nroot_packages = ["shop"]\n',
    "shop/__init__.py": '"""The shop."""\n',
    "shop/till.py": '"""The till."""\n\nfrom typing import Any\n\nfrom shop import goods\n',
    "shop/goods.py": '"""Whatsoever is sold."""\n' + "\n" * 399,
    "tests/shop/test_till.py": "",
    "tests/shop/test_goods.py": "",
    "docs/architecture.md": f"# The house\n\n{BEGIN}\n{END}\n\nThe rest.\n",
    "docs/decisions/0001-a-shop.md": "",
    "docs/decisions/0002-a-till.md": "",
    "CHANGELOG.md": "# Changelog\n\n## Unreleased\n\n## 0.1.0 - 2026-01-31\n\n## Unreleased\n",
}
BROKEN = {
    "folders": {f"{folder}{n}.py": "" for n in range(FULL_FOLDER) for folder in ("shop/a", "tests/shop/test_a")},
    "long-files": {"shop/goods.py": "\n" * 401},
    "circles": {"shop/goods.py": "def sell() -> None:\n    from . import till\n"},
    "any": {"shop/goods.py": "goods: Any\n" * 3 + "\n" * 397},
    "clauses": {"shop/goods.py": '"""The goods."""\n\n\ndef sell() -> None:\n    """What is sold."""\n'},
    "mirror": {"shop/stock.py": ""},
    "map": {"docs/architecture.md": f"{BEGIN}\n{END}\n"},
    "wide-lines": {"shop/goods.py": f'"""{"Wide" * 30}."""\n'},
    "decisions": {"docs/decisions/0004-a-cat.md": ""},
    "changelog": {"CHANGELOG.md": "# Changelog\n\n## Unreleased\n\n## 0.1.0\n"},
}


def build(root: Path, *layers: dict[str, str]) -> Path:
    """Write the files of a house; those of a later layer replace those of an earlier one."""
    for path, text in {path: text for layer in layers for path, text in layer.items()}.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")
    return root


def complaint(rule: str, measured: Measure) -> str:
    """Return what is wrong with a measure, or nothing."""
    today, most = math.ceil(measured.number), LIMITS[rule]
    if today <= most:
        return ""
    places = "\n".join(measured.places)
    return f"{measured.title}: {today}, of {most} allowed. The way to list them: --list {rule}\n{places}"


def broken_rules(root: Path) -> list[str]:
    measures = measure_all(root)
    return [rule for rule in LIMITS if complaint(rule, measures[rule])]


@pytest.fixture(scope="module")
def measures() -> dict[str, Measure]:
    """Every measure of the house."""
    return measure_all(ROOT)


# --------------------------------------------------------------------------- the rules


@pytest.mark.parametrize("rule", LIMITS)
def test_the_rule_holds(rule: str, measures: dict[str, Measure]) -> None:
    """The house keeps to its rule."""
    assert complaint(rule, measures[rule]) == ""


def test_a_good_house_keeps_every_rule(tmp_path: Path) -> None:
    """No rule complains about a house that is in order."""
    write_map(House(build(tmp_path, GOOD)))
    assert broken_rules(tmp_path) == []


@pytest.mark.parametrize("rule", LIMITS)
def test_a_broken_rule_is_noticed(rule: str, tmp_path: Path) -> None:
    """Each rule can fail, and no other fails with it."""
    write_map(House(build(tmp_path, GOOD, BROKEN[rule])))
    build(tmp_path, BROKEN[rule])
    assert broken_rules(tmp_path) == [rule]


# --------------------------------------------------------------------------- the measures


@pytest.mark.parametrize(
    ("goods", "circle", "at_run_time"),
    [
        ("from shop import till\n", 2, 2),
        ("import shop.till\n", 2, 2),
        ("from . import till\n", 2, 2),
        ("from .till import money\n", 2, 2),
        ("try:\n    from shop.till import money\nexcept ImportError:\n    pass\n", 2, 2),
        ("class Goods:\n    from shop.till import money\n", 2, 2),
        ("def sell() -> None:\n    from shop.till import money\n", 2, 0),
        ("if TYPE_CHECKING:\n    from shop.till import Till\n", 2, 0),
        ("if TYPE_CHECKING:\n    pass\nelse:\n    from shop.till import Till\n", 2, 2),
        ("import shop\nfrom shop import stock\nfrom shop.goods import Goods\n", 0, 0),
    ],
)
def test_circles_are_told_from_those_at_run_time(goods: str, circle: int, at_run_time: int, tmp_path: Path) -> None:
    """Imports for types and inside functions make a circle, but none at run time."""
    measures = measure_all(build(tmp_path, GOOD, {"shop/goods.py": goods}))
    assert (measures["circles"].number, measures["run-time-circles"].number) == (circle, at_run_time)


def test_lone_words_are_no_names(tmp_path: Path) -> None:
    """A participle or pronoun by itself is counted wherever it is assigned, and not where it is read or is a part."""
    code = "found = 1\nasked_at = found\n\n\ndef told(one, two) -> None:\n    one._held, two.hold = found, 1\n"
    places = measure_all(build(tmp_path, GOOD, {"shop/goods.py": code}))["names"].places
    assert sorted(places) == [f"shop/goods.py:{place}" for place in ("1: found", "5: one", "5: told", "6: _held")]


def test_clauses_are_counted_for_each_kind_of_docstring(tmp_path: Path) -> None:
    """Modules, classes and functions have their own numbers; a word that only begins like one is none."""
    code = '"""How."""\n\n\nclass A:\n    """Who sells."""\n\n    def b(self):\n        """Whole goods."""\n'
    measures = measure_all(build(tmp_path, GOOD, {"shop/goods.py": code}))
    assert [measures[f"clauses{kind}"].number for kind in ("", "-modules", "-classes", "-functions")] == [2, 1, 1, 0]
    assert measures["clauses"].places == ["shop/goods.py:1: How.", "shop/goods.py:4: Who sells."]


def test_other_measures(tmp_path: Path) -> None:
    """Long functions, public docstrings and bare states are counted where they are, and nowhere else."""
    code = (
        "def a():\n"
        + "    a\n" * 50
        + "def _b():\n"
        + "    a\n" * 49
        + "c.status == 'open'\nc.status == OPEN\nc == 'open'\n"
    )
    measures = measure_all(build(tmp_path, GOOD, {"shop/goods.py": code}))
    assert measures["long-functions"].places == ["shop/goods.py:1: a, 51 lines"]
    assert measures["docstrings"].places == ["shop/goods.py:1: a"]
    assert measures["states"].places == ["shop/goods.py:102: c.status == 'open'"]


def test_a_reason_stands_for_a_mirrored_test(tmp_path: Path) -> None:
    """A file with a reason needs no test; an empty reason is none, and one that nothing needs is reported."""
    reasons = '"shop/st*.py" = "Tried by the shop itself."\n"shop/cat.py" = " "\n"shop/till.py" = "It has its test."\n'
    files = {"shop/stock.py": "", "shop/cat.py": "", MIRROR: reasons}
    places = measure_all(build(tmp_path, GOOD, files))["mirror"].places
    assert [place.partition(":")[0] for place in places] == ["shop/cat.py", MIRROR]
    assert places[1].endswith("nothing needs 'shop/till.py'")


# --------------------------------------------------------------------------- the map and the command


def test_the_map_names_every_folder_and_file(tmp_path: Path) -> None:
    """A heading for each folder, a line for each file, and the rest of the page as it was."""
    files = {"shop/shelf/top.py": '"""The top.\n\nMore of it."""\n', "shop/prices.json": "{}", "shop/static/a.js": ""}
    main(["map"], build(tmp_path, GOOD, files))
    assert (tmp_path / "docs/architecture.md").read_text(encoding="utf-8") == (
        f"# The house\n\n{BEGIN}\n\n### `shop/`\n\nThe shop.\n\n"
        "- `goods.py` — Whatsoever is sold.\n- `till.py` — The till.\n"
        "- beside them `prices.json`, `static/`\n\n### `shop/shelf/`\n\n"
        f"- `top.py` — The top.\n\n{END}\n\nThe rest.\n"
    )


def test_a_long_line_of_the_map_goes_on_below(tmp_path: Path) -> None:
    """It breaks between words, within the page's width, and what goes on an item is indented."""
    sentence = "A shelf with " + "well-known goods and " * 10 + "more."
    main(
        ["map"],
        build(
            tmp_path,
            GOOD,
            {"shop/shelf/__init__.py": f'"""{sentence}"""\n', "shop/shelf/top.py": f'"""{sentence}"""\n'},
        ),
    )
    lines = (tmp_path / "docs/architecture.md").read_text(encoding="utf-8").splitlines()
    assert max(map(len, lines)) <= 100
    begin = lines.index("### `shop/shelf/`")
    package, item = lines[begin + 2 : begin + 5], lines[begin + 6 : begin + 9]
    assert " ".join(package) == sentence
    assert " ".join(line.strip() for line in item) == f"- `top.py` — {sentence}"
    assert [line[:2] for line in item] == ["- ", "  ", "  "]


def test_a_page_without_room_for_the_map_is_left_alone(tmp_path: Path) -> None:
    """Nothing is written, and the sentence says which two lines are missing."""
    build(tmp_path, GOOD, {"docs/architecture.md": "# The house\n"})
    with pytest.raises(SystemExit, match="Put these two lines where the map shall stand"):
        main(["map"], tmp_path)
    assert (tmp_path / "docs/architecture.md").read_text(encoding="utf-8") == "# The house\n"


def test_the_command_prints_and_looks_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A table, JSON or the places of one measure, of the files on disk or of a commit."""

    def git(*words: str) -> None:
        who = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *who, *words], cwd=tmp_path, check=True, capture_output=True)

    def printed(*words: str) -> str:
        main(list(words), tmp_path)
        return capsys.readouterr().out

    build(tmp_path, GOOD)
    git("init")
    git("add", ".")
    git("commit", "-m", "Open the shop")
    build(tmp_path, BROKEN["clauses"])
    assert json.loads(printed("--json"))["clauses"]["number"] == 1
    assert json.loads(printed("--json", "--at", "HEAD"))["clauses"]["number"] == 0
    assert printed("--list", "clauses") == "shop/goods.py:4: What is sold.\n"
    assert "docstrings that begin with a clause" in printed()
    with pytest.raises(SystemExit, match="git cannot show nothing"):
        printed("--at", "nothing")
