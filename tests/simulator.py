"""Scripts whose ``numba.cuda`` is the simulator: it has to be asked for before anything is imported, so each runs in a
process of its own and prints, as JSON on its last line, what a test looks at.

Many are a list of behaviours, functions of the stand-ins that they work on, and end with :func:`report`; what went
wrong in each is then a test of its own. By hand: ``NUMBA_ENABLE_CUDASIM=1 PYTHONPATH=tests python SCRIPT``.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any


def output(script: str, *arguments: str, **environment: str) -> str:
    """What a script, by its path, prints in the simulator."""
    command = [sys.executable, "-W", "ignore", script, *arguments]
    path = os.pathsep.join(filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path, "NUMBA_ENABLE_CUDASIM": "1", **environment}
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


@functools.cache
def answer(script: str, *arguments: str, **environment: str) -> Any:
    """What a script says, asked once."""
    return json.loads(output(script, *arguments, **environment).splitlines()[-1])


def report(behaviours: Iterable[Callable[[Any], None]], installed: Callable[[], AbstractContextManager]) -> None:
    """Print for each behaviour, by its name, what went wrong, or None; each gets stand-ins of its own."""
    found = {}
    for behaviour in behaviours:
        with installed() as fake:
            try:
                behaviour(fake)
                found[behaviour.__name__] = None
            except Exception:
                found[behaviour.__name__] = traceback.format_exc(limit=-6)
    print(json.dumps(found))
