"""Where the polynomials of the vectorisable functions come from; run by a developer, never imported by a kernel.

``python -m flamework.kernels.cpu.vmath_fit > kernels/cpu/vmath_coefficients.py`` writes all tables anew. What comes in
is the list ``fits()``: for each polynomial the function to approximate, the interval, the weight of its error and
the number of coefficients for binary32 and binary64. What goes out are coefficients that are exactly representable.

The method is Remez' exchange (E. Ya. Remez, 1934) in 200-bit arithmetic: solve for the polynomial whose weighted
error alternates with one magnitude over n + 1 points, move the points to the extrema of the error, repeat until
the extrema agree. Rounding all coefficients at the end spoils most where the lowest ones dominate; so they are also
rounded one by one from the lowest, each time fitting the remaining ones again around those already fixed, and the
better of the two tables is kept.

Read next: ``vmath_exponential.py``, ``vmath_trigonometric.py`` and ``vmath_special.py``, where the tables are used.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import mpmath
from mpmath import mp, mpf

PRECISION_BITS = 200

Function = Callable[[mpf], mpf]


@dataclass(frozen=True)
class Fit:
    """Approximate `target` on [`low`, `high`] by a polynomial, so that the largest |weight * error| is least.

    `sizes` are the numbers of coefficients for binary32 and binary64 (None where that format needs no table);
    `fixed` are leading coefficients that are given beforehand.
    """

    name: str
    target: Function
    weight: Function
    low: mpf
    high: mpf
    sizes: tuple[int | None, int | None]
    fixed: tuple[float, ...] = ()


class Exchange:
    """Remez' algorithm for one target; the values of target and weight on the search grid are kept between fits."""

    def __init__(self, fit: Fit, size: int) -> None:
        points = 40 * (size + 1)
        middle, half = (fit.low + fit.high) / 2, (fit.high - fit.low) / 2
        nodes = [middle - half * mpmath.cos(mp.pi * (2 * i + 1) / (2 * points)) for i in range(points)]
        self.size = size
        self.grid = [(u, fit.target(u), fit.weight(u)) for u in nodes]

    def solve(self, fixed: list[mpf]) -> tuple[list[mpf], mpf]:
        """The coefficients that follow the `fixed` ones, and the largest weighted error of the whole polynomial."""
        unknown = self.size - len(fixed)
        rows = [(u, weight * u ** len(fixed), weight * (g - _evaluate(fixed, u))) for u, g, weight in self.grid]
        if unknown == 0:
            return [], max(abs(residual) for _, _, residual in rows)
        reference = [(2 * i + 1) * len(rows) // (2 * (unknown + 1)) for i in range(unknown + 1)]
        best: tuple[list[mpf], mpf] = ([], mpf("inf"))
        for _ in range(12):
            matrix, right = mpmath.matrix(unknown + 1, unknown + 1), mpmath.matrix(unknown + 1, 1)
            for row, index in enumerate(reference):
                u, basis, right[row] = rows[index]
                for column in range(unknown):
                    matrix[row, column] = basis * u**column
                matrix[row, unknown] = (-1) ** row
            solution = mpmath.lu_solve(matrix, right)
            coefficients = [solution[i] for i in range(unknown)]
            error = [residual - basis * _evaluate(coefficients, u) for u, basis, residual in rows]
            largest = max(abs(e) for e in error)
            if largest < best[1]:
                best = coefficients, largest
            reference = _alternating_extrema(error, unknown + 1)
            if len(reference) < unknown + 1 or largest <= abs(solution[unknown]) * mpf("1.002"):
                break
        return best


def _evaluate(coefficients: list[mpf], u: mpf) -> mpf:
    total = mpf(0)
    for coefficient in reversed(coefficients):
        total = total * u + coefficient
    return total


def _alternating_extrema(error: list[mpf], count: int) -> list[int]:
    """The `count` largest extrema of `error` whose signs alternate (fewer if there are not so many)."""
    extrema: list[int] = []
    for i, value in enumerate(error):
        if extrema and (value > 0) == (error[extrema[-1]] > 0):
            if abs(value) > abs(error[extrema[-1]]):
                extrema[-1] = i
        else:
            extrema.append(i)
    while len(extrema) > count:
        smallest = min(range(len(extrema)), key=lambda k: abs(error[extrema[k]]))
        if len(extrema) == count + 1:
            smallest = min((0, len(extrema) - 1), key=lambda k: abs(error[extrema[k]]))
        if smallest in (0, len(extrema) - 1):
            del extrema[smallest]
        else:  # an inner one goes with its smaller neighbour, or two equal signs would meet
            pair = min((smallest - 1, smallest), key=lambda k: abs(error[extrema[k]]) + abs(error[extrema[k + 1]]))
            del extrema[pair : pair + 2]
    return extrema


def round_to(x: mpf, precision: int) -> mpf:
    """`x` rounded to `precision` significant bits."""
    mantissa, exponent = mpmath.frexp(x)
    return mpmath.ldexp(mpmath.nint(mpmath.ldexp(mantissa, precision)), exponent - precision)


def representable_coefficients(fit: Fit, size: int, precision: int) -> tuple[list[float], float]:
    """The table of `size` coefficients of `precision` bits, and the base-2 logarithm of its largest weighted error."""
    mp.prec = PRECISION_BITS
    exchange = Exchange(fit, size)
    given = [mpf(c) for c in fit.fixed]
    at_once = given + [round_to(c, precision) for c in exchange.solve(given)[0]]
    one_by_one = list(given)
    while len(one_by_one) < size:
        one_by_one.append(round_to(exchange.solve(one_by_one)[0][0], precision))
    error, table = min((exchange.solve(table)[1], table) for table in (at_once, one_by_one))
    return [float(c) for c in table], float(mpmath.log(error, 2))


def fits() -> list[Fit]:
    """All approximations that the functions use."""
    mp.prec = PRECISION_BITS
    m = mpmath
    ln2 = m.log(2)
    tiny = mpf(2) ** -40  # stands for 0 where the target is written as a quotient
    half_ln2 = ln2 / 2 * mpf("1.001")  # the reduction's own rounding may step over the exact end
    quarter_pi_squared = (m.pi / 4 * mpf("1.001")) ** 2
    root_low, root_high = m.sqrt(mpf(0.5)) - 1, m.sqrt(2) - 1
    digamma_root = m.findroot(m.digamma, mpf("1.4616"))

    def odd(f: Function) -> tuple[Function, Function]:
        """f(x) = x + x**3 * tail(x**2): the tail, and the weight that makes its error relative to f."""
        return (
            lambda z: (f(m.sqrt(z)) - m.sqrt(z)) / m.sqrt(z) ** 3,
            lambda z: m.sqrt(z) ** 3 / f(m.sqrt(z)),
        )

    def relative(f: Function) -> tuple[Function, Function]:
        """f itself, and the weight that makes its error relative."""
        return f, lambda u: 1 / f(u)

    def log2_atanh(z: mpf) -> mpf:
        s = m.sqrt(z)
        return (2 * m.atanh(s) - 2 * s - 2 * s**3 / 3) / (s**5 * ln2)

    def log_erfc(t: mpf) -> mpf:
        return m.log(m.erfc(t + 1))

    def erfc_in_erf(t: mpf) -> mpf:
        return m.erfc(t + 1) / m.erf(t + 1)

    def scaled_erfcx(t: mpf) -> mpf:
        x = 4 * (1 + t) / (1 - t)
        return (x + 4) * m.erfc(x) * m.exp(x * x)

    def position(x: str) -> mpf:
        """The t of `scaled_erfcx` that belongs to x."""
        return (mpf(x) - 4) / (mpf(x) + 4)

    def erfinv(w: mpf) -> mpf:
        y = m.sqrt(-m.expm1(-w))
        return m.erfinv(y) / y

    def digamma_over_root(t: mpf) -> mpf:
        return m.digamma(t + mpf(1.5)) / (t + mpf(1.5) - digamma_root)

    erfinv_weight = relative(erfinv)[1]
    erfinv_centre = (lambda w: erfinv(w) - 1), erfinv_weight
    erfinv_tail = (lambda t: erfinv((t + 3) ** 2) - 1), (lambda t: erfinv_weight((t + 3) ** 2))
    cosh_tail = (lambda z: (m.cosh(m.sqrt(z)) - 1) / z), (lambda z: z)
    cos_tail = (lambda z: (m.cos(m.sqrt(z)) - 1 + z / 2) / z**2), (lambda z: z**2 / m.cos(m.sqrt(z)))
    erf_tail = (lambda z: m.erf(m.sqrt(z)) / m.sqrt(z) - 1), (lambda z: m.sqrt(z) / m.erf(m.sqrt(z)))
    exp_tail = (lambda r: (m.expm1(r) - r) / r**2), (lambda r: r**2 / m.expm1(r))
    log_tail = (lambda f: (m.log1p(f) - f + f * f / 2) / f**3), (lambda f: f**3 / m.log1p(f))

    return [
        # expm1(r) = r + r**2 * tail(r)
        Fit("expm1", *exp_tail, -half_ln2, half_ln2, (6, 11), (0.5,)),
        # 2**r, for the power function of binary32, which works in binary64
        Fit("exp2_short", *relative(lambda r: mpf(2) ** r), mpf(-0.5), mpf(0.5), (None, 8)),
        # log(1 + f) = f - f**2 / 2 + f**3 * tail(f)
        Fit("log", *log_tail, root_low, root_high, (9, 20)),
        # log2(1 + f) = f * tail(f), for the power function of binary32
        Fit("log2_short", *relative(lambda f: m.log1p(f) / f / ln2), root_low, root_high, (None, 16)),
        # log2((1 + s) / (1 - s)) = (2 s + 2/3 s**3) / ln2 + s**5 * tail(s**2), for the power function of binary64
        Fit("log2_atanh", log2_atanh, lambda z: z**2, tiny, mpf("0.1716") ** 2 * mpf("1.001"), (None, 11)),
        Fit("sin", *odd(m.sin), tiny, quarter_pi_squared, (4, 7)),
        # cos(r) = 1 - r**2 / 2 + r**4 * tail(r**2)
        Fit("cos", *cos_tail, tiny, quarter_pi_squared, (3, 6)),
        Fit("atan", *odd(m.atan), tiny, mpf(1), (9, 20)),
        Fit("asin", *odd(m.asin), tiny, mpf(0.25), (5, 13)),
        Fit("sinh", *odd(m.sinh), tiny, half_ln2**2, (3, 6)),
        # cosh(r) = 1 + r**2 * tail(r**2)
        Fit("cosh", *cosh_tail, tiny, half_ln2**2, (3, 6)),
        # erf(x) = x + x * tail(x**2) for |x| <= 1
        Fit("erf", *erf_tail, tiny, mpf(1), (7, 13)),
        # log(erfc(1 + t)) up to the point from which on erf rounds to 1, weighted by erfc's share in erf
        Fit("log_erfc_short", log_erfc, erfc_in_erf, mpf(0), mpf(3), (8, None)),
        Fit("log_erfc", log_erfc, erfc_in_erf, mpf(0), mpf(5), (None, 19)),
        # (x + 4) * exp(x**2) * erfc(x) with x = 4 (1 + t) / (1 - t), up to where erfc underflows
        Fit("erfcx_short", *relative(scaled_erfcx), mpf(-1), position("10.1"), (11, None)),
        Fit("erfcx", *relative(scaled_erfcx), mpf(-1), position("27.3"), (None, 23)),
        # erfinv(y) / y - 1 as a function of w = -log(1 - y**2), and for w > 5 of sqrt(w) - 3
        Fit("erfinv", *erfinv_centre, tiny, mpf(5), (10, 8)),
        Fit("erfinv_tail_short", *erfinv_tail, m.sqrt(5) - 3, mpf(1), (10, None)),
        Fit("erfinv_tail", *erfinv_tail, m.sqrt(5) - 3, mpf("3.01"), (None, 9)),
        # digamma(a) = (a - root) (1 + tail(a - 1.5)) for 1 <= a <= 2
        Fit(
            "digamma",
            lambda t: digamma_over_root(t) - 1,
            lambda t: 1 / digamma_over_root(t),
            mpf(-0.5),
            mpf(0.5),
            (None, 22),
        ),
    ]


def main() -> None:
    """Print the module `vmath_coefficients`."""
    print('"""Tables of polynomial coefficients, lowest power first; written by ``vmath_fit.py``, which see.')
    print()
    print("At the head of each table stands the base-2 logarithm of its largest weighted error, evaluated exactly.")
    print('"""')
    print()
    print("COEFFICIENTS: dict[str, dict[int, tuple[float, ...]]] = {")
    for fit in fits():
        print(f'    "{fit.name}": {{')
        for width, precision, size in ((32, 24, fit.sizes[0]), (64, 53, fit.sizes[1])):
            if size is None:
                continue
            table, error = representable_coefficients(fit, size, precision)
            print(f"        {width}: (  # {error:.1f}")
            for coefficient in table:
                print(f"            {coefficient!r},")
            print("        ),")
        print("    },")
    print("}")


if __name__ == "__main__":
    main()
