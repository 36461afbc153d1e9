"""Lines on stderr about what the system is doing, by topic.

`FLAMEWORK_LOG=fusion,cache python program.py` switches topics on; `all` switches on every one. Each line is
`[flamework:topic] message`. The topics follow a program through the system, in this order:

record       operations recorded into the pending graph
rewrite      what the rewriting passes changed
fusion       which operations share a kernel, and why neighbours do not
plan         schedules, memory plans, tapes
kernel       kernels compiled and loaded, with their times
cache        hits, misses and trouble of the kernel cache
materialise  who asked for a value, from which line

In: the environment variable, read once at import. Out: `enabled`, `log`. Read next: `counters.py`.
"""

from __future__ import annotations

import os
import sys
import warnings

TOPICS = ("record", "rewrite", "fusion", "plan", "kernel", "cache", "materialise")


class EnabledTopics:
    """One bool attribute for each topic, so that a hot path pays one attribute test: `if ENABLED.record: ...`."""

    __slots__ = TOPICS

    def __init__(self, topics: frozenset[str] = frozenset()):
        for topic in TOPICS:
            setattr(self, topic, topic in topics)


def parse_topics(text: str) -> frozenset[str]:
    """The topics named in a comma-separated list; `all` stands for every topic.

    Raises `ValueError`, which names the known topics, for an unknown one.
    Example: `parse_topics("fusion, plan")` is `frozenset({"fusion", "plan"})`.
    """
    names = {name.strip().lower() for name in text.split(",")} - {""}
    unknown = names - set(TOPICS) - {"all"}
    if unknown:
        listed = ", ".join(repr(name) for name in sorted(unknown))
        raise ValueError(f"FLAMEWORK_LOG names no such topic: {listed}. The topics are {', '.join(TOPICS)} and all.")
    return frozenset(TOPICS) if "all" in names else frozenset(names)


def _from_environment() -> EnabledTopics:
    try:
        return EnabledTopics(parse_topics(os.environ.get("FLAMEWORK_LOG", "")))
    except ValueError as error:
        # A misspelt debugging aid must not stop the program that it was to explain.
        warnings.warn(str(error), stacklevel=2)
        return EnabledTopics()


ENABLED = _from_environment()


def enabled(topic: str) -> bool:
    """Whether lines on `topic` are wanted. Test this before building an expensive message."""
    return getattr(ENABLED, topic)


def log(topic: str, message: str) -> None:
    """Write one line on `topic` to stderr, if the topic is enabled. Line breaks in the message become spaces.

    Example: `log("cache", "hit 3f2a")` writes `[flamework:cache] hit 3f2a`.
    """
    if getattr(ENABLED, topic):
        # One write call, so that lines from several threads do not mix.
        sys.stderr.write(f"[flamework:{topic}] {' '.join(message.splitlines())}\n")
