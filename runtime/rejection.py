"""Counts drawn by rejection: how many uniforms one takes is known only when it is drawn.

In: parameters of a distribution and a function that gives uniforms of [0, 1) in order. Out: one number. The callers are
in ``mersenne.py``.
"""

from __future__ import annotations

import math
from collections.abc import Callable


def poisson(rate: float, draw: Callable[[], float]) -> int:
    """A Poisson number.

    Rates below 10 multiply uniforms until they pass ``exp(-rate)`` (Knuth, 1969); others use transformed rejection
    (Hoermann, "The transformed rejection method for generating Poisson random variables", 1993, algorithm PTRS).
    """
    if rate < 10:
        count, product, least = -1, 1.0, math.exp(-rate)
        if rate == 0:
            return 0
        while product > least:
            product *= draw()
            count += 1
        return count
    b = 0.931 + 2.53 * math.sqrt(rate)
    a = -0.059 + 0.02483 * b
    inverse_alpha, v_r = 1.1239 + 1.1328 / (b - 3.4), 0.9277 - 3.6224 / (b - 2)
    while True:
        u, v = draw() - 0.5, draw()
        us = 0.5 - abs(u)
        if us == 0:
            continue
        k = math.floor((2 * a / us + b) * u + rate + 0.43)
        if us >= 0.07 and v <= v_r:
            return k
        if k < 0 or (us < 0.013 and v > us):
            continue
        left = (math.log(v) if v else -math.inf) + math.log(inverse_alpha) - math.log(a / (us * us) + b)
        if left <= -rate + k * math.log(rate) - math.lgamma(k + 1):
            return k


def binomial(count: float, probability: float, draw: Callable[[], float]) -> float:
    """The number of successes in ``count`` trials, or NaN.

    Fewer than 10 that are expected are counted by the geometric gaps between them (Devroye, "Non-uniform random variate
    generation", 1986); more use transformed rejection (Hoermann, "The generation of binomial random variates", 1993).
    """
    if count <= 0 or probability <= 0:
        return 0
    if probability >= 1:
        return count
    if not math.isfinite(count) or math.isnan(probability):
        return math.nan
    share = probability if probability <= 0.5 else 1 - probability
    number = (_transformed if count * share >= 10 else _gaps)(count, share, draw)
    return number if probability <= 0.5 else count - number


def _log(x: float) -> float:
    return math.log(x) if x else -math.inf


def _gaps(count: float, probability: float, draw: Callable[[], float]) -> int:
    place, number, scale = 0.0, 0, math.log1p(-probability)
    while True:
        gap = _log(draw()) / scale
        place += math.ceil(gap) if math.isfinite(gap) else gap
        if place > count:
            return number
        number += 1


def _transformed(count: float, probability: float, draw: Callable[[], float]) -> int:
    deviation = math.sqrt(count * probability * (1 - probability))
    b = 1.15 + 2.53 * deviation
    a = -0.0873 + 0.0248 * b + 0.01 * probability
    c = count * probability + 0.5
    v_r = 0.92 - 4.2 / b
    odds = probability / (1 - probability)
    alpha = (2.83 + 5.1 / b) * deviation
    m = math.floor((count + 1) * probability)
    while True:
        u, v = draw() - 0.5, draw()
        us = 0.5 - abs(u)
        if us == 0:
            continue
        k = math.floor((2 * a / us + b) * u + c)
        if k < 0 or k > count:
            continue
        if us >= 0.07 and v <= v_r:
            return k
        bound = (
            (m + 0.5) * math.log((m + 1) / (odds * (count - m + 1)))
            + (count + 1) * math.log((count - m + 1) / (count - k + 1))
            + (k + 0.5) * math.log(odds * (count - k + 1) / (k + 1))
            + _stirling_tail(m) + _stirling_tail(count - m) - _stirling_tail(k) - _stirling_tail(count - k)
        )
        if _log(v * alpha / (a / (us * us) + b)) <= bound:
            return k


def _stirling_tail(k: float) -> float:
    """What Stirling's approximation of ``log(k!)`` lacks."""
    if k <= 9:
        return math.lgamma(k + 1) - (0.5 * math.log(2 * math.pi) + (k + 0.5) * math.log(k + 1) - (k + 1))
    square = (k + 1) ** 2
    return (1 / 12 - (1 / 360 - 1 / 1260 / square) / square) / (k + 1)
