"""``explain``: what a program became, in a form to read and to compute with.

``explain(fn)(*args)`` calls the function once and describes every plan that its results need; ``explain(tensor)``
describes the plan of a pending tensor. An :class:`Explanation` lists the kernels with their operations, operands,
traffic and sources, the reasons why neighbours were not fused, and the graph before and after.

In: a function or tensor. Out: an :class:`Explanation`. Read next: ``flamework.runtime.plan``.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .compiler import primitives as p
from .compiler.ir import Node, format_program, topological
from .pytree import flatten
from .recording import node_of, pending_node, pending_tensors
from .runtime import engine
from .tensor import Tensor

if TYPE_CHECKING:
    import networkx

    from .compiler.cluster import Cluster
    from .compiler.lowering import Lowered
    from .runtime.plan import Plan


@dataclass
class Operand:
    """A buffer that a kernel reads or writes."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    mode: str


@dataclass
class Kernel:
    """One launch.

    Attributes:
        name: from its operations and a digest of its source.
        kind: ``kernel``, ``dot`` (a matrix product), ``convolve`` (a convolution that stays whole, or a gradient of
            one), ``attention`` (a library's), ``sort`` or ``library`` (computed by a library of Python).
        operations: rows of the primitive table, in the order of evaluation.
        operands: buffers read and written.
        bytes_read, bytes_written: memory traffic if every operand is touched once; of a sort on a GPU, that of all its
            launches.
        calls: how many pieces of work share the launch (parameters of an optimizer step).
        launches: how many launches it is on a GPU; 0 in a program of the CPU.
        cpu_source: numba source for the CPU; empty for library calls.
        loops: the loop IR as text.
    """

    name: str
    kind: str
    operations: list[str]
    operands: list[Operand]
    bytes_read: int
    bytes_written: int
    calls: int
    cpu_source: str
    loops: str
    launches: int = 0
    _lowered: Lowered | None = field(repr=False, default=None)
    _on_gpu: tuple[str, ...] = field(repr=False, default=())

    @functools.cached_property
    def _cuda_sources(self) -> tuple[str, ...]:
        if self._on_gpu or self._lowered is None:
            return self._on_gpu
        from .compiler import codegen_cuda

        return (codegen_cuda.generate(self._lowered.kernel),)

    @property
    def cuda_source(self) -> str:
        """numba.cuda source: of a program on a GPU, what it runs there, its products and sorts too, and of launches of
        several kernels one after the other; else of the same loops, and empty for library calls."""
        return "\n\n".join(self._cuda_sources)

    def ptx(self, cc: tuple[int, int] = (9, 0)) -> str:
        """The PTX of the GPU kernel for a compute capability; empty for library calls.

        It needs no GPU, but the packages of ``pip install 'flamework[cuda]'``. Without them it raises RuntimeError.
        """
        return "\n\n".join(self._for_gpu("ptx", cc))

    def sass(self, cc: tuple[int, int] = (9, 0)) -> str:
        """The machine code of the GPU kernel as text; as :meth:`ptx`."""
        return "\n\n".join(self._for_gpu("sass", cc))

    def gpu_resources(self, cc: tuple[int, int] = (9, 0)) -> dict[str, int]:
        """What the GPU kernel takes: ``registers`` of a thread, bytes of ``spills``, bytes of ``shared`` memory of a
        block, and how many ``barriers`` it names; of several kernels the largest, and empty for library calls. As
        :meth:`ptx`."""
        found = self._for_gpu("sass_report", cc)
        return {name: max(taken[name] for taken in found) for name in found[0]} if found else {}

    def _for_gpu(self, what: str, cc: tuple[int, int]) -> list[Any]:
        """What the toolchain says of each source."""
        if not self._cuda_sources:
            return []
        from .kernels.cuda import toolchain

        return [getattr(toolchain, what)(source, cc) for source in self._cuda_sources]

    def assembly(self) -> str:
        """The machine code of the CPU kernel as text; compiles it."""
        if self._lowered is None:
            return ""
        from .compiler import codegen_cpu
        from .kernels.cpu import scalar, toolchain

        functions = codegen_cpu.functions(self._lowered.kernel)
        return toolchain.compile_kernels(self.cpu_source, functions, scalar.NAMESPACE).assembly()


@dataclass
class Border:
    """A value that goes through memory between two kernels, and why."""

    producer: str
    type: str
    reason: str

    def __str__(self) -> str:
        return f"{self.producer} {self.type}: {self.reason}"


class Explanation:
    """What a program became; see the head of the chapter.

    Attributes:
        kernels: the launches in order.
        borders: why neighbours were not fused.
        before: the graph as recorded, as text.
        after: the graph as fused, as text, kernel by kernel.
    """

    def __init__(self, parts: list[tuple[list[Node], str, Plan]]) -> None:
        self.plans = [plan for _, _, plan in parts]
        self.before = "\n\n".join(text for _, text, _ in parts)
        self.kernels: list[Kernel] = []
        self.borders: list[Border] = []
        lines: list[str] = []
        for plan in self.plans:
            names = node_names(plan)
            for number in range(len(plan.items)):
                kernel = describe(plan, number, names)
                self.kernels.append(kernel)
                lines.append(f"{kernel.name}: {' '.join(kernel.operations)}")
                described = [(o.mode == "read", f"{o.name} : {o.dtype}{list(o.shape)}") for o in kernel.operands]
                lines += [f"    reads  {text}" for read, text in described if read]
                lines += [f"    writes {text}" for read, text in described if not read]
            for border in plan.fusion.borders:
                self.borders.append(Border(border.producer.op.name, repr(border.producer.type), border.reason))
        self.after = "\n".join(lines)

    @property
    def bytes_read(self) -> int:
        return sum(k.bytes_read for k in self.kernels)

    @property
    def bytes_written(self) -> int:
        return sum(k.bytes_written for k in self.kernels)

    def __str__(self) -> str:
        lines = [
            f"{len(self.kernels)} kernels, {readable(self.bytes_read)} read, {readable(self.bytes_written)} written"
        ]
        for i, k in enumerate(self.kernels):
            lines.append("")
            times = f" x{k.calls}" if k.calls > 1 else ""
            lines.append(f"[{i}] {k.name}{times}")
            lines.append(f"    {' '.join(k.operations)}")
            for o in k.operands[:12]:
                lines.append(f"    {o.mode:<5} {o.name} {o.dtype}{list(o.shape)}")
            if len(k.operands) > 12:
                lines.append(f"    ... {len(k.operands) - 12} more operands")
            lines.append(f"    {readable(k.bytes_read)} read, {readable(k.bytes_written)} written")
        if self.borders:
            lines += ["", "not fused:"]
            lines += [f"    {border}" for border in dict.fromkeys(map(str, self.borders))]
        return "\n".join(lines)

    __repr__ = __str__

    def to_networkx(self) -> networkx.MultiDiGraph:
        """The fused graph: a node for every operation, with its ``op``, its ``type`` and its ``kernel``."""
        import networkx

        graph = networkx.MultiDiGraph()
        for number, plan in enumerate(self.plans):
            kernel_of = placed(plan, sum(len(x.items) for x in self.plans[:number]))
            names: dict[Node, str] = {}
            for node in topological(plan.roots):
                names[node] = f"{number}.{len(names)}"
                op = "input" if node.value is not None and node.op is not p.scalar else node.op.name
                graph.add_node(
                    names[node], op=op, type=repr(node.type), kernel=kernel_of.get(node, -1), result=node in plan.roots
                )
                if op != "input":
                    graph.add_edges_from((names[x], names[node]) for x in node.src)
        return graph

    def to_dot(self) -> str:
        """The fused graph in Graphviz's language, each kernel a box."""
        graph = self.to_networkx()
        lines = ["digraph flamework {", "  node [shape=box, fontname=monospace];"]
        groups: dict[int, list[str]] = {}
        for name, data in graph.nodes(data=True):
            groups.setdefault(data["kernel"], []).append(f'"{name}" [label="{data["op"]}\\n{data["type"]}"];')
        for kernel, members in sorted(groups.items()):
            if kernel < 0:
                lines += [f"  {m}" for m in members]
            else:
                lines.append(f'  subgraph cluster_{kernel} {{ label="{self.kernels[kernel].name}";')
                lines += [f"    {m}" for m in members] + ["  }"]
        lines += [f'  "{a}" -> "{b}";' for a, b, _ in graph.edges(keys=True)]
        return "\n".join([*lines, "}"]) + "\n"

    def to_json(self) -> str:
        """Kernels, borders and graph as a JSON text."""
        graph = self.to_networkx()
        return json.dumps(
            {
                "kernels": [
                    {
                        "name": k.name, "kind": k.kind, "operations": k.operations, "calls": k.calls,
                        "operands": [vars(o) for o in k.operands],
                        "bytes_read": k.bytes_read, "bytes_written": k.bytes_written, "launches": k.launches,
                        "cpu_source": k.cpu_source,
                    }
                    for k in self.kernels
                ],
                "borders": [vars(b) for b in self.borders],
                "nodes": [{"id": n, **data} for n, data in graph.nodes(data=True)],
                "edges": [[a, b] for a, b, _ in graph.edges(keys=True)],
            },
            indent=1,
        )

    def save(self, folder: str | Path, cc: tuple[int, int] | None = None) -> Path:
        """Write everything to a folder: ``explanation.txt``, ``graph.json``, ``graph.dot``, ``before.txt``,
        ``after.txt`` and the sources of each kernel. Returns the folder.

        Args:
            cc: a GPU's compute capability, such as ``(9, 0)``, for which PTX, machine code and a table of the
                registers and memory that kernels take are written, too; see :meth:`Kernel.ptx` for what that needs.
        """
        folder = Path(folder)
        sources = folder / "kernels"
        sources.mkdir(parents=True, exist_ok=True)
        for name, text in (
            ("explanation.txt", str(self)), ("graph.json", self.to_json()), ("graph.dot", self.to_dot()),
            ("before.txt", self.before), ("after.txt", self.after),
        ):
            (folder / name).write_text(text + "\n")
        resources = []
        for i, kernel in enumerate(self.kernels):
            texts = {"cpu.py": kernel.cpu_source, "cuda.py": kernel.cuda_source, "loops.txt": kernel.loops}
            if cc is not None and kernel.cuda_source:
                texts |= {"ptx": kernel.ptx(cc), "sass": kernel.sass(cc)}
                found = ", ".join(f"{value} {name}" for name, value in kernel.gpu_resources(cc).items())
                traffic = f"{kernel.bytes_read} bytes read, {kernel.bytes_written} written"
                resources.append(f"[{i}] {kernel.name}: {found}, {traffic}\n")
            for ending, text in texts.items():
                if text:
                    (sources / f"{i:03d}_{kernel.name}.{ending}").write_text(text.rstrip("\n") + "\n")
        if cc is not None:
            (folder / "gpu.txt").write_text("".join(resources))
        return folder


def readable(nbytes: int) -> str:
    value = float(nbytes)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"


def node_names(plan: Plan) -> dict[Node, str]:
    return {node: f"%{i}" for i, node in enumerate(topological(plan.roots))}


def placed(plan: Plan, first: int) -> dict[Node, int]:
    """Which kernel computes each node of a plan's graph; the last, where several do."""
    found: dict[Node, int] = {}
    for number, item in enumerate(plan.items):
        for cluster in item.clusters:
            for node in members(cluster):
                found[node] = first + number
    return found


def members(cluster: Cluster) -> list[Node]:
    if cluster.node is not None:
        return computed(cluster)
    return [*(n for n in cluster.values if n.value is None), *(store.target for store in cluster.stores)]


def computed(call: Cluster) -> list[Node]:
    """What a call of a library computes, in order."""
    return call.results if call.epilogue is None else list(call.epilogue.operations)


def describe(plan: Plan, number: int, names: dict[Node, str]) -> Kernel:
    """The report of an item of a plan's schedule."""
    from .compiler import codegen_cpu
    from .runtime.kernels import digest

    item, fusion = plan.items[number], plan.fusion
    steps = plan.steps(number)
    gpu = {"launches": len(steps), "_on_gpu": tuple(dict.fromkeys(step.source for step in steps if step.source))}
    operands: dict[tuple, Operand] = {}

    def add(node: Node, mode: str) -> None:
        key = (node, mode)
        if key not in operands:
            operands[key] = Operand(names.get(node, "%?"), node.shape, node.dtype.name, mode)

    if item.kind != "kernel":
        (cluster,) = item.clusters
        node, operations = cluster.node, computed(cluster)
        given = list(cluster.product.src)
        sources = [x.base for x in cluster.strided or cluster.matrices] or given[:]
        if cluster.matrices:
            sources += given[2:]  # of a sum of products, the others
        if cluster.epilogue is not None and cluster.epilogue.bias is not None:
            sources.append(cluster.epilogue.bias)
            given.append(cluster.epilogue.bias)
        for source in sources:
            add(fusion.base(source), "read")
        for x in cluster.results:
            add(x, "write")
        read, written = (sum(x.type.nbytes for x in nodes) for nodes in (given, cluster.results))
        if item.kind == "sort" and steps:
            read, written = item.sort.found.bytes_read, item.sort.found.bytes_written
        names_of = [x.op.name for x in operations]
        return Kernel(f"{'_'.join(names_of)}_{node.dtype.code}", item.kind, names_of, list(operands.values()), read,
                      written, 1, "", "", **gpu)
    for cluster, lowered in zip(item.clusters, item.lowered):
        targets = {fusion.base(store.target) for store in cluster.stores}
        for node in lowered.operands:
            add(node, "write" if node in targets else "read")
    lowered = item.lowered[0]
    kernel = lowered.kernel
    short = "_".join(dict.fromkeys(kernel.operations)) or "copy"
    short = re.sub(r"[^a-z0-9_]", "", short)[:40].rstrip("_")
    return Kernel(
        f"{kernel.mode}_{short}_{digest(item.source)[:6]}", "kernel", list(kernel.operations), list(operands.values()),
        sum(x.bytes_read for x in item.lowered), sum(x.bytes_written for x in item.lowered), len(item.lowered),
        codegen_cpu.generate(kernel) if steps else item.source, str(kernel), _lowered=lowered, **gpu,
    )


def explain(target: Callable | Tensor) -> Any:
    """Describe what a function or a pending tensor becomes.

    Args:
        target: a function or Module (returns a function of its arguments that calls it once), or a tensor.

    Returns:
        An :class:`Explanation`, or a function that returns one.

    Example:
        >>> import flamework
        >>> x = flamework.ones(4)
        >>> len(flamework.explain(lambda x: (x * 2 + 1).relu().sum())(x).kernels)
        1
    """
    if isinstance(target, Tensor):
        node = node_of(target)
        return Explanation([plan_of([node])] if node.value is None else [])
    if not callable(target):
        raise TypeError(f"explain() takes a function or a tensor, not {type(target).__name__}")
    function = getattr(target, "function", target)

    @functools.wraps(function, updated=())
    def explained(*args: Any, **kwargs: Any) -> Explanation:
        engine.realize([n for t in pending_tensors() if (n := pending_node(t)) is not None])
        parts: list[tuple] = []
        with engine.observed(lambda roots, plan: parts.append((list(roots), format_program(roots), plan))):
            result = function(*args, **kwargs)
        leaves, _ = flatten(result)
        roots = [n for leaf in leaves if isinstance(leaf, Tensor) and (n := node_of(leaf)).value is None]
        roots += [n for t in pending_tensors() if (n := pending_node(t)) is not None]
        if roots:
            parts.append(plan_of(list(dict.fromkeys(roots))))
        return Explanation(parts)

    return explained


def plan_of(nodes: list[Node]) -> tuple[list[Node], str, Plan]:
    plan, roots, _, _ = engine.prepared([n for n in nodes if n.type.size])
    return roots, format_program(roots), plan
