"""The inner loop of a contraction: a tile of sums in vector registers.

numba and the loop vectoriser have no way to say which sums stay in which registers, so the loop is written as LLVM's
vectors here. LLVM allots the registers: with AVX-512 24 sums, four columns and one broadcast element.

In: nothing. Out: `INTRINSICS`, what the source of `contraction.py` uses beside the usual vocabulary.
Read next: `contraction.py`.
"""

from __future__ import annotations

from llvmlite import ir
from numba.core import types

from .contraction import ROWS, vector_bytes, vectors
from .intrinsics import define

INTRINSICS: dict[str, object] = {}


def _emit_multiply_tile(element: ir.Type, itemsize: int):
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
            for i in range(ROWS)
        ]
        places = [builder.add(sums, word(i * stride + v * lanes * itemsize)) for i in range(ROWS) for v in range(count)]
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
        for i in range(ROWS):
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


def _type_multiply_tile(count, *addresses):
    if isinstance(count, types.IntegerLiteral) and len(addresses) == 7:
        return types.void(count, *[types.int64] * 7)
    return None


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
define("multiply_tile_f32", _type_multiply_tile, _emit_multiply_tile(ir.FloatType(), 4), True, INTRINSICS)
define("multiply_tile_f64", _type_multiply_tile, _emit_multiply_tile(ir.DoubleType(), 8), True, INTRINSICS)
