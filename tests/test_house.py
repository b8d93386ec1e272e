"""The house as DESIGN.md draws it: which way imports go, who may print, and that every module has its test."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from medseg.config.load import load_pipeline

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "medseg"

LEVELS = [
    {"errors", "version", "words"},
    {"types", "files", "settings", "signals", "locks"},
    {"study", "metrics", "networks"},
    {"phantom", "transforms"},
    {"model"},
    {"losses", "data", "inference"},
    {"batch", "training", "evaluation"},
    {"reports", "tracking"},
    {"config"},
    {"runs"},
    {"cli"},
    {"__main__"},
]
"""A module imports only from a lower level or from its own folder."""

MODULES = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in sorted(PACKAGE.rglob("*.py"))}


def _level(part: str) -> int:
    found = [number for number, names in enumerate(LEVELS) if part in names]
    assert found, f"medseg.{part} has no level: give it one in DESIGN.md and here"
    return found[0]


def _trees() -> Iterator[tuple[str, ast.Module]]:
    for name, path in MODULES.items():
        yield name, ast.parse(path.read_text(), str(path))


def _imports(module: str, tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Every name imported anywhere in the file, functions and TYPE_CHECKING included, with its line."""
    package = module.split(".")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            source = ".".join(part for part in (base, node.module or "") if part)
            yield from ((f"{source}.{alias.name}", node.lineno) for alias in node.names)


def test_imports_go_down() -> None:
    upward = []
    for module, tree in _trees():
        if module == "medseg.__init__":
            continue  # the front door opens on every level
        mine = module.split(".")[1]
        for target, line in _imports(module, tree):
            parts = target.split(".")
            if parts[0] != "medseg" or len(parts) < 2 or parts[1] == mine:
                continue
            if _level(parts[1]) >= _level(mine):
                upward.append(f"{MODULES[module].relative_to(ROOT)}:{line} imports {target}")
    assert upward == []


def test_no_two_modules_import_each_other() -> None:
    graph: dict[str, set[str]] = {}
    for module, tree in _trees():
        targets = {name for target, _ in _imports(module, tree) for name in (target, target.rpartition(".")[0])}
        graph[module] = {name for name in targets if name in MODULES and name != module}

    def reach(start: str) -> set[str]:
        seen: set[str] = set()
        todo = list(graph[start])
        while todo:
            name = todo.pop()
            if name not in seen:
                seen.add(name)
                todo += graph[name]
        return seen

    assert [name for name in graph if name in reach(name)] == []


def _test_of(module: str) -> Path:
    *folders, name = module.split(".")[1:]
    if name == "__init__":
        name = folders[-1] if folders else "init"
    return ROOT.joinpath("tests", *folders, f"test_{name}.py")


def test_every_module_has_a_test_file_of_its_name() -> None:
    missing = []
    for module, tree in _trees():
        only_names = module.endswith("__init__") and not any(
            isinstance(node, ast.FunctionDef | ast.ClassDef) for node in tree.body
        )
        if not only_names and module != "medseg.__main__" and not _test_of(module).is_file():
            missing.append(str(_test_of(module).relative_to(ROOT)))
    assert missing == []


def test_only_the_command_line_prints() -> None:
    found = [
        f"{module}:{node.lineno}"
        for module, tree in _trees()
        if module.split(".")[1] != "cli"
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert found == []


def _roots(module: str, tree: ast.Module) -> set[str]:
    return {target.split(".")[0] for target, _ in _imports(module, tree)}


def test_only_tracking_imports_mlflow() -> None:
    found = {module.split(".")[1] for module, tree in _trees() if "mlflow" in _roots(module, tree)}
    assert found == {"tracking"}


@pytest.mark.parametrize("part", ["errors", "types", "files", "config", "study", "metrics", "cli", "runs"])
def test_start_up_is_cheap(part: str) -> None:
    """What config and the command line load imports nothing heavy outside functions."""
    heavy = {"torch", "monai", "mlflow", "SimpleITK", "itk", "matplotlib"}
    for module, tree in _trees():
        if module.split(".")[1] == part:
            top = ast.Module([node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)], [])
            assert not _roots(module, top) & heavy, module


def test_reading_a_pipeline_loads_no_array_library_but_numpy() -> None:
    program = "import sys, medseg.config.load; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    loaded = set(ended.stdout.split())
    assert {"numpy", "pydantic", "yaml"} <= loaded
    assert not loaded & {"torch", "monai", "mlflow", "scipy", "nibabel", "SimpleITK", "itk", "matplotlib", "pandas"}


def test_code_in_strings_is_never_executed() -> None:
    found = [
        f"{module}:{node.lineno} {node.func.id}"
        for module, tree in _trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("eval", "exec")
    ]
    assert found == []


PIPELINES = sorted((ROOT / "pipelines").glob("*.yaml"))


@pytest.mark.parametrize("path", PIPELINES, ids=lambda path: path.stem)
def test_shipped_pipeline_is_named_like_its_file(path: Path) -> None:
    from medseg.runs.network_problems import network_problems

    assert load_pipeline(path, checks=[network_problems]).name == path.stem


@pytest.mark.parametrize("path", [*PIPELINES, *sorted((ROOT / "configs").rglob("*.yaml"))], ids=lambda path: path.stem)
def test_shipped_yaml_names_its_schema_in_the_first_line(path: Path) -> None:
    first = path.read_text().splitlines()[0]
    match = re.fullmatch(r"# yaml-language-server: \$schema=(\S+)", first)
    assert match, first
    assert (path.parent / match[1]).is_file()


def test_every_network_has_its_fragment() -> None:
    from medseg.networks import NETWORKS

    named = {re.search(r"^  name: (\w+)", p.read_text(), re.M)[1] for p in (ROOT / "configs/networks").glob("*.yaml")}  # type: ignore[index]
    assert named == set(NETWORKS)


def test_paths_in_the_readme_exist() -> None:
    text = (ROOT / "README.md").read_text()
    links = set(re.findall(r"\]\((?!https?:)([^)#]+)\)", text))
    folders = "medseg|configs|pipelines|tests|bench|docs|data_manifests"
    named = links | set(re.findall(rf"(?<![\w./-])((?:{folders})/[\w./-]*\w)", text))
    named -= {"pipelines/mine.yaml"}  # the reader's own, in an example
    assert named, "the README names no file of the project"
    assert sorted(name for name in named if not (ROOT / name).exists()) == []
