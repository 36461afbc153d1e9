"""Einstein summation: sums of products named by letters.

The operands are multiplied two by two, more than two in the order that ``opt_einsum`` finds to need the least work.
Each step sums what no other operand and not the result needs, brings both sides to ``[batch, rows, inner]`` and
``[batch, inner, columns]``, and is one matrix product. Read next: ``joining.py``.
"""

from __future__ import annotations

import math
import string
from collections.abc import Sequence

from . import formulas as f
from .arguments import tensor_argument
from .compiler import primitives as p, primitives_shape as s
from .compiler.ir import Node
from .recording import tensor_of
from .storage import diagonal_step
from .tensor import Tensor


def einsum(equation: str, *operands: Tensor | Sequence[Tensor]) -> Tensor:
    """Sums of products of the elements of ``operands``, as an equation such as ``"bij,bjk->bik"`` says.

    Letters name axes; a letter that is missing on the right is summed over; without ``->`` the result has the letters
    that appear once, sorted. ``...`` stands for axes that broadcast. As ``torch.einsum``.

    Instead of an equation, each operand may be followed by a list of numbers below 52, which name its axes, with
    Ellipsis for ``...``; a list at the end names those of the result.

    Raises:
        RuntimeError: an equation that does not fit the operands.

    Example:
        >>> import flamework as torch
        >>> torch.einsum("ij,j->i", torch.tensor([[1.0, 2.0]]), torch.tensor([3.0, 4.0])).tolist()
        [11.0]
    """
    if isinstance(equation, Tensor):
        equation, operands = by_numbers(equation, *operands)
    if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
        operands = tuple(operands[0])
    if not operands:
        raise RuntimeError("einsum(): must provide at least one operand")
    nodes = [tensor_argument(t, "einsum", "operands", i + 2) for i, t in enumerate(operands)]
    inputs, output, sizes = parsed(equation, nodes)
    terms = [unique_labels(node, labels) for node, labels in zip(nodes, inputs)]
    for pair in contraction_order(terms, output):
        chosen = [terms[i] for i in pair]
        terms = [term for i, term in enumerate(terms) if i not in pair]
        needed = set(output).union(*(labels for _, labels in terms))
        terms.append(contracted(*chosen[0], *chosen[1], needed))
    ((node, labels),) = terms
    return tensor_of(f.fresh(finished(node, labels, output, sizes), nodes[0]))


def by_numbers(*given: Tensor | Sequence[int]) -> tuple[str, tuple[Tensor, ...]]:
    """The equation and the operands of a call that names axes by numbers.

    Raises:
        ValueError: a number that is not in [0, 52).
    """

    def letters(names: Sequence[int]) -> str:
        if any(name is not Ellipsis and not 0 <= name < 52 for name in names):
            raise ValueError("einsum(): subscript in subscript list is not within the valid range [0, 52)")
        return "".join("..." if name is Ellipsis else string.ascii_letters[26:][name] if name < 26
                       else string.ascii_letters[name - 26] for name in names)

    tensors, names = given[0 : len(given) // 2 * 2 : 2], given[1::2]
    equation = ",".join(map(letters, names))
    return equation + (f"->{letters(given[-1])}" if len(given) % 2 else ""), tensors


def contraction_order(terms: Sequence[tuple[Node, list[str]]], output: Sequence[str]) -> list[tuple[int, int]]:
    """Which two of the operands to multiply at each step, by their places; the product comes last then."""
    if len(terms) <= 2:
        return [(0, 1)] * (len(terms) - 1)
    import opt_einsum

    symbols: dict[str, str] = {}
    sides = []
    for labels in (*(labels for _, labels in terms), output):
        sides.append("".join(symbols.setdefault(x, opt_einsum.get_symbol(len(symbols))) for x in labels))
    equation = f"{','.join(sides[:-1])}->{sides[-1]}"
    path, _ = opt_einsum.contract_path(equation, *(node.type.shape for node, _ in terms), shapes=True)
    order: list[tuple[int, int]] = []
    count = len(terms)
    for places in path:
        # several at once are taken one after the other, each with the product so far
        rest = sorted(places)
        while len(rest) > 1:
            a, b, *others = rest
            order.append((a, b))
            count -= 1
            rest = [place - 2 for place in others] + [count - 1]
    return order


def parsed(equation: str, nodes: Sequence[Node]) -> tuple[list[list[str]], list[str], dict[str, int]]:
    """Labels of every operand and of the result, and the size of every label; ``...`` becomes labels of its own."""
    text = equation.replace(" ", "")
    left, arrow, right = text.partition("->")
    sides = left.split(",")
    if len(sides) != len(nodes):
        problem = "more" if len(sides) < len(nodes) else "fewer"
        raise RuntimeError(f"einsum(): {problem} operands were provided than specified in the equation")
    dots = 0
    for i, (side, node) in enumerate(zip(sides, nodes)):
        check_letters(side)
        named = len(side.replace("...", ""))
        if "..." in side:
            dots = max(dots, node.ndim - named)
        if named > node.ndim or ("..." not in side and named != node.ndim):
            raise RuntimeError(
                f"einsum(): the number of subscripts in the equation ({named}) does not match the number of dimensions "
                f"({node.ndim}) for operand {i} and no ellipsis was given"
            )
    inputs, sizes = [], {}
    for i, (side, node) in enumerate(zip(sides, nodes)):
        hidden = node.ndim - len(side.replace("...", ""))
        before, _, after = side.partition("...")
        labels = [*before, *(str(d) for d in range(dots - hidden, dots)), *after] if "..." in side else list(side)
        for label, extent in zip(labels, node.type.shape):
            seen = sizes.get(label, 1)
            if extent != seen and extent != 1 and seen != 1:
                raise RuntimeError(
                    f"einsum(): subscript {label} has size {extent} for operand {i} which does not broadcast with "
                    f"previously seen size {seen}"
                )
            sizes[label] = max(extent, seen) if extent and seen else 0
        inputs.append(labels)
    if arrow:
        check_letters(right)
        before, ellipsis, after = right.partition("...")
        output = [*before, *(str(d) for d in range(dots)), *after] if ellipsis else list(right)
    else:
        letters = sorted(label for label in sizes if label.isalpha() and sum(x.count(label) for x in inputs) == 1)
        output = [*(str(d) for d in range(dots)), *letters]
    for label in output:
        if output.count(label) > 1:
            raise RuntimeError(f"einsum(): output subscript {label} appears more than once in the output")
        if label not in sizes:
            raise RuntimeError(
                f"einsum(): output subscript {label} does not appear in the equation for any input operand"
            )
    return inputs, output, sizes


def check_letters(side: str) -> None:
    for letter in side.replace("...", ""):
        if not (letter.isascii() and letter.isalpha()):
            raise RuntimeError(f"einsum(): invalid subscript given at '{letter}', subscripts must be in [a-zA-Z]")


def unique_labels(node: Node, labels: list[str]) -> tuple[Node, list[str]]:
    """Replace axes with the same label by their diagonal."""
    labels = list(labels)
    for label in set(labels):
        while labels.count(label) > 1:
            first = labels.index(label)
            second = labels.index(label, first + 1)
            if node.type.shape[first] != node.type.shape[second]:
                raise RuntimeError(
                    f"einsum(): subscript {label} is repeated for an operand but the sizes don't match, "
                    f"{node.type.shape[second]} != {node.type.shape[first]}"
                )
            node = diagonal_step(node, (first, second, 0))
            labels = [x for i, x in enumerate(labels) if i not in (first, second)] + [label]
    return node, labels


def contracted(
    a: Node, left: list[str], b: Node, right: list[str], needed: set[str]
) -> tuple[Node, list[str]]:
    """The product of two operands, summed over the labels that nobody needs any more."""
    a, left = summed(a, left, lambda label: label in needed or label in right)
    b, right = summed(b, right, lambda label: label in needed or label in left)
    shared = [label for label in left if label in right]
    # an axis of size 1 on one side broadcasts, so it is a batch axis and not one of the product
    same = [label for label in shared if size_of(a, left, label) == size_of(b, right, label)]
    inner = [label for label in same if label not in needed]
    batch = [label for label in shared if label not in inner]
    rows = [label for label in left if label not in shared]
    columns = [label for label in right if label not in shared]
    extents = {x: max(size_of(a, left, x), size_of(b, right, x)) for x in batch}
    extents |= {x: size_of(a, left, x) for x in (*rows, *inner)} | {x: size_of(b, right, x) for x in columns}
    if a.type.dtype is not b.type.dtype:
        raise RuntimeError(f"expected the operands of einsum to have one dtype, but got {a.dtype} and {b.dtype}")
    a = arranged(a, left, (batch, rows, inner), extents)
    b = arranged(b, right, (batch, inner, columns), extents)
    if inner:
        product = f.matrix_product(a, b)
    else:
        # nothing is summed: products element by element fuse with what follows
        shape = (a.type.shape[0], a.type.shape[1], b.type.shape[2])
        product = p.mul(f.expanded(a, shape), f.expanded(b, shape))
    labels = [*batch, *rows, *columns]
    return f.reshaped(product, [extents[x] for x in labels]), labels


def size_of(node: Node, labels: list[str], label: str) -> int:
    return node.type.shape[labels.index(label)]


def arranged(node: Node, labels: list[str], groups: tuple[list[str], ...], extents: dict[str, int]) -> Node:
    """The axes in the order of ``groups``, repeated to ``extents`` and merged to one axis a group."""
    order = [x for group in groups for x in group]
    node = f.permuted(node, [labels.index(x) for x in order])
    node = f.expanded(node, [extents[x] for x in order])
    return f.reshaped(node, [math.prod(extents[x] for x in group) for group in groups])


def summed(node: Node, labels: list[str], keep) -> tuple[Node, list[str]]:
    """Sum over the labels that ``keep`` does not ask for."""
    axes = tuple(i for i, label in enumerate(labels) if not keep(label))
    if not axes:
        return node, labels
    return s.reduce_sum(node, params=axes), [x for i, x in enumerate(labels) if i not in axes]


def finished(node: Node, labels: list[str], output: list[str], sizes: dict[str, int]) -> Node:
    """Sum what is left over and order the axes as the result has them."""
    node, labels = summed(node, labels, lambda label: label in output)
    node = f.permuted(node, [labels.index(x) for x in output])
    return f.expanded(node, [sizes[x] for x in output])
