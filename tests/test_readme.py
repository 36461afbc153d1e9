"""The README tells the truth: its programs run and print what it says, its commands and links exist."""

import ast
import doctest
import itertools
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
PROGRAMS = [
    (source, output if kind == "text" else "")
    for (language, source), (kind, output) in itertools.pairwise([*BLOCKS, ("", "")])
    if language == "python"
]
COMMANDS = [
    line.removeprefix("$ ")
    for language, block in BLOCKS
    if language == "console"
    for line in block.splitlines()
    if line.startswith("$ ")
]


def test_every_block_is_of_a_kind_that_is_tested():
    assert {language for language, _ in BLOCKS} == {"python", "text", "console"}
    assert len(PROGRAMS) >= 4
    assert len(COMMANDS) >= 10


@pytest.mark.parametrize("source, output", PROGRAMS, ids=range(len(PROGRAMS)))
def test_a_program_prints_what_it_says(source, output, tmp_path):
    """Each program stands alone: it runs in a new process, in an empty folder. `...` stands for any text."""
    # A file, not `-c`: a compiled function finds its own source lines.
    (tmp_path / "program.py").write_text(source)
    done = subprocess.run([sys.executable, "program.py"], cwd=tmp_path, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    assert doctest.OutputChecker().check_output(output, done.stdout, flags), done.stdout


def test_the_first_screen_shows_it_working():
    first = "\n".join(TEXT.splitlines()[:40])
    assert "```python" in first
    assert "```text" in first
    assert "$ make run" in first


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_exists(command):
    program, *arguments = shlex.split(command)
    if program == "make":
        assert_target_exists(*arguments)
    elif program == "python":
        assert_script_takes(*arguments)
    else:
        assert (program, arguments[0]) == ("pip", "install")
        assert_extras_exist(arguments[1])


def assert_target_exists(target, *variables):
    makefile = (ROOT / "Makefile").read_text()
    assert re.search(rf"^{target}:", makefile, re.MULTILINE)
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[1].split()
    assert target in phony
    for variable in variables:
        name, _, value = variable.partition("=")
        assert name == "ARGS" and target == "bench"
        known = ast.parse((ROOT / "tests" / "benchmarks" / "run.py").read_text() +
                          (ROOT / "tests" / "benchmarks" / "workloads.py").read_text())
        strings = {node.value for node in ast.walk(known) if isinstance(node, ast.Constant)}
        assert set(value.split()) <= strings


def assert_script_takes(script, *options):
    done = subprocess.run([sys.executable, ROOT / script, "--help"], text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    for option in options:
        if option.startswith("-"):
            assert option in done.stdout


def assert_extras_exist(requirement):
    extras = re.fullmatch(r"\.(?:\[(.*)\])?", requirement)[1]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(extras.split(",") if extras else ()) <= set(project["optional-dependencies"])


def test_make_knows_every_target_of_its_help():
    """`make help` names each target, and a dry run of each one finds all that it depends on."""
    shown = subprocess.run(["make", "help"], cwd=ROOT, check=True, text=True, capture_output=True, env=clean()).stdout
    targets = re.findall(r"^make (\w+) ", shown, re.MULTILINE)
    assert {"run", "test", "oracle", "bench", "lint", "clean"} <= set(targets)
    for target in targets:
        subprocess.run(["make", "-n", target], cwd=ROOT, check=True, capture_output=True, env=clean())


def clean():
    """The environment without what an outer make, which runs this test, passes on."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS", "ARGS"))}


def test_links_lead_to_files():
    targets = [target for target in re.findall(r"\]\(([^)]+)\)", TEXT) if "://" not in target]
    assert targets
    assert not [target for target in targets if not (ROOT / target).exists()]


def test_continuous_integration_runs_make_test():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    lines = script.read_text().splitlines()
    assert lines[0] == "#!/usr/bin/env bash"
    assert "set -euo pipefail" in lines
    assert lines[-1].endswith("make test")


def test_environment_variables_are_read_somewhere():
    sources = "".join(path.read_text() for folder in ("frontend", "runtime", "compiler", "kernels")
                      for path in (ROOT / folder).rglob("*.py"))
    named = set(re.findall(r"FLAMEWORK_[A-Z_]+", TEXT))
    assert {"FLAMEWORK_LOG", "FLAMEWORK_VERIFY", "FLAMEWORK_CACHE_DIR"} <= named
    assert not [name for name in named if f'"{name}"' not in sources]
