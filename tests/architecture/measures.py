"""The measures of the source folders, taken from their syntax trees alone: nothing of the product is imported."""

from __future__ import annotations

import ast
import fnmatch
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath

MIRROR = "tests/architecture/mirror.toml"
LONG_FILE, LONG_FUNCTION, FULL_FOLDER = 400, 50, 14
CLAUSES = {"what", "whether", "who", "whom", "whose", "how", "where", "why", "which", "when"}
# A name is a noun or a verb: none of these says what it names. States in tables (signed, closed, posted) are left out.
LONE_WORDS = re.compile(
    "_*(asked|begun|brought|chosen|counted|done|found|given|gone|heard|held|kept|known|left|listed|loaded|lost|made|meant"
    "|met|moved|named|put|said|seen|sent|shown|spent|taken|told|tried|unwanted|used|wanted|written"
    "|it|one|ones|ours|other|others|same|theirs|these|they|this|those|what|which|who|whoever|whose)_*",
    re.IGNORECASE,
)
TYPE_CHECKING = {"TYPE_CHECKING", "typing.TYPE_CHECKING"}
STATE_NAMES = {"kind", "state", "status"}

Function = ast.FunctionDef | ast.AsyncFunctionDef
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
DEFINITIONS = (*FUNCTIONS, ast.ClassDef)


@dataclass(frozen=True)
class Measure:
    """A number, a remark about it, and each place that it counts, as `path:line: remark`."""

    title: str
    number: float
    remark: str = ""
    places: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Module:
    """A source file by its path from the root, its text and its syntax tree."""

    path: str
    text: str
    tree: ast.Module

    @property
    def name(self) -> str:
        """The dotted name; a package's own file has the package's."""
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    @property
    def is_package(self) -> bool:
        return self.path.endswith("/__init__.py")

    @property
    def folder(self) -> str:
        return str(PurePosixPath(self.path).parent)

    @property
    def lines(self) -> int:
        return self.text.count("\n")

    @property
    def first_line(self) -> str:
        return (ast.get_docstring(self.tree) or "").partition("\n")[0]

    def place(self, node: ast.AST, remark: str) -> str:
        return f"{self.path}:{getattr(node, 'lineno', 1)}: {remark}"


class House:
    """The source folders below a root: those that pyproject.toml names to import-linter."""

    def __init__(self, root: Path) -> None:
        self.root = root
        settings = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
        self.folders: list[str] = settings["tool"]["importlinter"]["root_packages"]
        paths = sorted(path for folder in self.folders for path in (root / folder).rglob("*.py"))
        texts = {path.relative_to(root).as_posix(): path.read_text(encoding="utf-8") for path in paths}
        self.modules = [Module(path, text, ast.parse(text)) for path, text in texts.items()]

    @cached_property
    def nodes(self) -> list[tuple[Module, ast.AST]]:
        return [(module, node) for module in self.modules for node in ast.walk(module.tree)]

    @cached_property
    def docstrings(self) -> list[tuple[Module, ast.AST, str]]:
        kinds = (ast.Module, *DEFINITIONS)
        texts = [(module, node, ast.get_docstring(node)) for module, node in self.nodes if isinstance(node, kinds)]
        return [(module, node, text) for module, node, text in texts if text]


def files(house: House) -> Measure:
    """The number of source files, and of their lines."""
    lines = sum(module.lines for module in house.modules)
    return Measure("source files", len(house.modules), f"{lines} lines", [m.path for m in house.modules])


def folders(house: House) -> Measure:
    """The fullest folder. A package's own file is not counted, nor one whose name starts with a number (Alembic's)."""
    sizes = Counter(m.folder for m in house.modules if not m.is_package and not Path(m.path).name[0].isdigit())
    full = [f"{folder}: {size} files" for folder, size in sizes.most_common() if size > FULL_FOLDER]
    fullest, size = max(sizes.items(), key=lambda item: item[1], default=("", 0))
    return Measure("files in the fullest folder", size, f"{fullest}; {len(full)} hold over {FULL_FOLDER}", full)


def long_files(house: House) -> Measure:
    """The files that are too long to be read in one go."""
    long = [f"{m.path}:1: {m.lines} lines" for m in house.modules if m.lines > LONG_FILE]
    return Measure(f"files over {LONG_FILE} lines", len(long), places=long)


def long_functions(house: House) -> Measure:
    """The functions that do not fit on a screen; decorators are not counted."""
    functions = [(module, node) for module, node in house.nodes if isinstance(node, FUNCTIONS)]
    sizes = [(module, node, (node.end_lineno or 0) - node.lineno + 1) for module, node in functions]
    long = [m.place(node, f"{node.name}, {size} lines") for m, node, size in sizes if size > LONG_FUNCTION]
    share = len(long) / max(len(functions), 1)
    return Measure(f"functions over {LONG_FUNCTION} lines", len(long), f"{share:.1%} of {len(functions)}", long)


def _reached(node: ast.AST, at_run_time: bool) -> Iterator[ast.AST]:
    """Yield the nodes below; at run time only those that an import executes."""
    for child in ast.iter_child_nodes(node):
        if at_run_time and isinstance(child, (*FUNCTIONS, ast.Lambda)):
            continue
        if at_run_time and isinstance(child, ast.If) and ast.unparse(child.test) in TYPE_CHECKING:
            yield from _reached(ast.Module(child.orelse, []), at_run_time)
            continue
        yield child
        yield from _reached(child, at_run_time)


def _imported(module: Module, node: ast.AST) -> list[str]:
    """Return the dotted names that a statement may import, those first that say most."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    package = module.name.split(".") if module.is_package else module.name.split(".")[:-1]
    above = package[: len(package) - node.level + 1] if node.level else []
    source = ".".join([*above, *([node.module] if node.module else [])])
    return [f"{source}.{alias.name}" for alias in node.names]


def import_graph(house: House, at_run_time: bool = False) -> dict[str, set[str]]:
    """Return the modules of the house that each module imports."""
    known_modules = {module.name for module in house.modules}
    graph: dict[str, set[str]] = {}
    for module in house.modules:
        names = [name for node in _reached(module.tree, at_run_time) for name in _imported(module, node)]
        targets = {name if name in known_modules else name.rpartition(".")[0] for name in names}
        graph[module.name] = (targets & known_modules) - {module.name}
    return graph


def circles_of(graph: dict[str, set[str]]) -> list[list[str]]:
    """Return the sets of modules that import each other, the largest first."""
    reach: dict[str, set[str]] = {}
    for start in graph:
        reach[start], waiting = set(), [start]
        while waiting:
            fresh = graph[waiting.pop()] - reach[start]
            reach[start] |= fresh
            waiting += fresh
    circles = {tuple(sorted(m for m in reach[start] if start in reach[m])) for start in graph if start in reach[start]}
    return [list(circle) for circle in sorted(circles, key=lambda circle: (-len(circle), circle))]


def circles(house: House, at_run_time: bool = False) -> Measure:
    """The modules that import each other, imports for types and inside functions included."""
    all_circles = circles_of(import_graph(house, at_run_time))
    members = [(number, circle, name) for number, circle in enumerate(all_circles, 1) for name in circle]
    paths = {module.name: module.path for module in house.modules}
    places = [f"{paths[name]}:1: circle {number} of {len(circle)}" for number, circle, name in members]
    largest = f"circles: {len(all_circles)}, the largest of {len(all_circles[0])}" if all_circles else "no circle"
    return Measure(f"modules in {'run-time' if at_run_time else 'import'} circles", len(places), largest, places)


def circles_at_run_time(house: House) -> Measure:
    """The same with only the imports that importing a module executes."""
    return circles(house, at_run_time=True)


def uses_of_any(house: House) -> Measure:
    """The uses of `Any` per 1,000 lines; the import itself is none."""
    uses = [m.place(node, "Any") for m, node in house.nodes if isinstance(node, ast.Name) and node.id == "Any"]
    rate = 1000 * len(uses) / max(sum(module.lines for module in house.modules), 1)
    return Measure("Any per 1,000 lines", rate, f"{len(uses)} uses", uses)


def _public(node: ast.AST) -> Iterator[Function | ast.ClassDef]:
    """Yield the public functions and classes of a module or class, and the methods of those."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, DEFINITIONS) and not child.name.startswith("_"):
            yield child
            if isinstance(child, ast.ClassDef):
                yield from _public(child)


def public_docstrings(house: House) -> Measure:
    """The share of public functions, classes and methods that have a docstring."""
    public = [(module, node) for module in house.modules for node in _public(module.tree)]
    bare = [module.place(node, node.name) for module, node in public if not ast.get_docstring(node)]
    share = 100 * (1 - len(bare) / max(len(public), 1))
    return Measure("public docstrings, %", share, f"{len(bare)} of {len(public)} lack it", bare)


def _first_word(text: str) -> str:
    return next(iter(re.findall(r"\w+", text.lower())), "")


def _clauses(title: str, *kinds: type[ast.AST]) -> Callable[[House], Measure]:
    """Return a measure of the docstrings of these kinds of nodes that begin with a clause."""

    def take(house: House) -> Measure:
        texts = [(module, node, text) for module, node, text in house.docstrings if isinstance(node, kinds)]
        clauses = [(module, node, text) for module, node, text in texts if _first_word(text) in CLAUSES]
        places = [module.place(node, text.partition("\n")[0]) for module, node, text in clauses]
        return Measure(title, len(places), f"{len(places) / max(len(texts), 1):.1%} of {len(texts)}", places)

    return take


def names(house: House) -> Measure:
    """The assigned names that are nothing but a participle or a pronoun, underscores aside."""
    places, assigned = [], 0
    for module, node in house.nodes:
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()) | ast.arg(arg=name):
                pass
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                pass
            case _:
                continue
        assigned += 1
        if LONE_WORDS.fullmatch(name):
            places.append(module.place(node, name))
    share = f"{len(places) / max(assigned, 1):.1%} of {assigned}"
    return Measure("names of one participle or pronoun", len(places), share, places)


def mirror_of(path: str) -> str:
    """Return the path of the test that belongs to a source file."""
    source = PurePosixPath(path)
    return f"tests/{source.parent}/test_{source.stem.strip('_')}.py"


def mirror(house: House) -> Measure:
    """The source files without a test at the mirrored path, unless mirror.toml says why; and the reasons in vain."""
    file = house.root / MIRROR
    reasons: dict[str, str] = tomllib.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    due = [m.path for m in house.modules if not (m.is_package and len(m.tree.body) <= 1)]
    bare = [path for path in due if not (house.root / mirror_of(path)).is_file()]
    excused = [(path, pattern) for path in bare for pattern in reasons if fnmatch.fnmatch(path, pattern)]
    paths = {path for path, pattern in excused if reasons[pattern].strip()}
    patterns = {pattern for _, pattern in excused}
    places = [f"{path}:1: no {mirror_of(path)}" for path in bare if path not in paths]
    vain = [f"{MIRROR}:1: nothing needs {pattern!r}" for pattern in reasons if pattern not in patterns]
    share = f"{len(due) - len(bare)} of {len(due)} mirrored, {len(paths)} with a reason"
    return Measure("files without a mirrored test", len(places) + len(vain), share, places + vain)


def bare_states(house: House) -> Measure:
    """The comparisons of a kind, state or status with a bare string."""
    places = []
    for module, node in house.nodes:
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            compared = {getattr(side, "attr", getattr(side, "id", "")) for side in sides}
            strings = [n.value for side in sides for n in ast.walk(side) if isinstance(n, ast.Constant)]
            if compared & STATE_NAMES and any(isinstance(value, str) for value in strings):
                places.append(module.place(node, ast.unparse(node)))
    return Measure("states compared with bare strings", len(places), places=places)


MEASURES: dict[str, Callable[[House], Measure]] = {
    "files": files,
    "folders": folders,
    "long-files": long_files,
    "long-functions": long_functions,
    "circles": circles,
    "run-time-circles": circles_at_run_time,
    "any": uses_of_any,
    "docstrings": public_docstrings,
    "clauses": _clauses("docstrings that begin with a clause", ast.Module, *DEFINITIONS),
    "clauses-modules": _clauses("  of modules", ast.Module),
    "clauses-classes": _clauses("  of classes", ast.ClassDef),
    "clauses-functions": _clauses("  of functions", *FUNCTIONS),
    "names": names,
    "mirror": mirror,
    "states": bare_states,
}
