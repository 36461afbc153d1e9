"""Several launches of one kernel as one launch: an optimizer's step over many parameters, for example.

The arguments of all *members* are the launch's parameters, 4 KiB at most, so that a replay changes them as it changes
those of any other launch. Each block finds the member that its number belongs to, and does there what a block of the
member's own launch would have done. There may be fewer blocks than numbers; a block then takes several.

In: generated source. Out: the source of the launch.
Read next: ``runtime/gpu_groups.py``, which decides what is grouped.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence

#: A kernel's parameters live in 4 KiB of constant memory on every GPU.
MOST_PARAMETERS = 512


@functools.cache
def source(member: str, function: str, shared: Sequence[bool], members: int) -> str:
    """The source of a launch of so many members.

    Its parameters are the arguments that are ``shared`` by all members, and for each member its other arguments, its
    units and the first of its blocks' numbers; then the number of all blocks.
    """
    found = re.search(rf"^def {function}\((.*)\):\n((?:    .*\n|\n(?!\n))*)", member, re.MULTILINE)
    assert found is not None
    *arguments, units = found[1].split(", ")
    own = [*(name for name, common in zip(arguments, shared) if not common), units, "begin"]
    parameters = [name for name, common in zip(arguments, shared) if common]
    parameters += [f"{name}_of_{k}" for k in range(members) for name in own]
    lines = [f"def kernel({', '.join(parameters)}, total):"]
    lines += ["    number = i64(cuda.blockIdx.x)", "    while number < total:"]

    def choose(low: int, high: int, indent: str) -> None:
        """The member, of those from one to before another, that the number belongs to."""
        if high - low == 1:
            end = f"begin_of_{high}" if high < members else "total"
            lines.extend(f"{indent}{name} = {name}_of_{low}" for name in own)
            lines.append(f"{indent}blocks = {end} - begin")
            lines.append(f"{indent}branch()")
            return
        middle = (low + high) // 2
        lines.append(f"{indent}if number < begin_of_{middle}:")
        choose(low, middle, indent + "    ")
        lines.append(f"{indent}else:")
        choose(middle, high, indent + "    ")

    choose(0, members, " " * 8)
    lines.append("        block = number - begin")
    body = found[2].replace("i64(cuda.blockIdx.x)", "block").replace("i64(cuda.gridDim.x)", "blocks")
    lines += ["    " + line for line in body.rstrip("\n").split("\n")]
    lines += ["        number += i64(cuda.gridDim.x)", "        rolled()"]
    return "\n".join(lines) + "\n"
