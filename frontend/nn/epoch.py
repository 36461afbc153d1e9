"""The mutation epoch: one number that moves whenever any module changes.

A compiled function keeps what it learned about the modules that it closed over: which parameters they hold, whether
they train, which hooks they run. Checking all of that on every call would cost more than the call. Instead every
change to any module draws a new epoch from one process-wide counter, and a compiled function first compares one
integer: equal means that nothing has changed anywhere, and only a difference sends it to the full comparison.

In: nothing. Out: ``advance`` for the code that mutates, ``mutation_epoch`` for the code that guards. Read ``module.py``
next for the places that advance it.
"""

from __future__ import annotations

import itertools

_draw = itertools.count(1).__next__
_current = 0


def advance() -> None:
    """Record that a module has changed. Call it after the change, never before."""
    # Each drawn number is stored once, so two threads which race here can store them out of order but can never bring
    # an older number back: a guard that sees its own number again knows that nothing was stored since.
    global _current
    _current = _draw()


def mutation_epoch() -> int:
    """Return the number of the latest change to any module; equal numbers mean that no module changed in between.

    Example:
        >>> import flamework
        >>> layer = flamework.nn.Dropout(0.5)
        >>> before = flamework.nn.module.mutation_epoch()
        >>> _ = layer.eval()
        >>> flamework.nn.module.mutation_epoch() == before
        False
    """
    return _current
