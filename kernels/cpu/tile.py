"""The inner loops of a contraction and of a depthwise convolution: sums in vector registers.

numba and the loop vectoriser have no way to say which sums stay in which registers, so the loop is written as LLVM's
vectors here. LLVM allots the registers: with AVX-512 24 sums, four columns and one broadcast element.

In: nothing. Out: `INTRINSICS`, what the sources of `contraction.py` and `depthwise.py` use beside the usual vocabulary.
Read next: `contraction.py`.
"""

from __future__ import annotations

import itertools

from llvmlite import ir
from numba.core import cgutils, types

from .contraction import ROWS, vector_bytes, vectors
from .intrinsics import define

INTRINSICS: dict[str, object] = {}


def _emit_multiply(element: ir.Type, itemsize: int, height: int):
    lanes = vector_bytes() // itemsize
    vector = ir.VectorType(element, lanes)
    word, index = ir.IntType(64), ir.IntType(32)

    def emit(builder, argument_types, count, depth, a, rows, steps, b, width, sums):
        count = argument_types[0].literal_value
        function = builder.function
        module = builder.module
        name = f"llvm.fma.v{lanes}f{8 * itemsize}"
        fma = module.globals.get(name) or ir.Function(module, ir.FunctionType(vector, [vector] * 3), name)
        stride = vectors() * lanes * itemsize

        def at(address, kind):
            return builder.inttoptr(address, kind.as_pointer())

        def read(address, kind, align):
            value = builder.load(at(address, kind))
            value.align = align
            return value

        starts = [
            builder.add(a, builder.mul(read(builder.add(rows, word(8 * i)), word, 8), word(itemsize)))
            for i in range(height)
        ]
        cells = itertools.product(range(height), range(count))
        places = [builder.add(sums, word(i * stride + v * lanes * itemsize)) for i, v in cells]
        first = [read(place, vector, itemsize) for place in places]
        before = builder.basic_block
        loop, after = function.append_basic_block("tile.loop"), function.append_basic_block("tile.end")
        builder.branch(loop)
        builder.position_at_end(loop)
        k = builder.phi(word)
        held = [builder.phi(vector) for _ in first]
        k.add_incoming(word(0), before)
        for phi, value in zip(held, first):
            phi.add_incoming(value, before)
        step = builder.add(steps, builder.mul(k, word(16)))
        offset = builder.mul(read(step, word, 8), word(itemsize))
        place = read(builder.add(step, word(8)), word, 8)
        row = builder.add(b, builder.mul(place, builder.mul(width, word(itemsize))))
        columns = [read(builder.add(row, word(v * lanes * itemsize)), vector, itemsize) for v in range(count)]
        sums_after = []
        for i in range(height):
            scalar = read(builder.add(starts[i], offset), element, itemsize)
            lane = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, index(0))
            spread = builder.shuffle_vector(
                lane, ir.Constant(vector, ir.Undefined), ir.Constant(ir.VectorType(index, lanes), [0] * lanes)
            )
            for v in range(count):
                sums_after.append(builder.call(fma, [spread, columns[v], held[i * count + v]]))
        k_after = builder.add(k, word(1))
        k.add_incoming(k_after, loop)
        for phi, value in zip(held, sums_after):
            phi.add_incoming(value, loop)
        builder.cbranch(builder.icmp_signed("<", k_after, depth), loop, after)
        builder.position_at_end(after)
        for place, value in zip(places, sums_after):
            builder.store(value, at(place, vector)).align = itemsize

    return emit


def _takes_addresses(count: int):
    """The typing rule of a function of a literal and so many other integers."""

    def result(literal, *others):
        if isinstance(literal, types.IntegerLiteral) and len(others) == count:
            return types.void(literal, *[types.int64] * count)
        return None

    return result


def _at(builder, address, kind):
    return builder.inttoptr(address, kind.as_pointer())


def _emit_correlate(element: ir.Type, itemsize: int):
    lanes = vector_bytes() // itemsize
    vector = ir.VectorType(element, lanes)
    word = ir.IntType(64)

    def emit(builder, argument_types, count, depth, a, b, steps, sums):
        count = argument_types[0].literal_value
        function = builder.function
        fma = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(vector, [vector] * 3), f"llvm.fma.v{lanes}f{8 * itemsize}"
        )

        def read(address):
            value = builder.load(_at(builder, address, vector))
            value.align = itemsize
            return value

        starts = []
        for i in range(count):
            place = builder.load(_at(builder, builder.add(steps, word(16 * i + 8)), word))
            starts.append(builder.add(b, builder.mul(place, word(itemsize))))
        before = builder.basic_block
        loop, after = function.append_basic_block("correlate.loop"), function.append_basic_block("correlate.end")
        builder.branch(loop)
        builder.position_at_end(loop)
        k = builder.phi(word)
        held = [builder.phi(vector) for _ in starts]
        k.add_incoming(word(0), before)
        for phi in held:
            phi.add_incoming(ir.Constant(vector, [0.0] * lanes), before)
        offset = builder.mul(k, word(lanes * itemsize))
        factor = read(builder.add(a, offset))
        added = [builder.call(fma, [factor, read(builder.add(x, offset)), phi]) for x, phi in zip(starts, held)]
        k_after = builder.add(k, word(1))
        k.add_incoming(k_after, loop)
        for phi, value in zip(held, added):
            phi.add_incoming(value, loop)
        builder.cbranch(builder.icmp_signed("<", k_after, depth), loop, after)
        builder.position_at_end(after)
        for i, value in enumerate(added):
            place = builder.add(sums, word(i * lanes * itemsize))
            builder.store(builder.fadd(read(place), value), _at(builder, place, vector)).align = itemsize

    return emit


def _emit_move(element: ir.Type, itemsize: int):
    lanes = vector_bytes() // itemsize
    vector, bits = ir.VectorType(element, lanes), ir.VectorType(ir.IntType(1), lanes)
    word, index = ir.IntType(64), ir.IntType(32)
    numbers = ir.VectorType(word, lanes)

    def emit(builder, argument_types, source, target, count):
        function = builder.function
        pointer = vector.as_pointer()
        name = f"v{lanes}f{8 * itemsize}.p0"
        read = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(vector, [pointer, index, bits, vector]), f"llvm.masked.load.{name}"
        )
        write = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(ir.VoidType(), [vector, pointer, index, bits]), f"llvm.masked.store.{name}"
        )
        before = builder.basic_block
        loop, body, after = (function.append_basic_block(f"move.{x}") for x in ("loop", "body", "end"))
        builder.branch(loop)
        builder.position_at_end(loop)
        k = builder.phi(word)
        k.add_incoming(word(0), before)
        builder.cbranch(builder.icmp_signed("<", k, count), body, after)
        builder.position_at_end(body)
        left = builder.insert_element(ir.Constant(numbers, ir.Undefined), builder.sub(count, k), index(0))
        left = builder.shuffle_vector(
            left, ir.Constant(numbers, ir.Undefined), ir.Constant(ir.VectorType(index, lanes), [0] * lanes)
        )
        mask = builder.icmp_signed("<", ir.Constant(numbers, list(range(lanes))), left)
        offset = builder.mul(k, word(itemsize))
        none = ir.Constant(vector, [0.0] * lanes)
        value = builder.call(read, [_at(builder, builder.add(source, offset), vector), index(itemsize), mask, none])
        builder.call(write, [value, _at(builder, builder.add(target, offset), vector), index(itemsize), mask])
        k.add_incoming(builder.add(k, word(lanes)), body)
        builder.branch(loop)
        builder.position_at_end(after)

    return emit


# address_of(p): the address that a typed pointer holds.
define(
    "address_of",
    lambda pointer: types.int64 if isinstance(pointer, types.CPointer) else None,
    lambda builder, argument_types, pointer: builder.ptrtoint(pointer, ir.IntType(64)),
    into=INTRINSICS,
)
# multiply_tile_f32(count, depth, a, rows, steps, b, width, sums): add `depth` > 0 products to a tile of sums, six rows
# by `count` vectors (a literal). Addresses of: A, six offsets of rows, for each product its offset in A and its row of
# the panel, the panel (rows of `width` elements), the sums.
# multiply_row_f32: the same for one row.
# correlate_f32(count, depth, a, b, steps, sums): for each of `count` (a literal) steps, of which the second word is an
# offset in b, add the products of `depth` > 0 vectors of a and of b from there, to the vector of its sums.
# move_f32(source, target, count): copy `count` elements; no others are touched.
for _short, _element, _size in (("f32", ir.FloatType(), 4), ("f64", ir.DoubleType(), 8)):
    define(f"multiply_tile_{_short}", _takes_addresses(7), _emit_multiply(_element, _size, ROWS), True, INTRINSICS)
    define(f"multiply_row_{_short}", _takes_addresses(7), _emit_multiply(_element, _size, 1), True, INTRINSICS)
    define(f"correlate_{_short}", _takes_addresses(5), _emit_correlate(_element, _size), True, INTRINSICS)
    define(
        f"move_{_short}", lambda *x: types.void(*[types.int64] * 3) if len(x) == 3 else None,
        _emit_move(_element, _size), into=INTRINSICS,
    )
