"""What holds for all of the sources, whichever chapter one is in: who may import whom, and what must not be there."""

import ast
import importlib
import json
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import flamework
import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = {"flamework": "frontend", "flamework.compiler": "compiler", "flamework.runtime": "runtime",
            "flamework.kernels": "kernels"}
SOURCES = sorted(path for folder in PACKAGES.values() for path in (ROOT / folder).rglob("*.py"))
PYTHON = sorted(path for folder in (*PACKAGES.values(), "tests", "examples") for path in (ROOT / folder).rglob("*.py"))

# Imports point one way. Kernels know the compiler's types and loop IR, the compiler knows nobody.
MAY_IMPORT = {
    "frontend": {"frontend", "runtime", "compiler", "kernels"},
    "runtime": {"runtime", "compiler", "kernels"},
    "kernels": {"kernels", "compiler"},
    "compiler": {"compiler"},
}


def name_of(path):
    """A source as messages name it."""
    return str(path.relative_to(ROOT))


def module_of(path):
    """The dotted name under which a source is imported."""
    folder, *rest = path.relative_to(ROOT).with_suffix("").parts
    package = next(name for name, where in PACKAGES.items() if where == folder)
    return ".".join([package, *(part for part in rest if part != "__init__")])


def folder_of(module):
    """The folder of the repository that holds a module of ours; None for anybody else's."""
    if module.partition(".")[0] != "flamework":
        return None
    part = ".".join(module.split(".")[:2])
    return PACKAGES.get(part, "frontend")


def imported(path):
    """The modules that a source imports anywhere in it, by dotted names from the top."""
    package = module_of(path)
    if path.name != "__init__.py":
        package = package.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base]).rstrip(".")
            # What is named may be a module itself: `from .runtime import engine`, `from flamework import nn`.
            yield from (f"{base}.{alias.name}" for alias in node.names)


def test_there_are_sources():
    assert len(SOURCES) > 50
    assert {folder for path in SOURCES if (folder := path.relative_to(ROOT).parts[0])} == set(PACKAGES.values())


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_imports_point_one_way(folder):
    wrong = [
        f"{name_of(path)} imports {module}"
        for path in (ROOT / folder).rglob("*.py")
        for module in imported(path)
        if folder_of(module) not in {None, *MAY_IMPORT[folder]}
    ]
    assert not wrong


def test_one_module_knows_which_compiler_there_is_for_gpus():
    names = ("numba.cuda", "numba_cuda", "numba_cuda_mlir")
    knows = {name_of(path) for path in SOURCES for name in imported(path) if name.startswith(names)}
    assert knows == {"kernels/cuda/toolchain.py"}


def test_every_name_that_resolves_works():
    """Only a method that a user's own class has to write, as PyTorch has it, may say that it is missing."""
    refusals = {
        f"{name_of(path)} {function.name}"
        for path in SOURCES
        for function in ast.walk(ast.parse(path.read_text()))
        if isinstance(function, ast.FunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Name) and node.id == "NotImplementedError"
    }
    assert refusals <= {"frontend/nn/module.py forward"}


def test_every_source_has_an_introduction():
    """A module's docstring says what comes in, what goes out, and what to read next."""
    trees = {name_of(path): ast.parse(path.read_text()) for path in SOURCES}
    assert not [name for name, tree in trees.items() if tree.body and not ast.get_docstring(tree)]


def test_no_file_is_two_chapters():
    assert not [name_of(path) for path in PYTHON if path.read_text().count("\n") > 800]


def test_tests_have_names_of_their_own():
    """pytest imports them by their file's name alone."""
    names = [path.name for path in (ROOT / "tests").rglob("*.py") if path.name != "conftest.py"]
    assert len(names) == len(set(names))


def test_nothing_is_put_off():
    marks = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b")
    assert not [name_of(path) for path in PYTHON if marks.search(path.read_text())]


def loaded_after(code):
    """The names of all modules that a new process has after running some code."""
    done = subprocess.run([sys.executable, "-c", f"{code}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"],
                          check=True, text=True, stdout=subprocess.PIPE)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_import_is_light():
    """numba alone takes half a second to import: nobody pays before something has to be compiled."""
    assert not loaded_after("import flamework") & {"numba", "llvmlite", "scipy", "networkx", "torch", "sympy", "pytest"}


def test_recording_compiles_nothing():
    code = "import flamework as torch\nx = torch.ones(3)\ny = (x * 2 + 1).sum()"
    assert not loaded_after(code) & {"numba", "llvmlite"}


def test_every_module_can_be_imported_on_its_own():
    """No module leans on another one having been imported first. CUDA's need its toolchain."""
    names = [module.name for module in pkgutil.walk_packages(flamework.__path__, "flamework.")]
    assert len(names) > 20
    for name in (module_of(path) for path in SOURCES if "cuda" not in path.parts):
        importlib.import_module(name)


def test_the_distribution_lists_every_package():
    configured = re.search(r"packages = \[(.*?)\]", (ROOT / "pyproject.toml").read_text(), re.DOTALL)[1]
    found = {module_of(path) for path in SOURCES if path.name == "__init__.py"}
    assert set(re.findall(r'"([\w.]+)"', configured)) == found


def test_generated_source_holds_nothing_of_the_users():
    """Kernels are named and written with the compiler's identifiers; what a user wrote cannot reach them."""

    def mischievous_function_name(mischievous_argument):
        mischievous_local = mischievous_argument * 1.5
        return (mischievous_local + 2).relu().sum()

    explanation = flamework.explain(mischievous_function_name)(flamework.ones(7, 5))
    assert explanation.kernels
    for kernel in explanation.kernels:
        assert re.fullmatch(r"[A-Za-z_]\w*", kernel.name)
        for source in (kernel.cpu_source, kernel.cuda_source):
            assert "mischievous" not in source
            tree = ast.parse(source)
            strings = [n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
            assert all(re.fullmatch(r"[\w \[\](),.*+-]*", text) for text in strings), strings
            assert not any(isinstance(n, ast.Import | ast.ImportFrom | ast.Attribute) and "__" in ast.dump(n)
                           for n in ast.walk(tree))


def test_sizes_are_arguments_of_kernels():
    """The same program at another size, and with other numbers, has the same kernels to the letter."""

    def program(x, factor):
        return ((x * factor).softmax(dim=-1) + 1).sum(dim=0)

    sources = [
        [kernel.cpu_source for kernel in flamework.explain(program)(flamework.ones(rows, columns), factor).kernels]
        for rows, columns, factor in [(40, 30, 0.5), (64, 50, 0.25)]
    ]
    assert sources[0] == sources[1]
    assert any(sources[0])
