"""Compiled kernels on disk, addressed by their content.

An entry is named after the SHA-256 of everything that decides its object code: the kernel's source, the target, the
versions of the compilers. The same parts are written into the entry and compared when it is read, so neither a hash
collision nor a file that was moved can give a wrong kernel. An entry is one file:

    magic, length of the header | header (JSON: key parts, symbols, size of the object) | object code | SHA-256 of all

at `v{format}/{processor}/{first two digits}/{digest}` below the cache's folder. There is no index to corrupt and
nothing is unpickled. Files appear by an atomic rename, so processes may share the folder without locks, and any of
them may delete any entry at any time.

Object code is executed, so the folder must be the user's alone: the folder and each entry must belong to the user and
be writable by nobody else. Where that does not hold, and where the disk is full, read-only or absent, kernels are kept
in memory for this process and one warning says so. Nothing here raises.

`FLAMEWORK_CACHE_DIR` moves the folder; `FLAMEWORK_CACHE_LIMIT` is its size in MiB (default 512; 0 keeps nothing on
disk). When it is exceeded the entries that were not used for longest go first.

In: key parts, object code. Out: `KernelCache`. Read next: `loader.py`, which puts object code into the process.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import re
import stat
import struct
import threading
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from flamework.runtime import log

#: The version of the entry's format, and so the name of the folder that holds entries of it.
FORMAT_VERSION = 1

DEFAULT_LIMIT = 512 << 20

_PREFIX = struct.Struct("<8sQ")
_MAGIC = b"FLMWORK\x01"
_LARGEST_ENTRY = 256 << 20
_DAY = 24 * 60 * 60
_DIGEST_NAME = re.compile(r"[0-9a-f]{64}")

_warned = False


@dataclass(frozen=True)
class Entry:
    """A cached kernel: what it was made from, its symbols by function name, and its object code."""

    key_parts: dict[str, str]
    symbols: dict[str, str]
    object_code: bytes


def key_digest(key_parts: Mapping[str, str]) -> str:
    """The name of the entry for `key_parts`: the SHA-256 of their canonical JSON form, 64 hexadecimal digits."""
    return hashlib.sha256(_canonical(dict(key_parts))).hexdigest()


def default_folder() -> Path | None:
    """The folder that the environment names, or the user's cache folder, or None where there is no home."""
    named = os.environ.get("FLAMEWORK_CACHE_DIR")
    if named:
        return Path(named)
    try:
        import platformdirs

        folder = Path(platformdirs.user_cache_dir("flamework", appauthor=False))
    except (OSError, RuntimeError, KeyError):
        return None
    return folder if folder.is_absolute() else None


def limit_from_environment() -> int:
    """The limit on the folder's size in bytes."""
    text = os.environ.get("FLAMEWORK_CACHE_LIMIT", "")
    if not text:
        return DEFAULT_LIMIT
    with contextlib.suppress(ValueError, OverflowError):
        limit = int(float(text) * (1 << 20))
        if limit >= 0:
            return limit
    warnings.warn(f"FLAMEWORK_CACHE_LIMIT is a number of MiB, not {text!r}; using 512", stacklevel=2)
    return DEFAULT_LIMIT


class KernelCache:
    """A cache of compiled kernels.

    `folder` and `limit` (bytes) default to what the environment says. Example::

        cache = KernelCache()
        entry = cache.get(key_parts)
        if entry is None:
            compiled = compile_kernels(...)
            cache.put(key_parts, compiled.object_code, compiled.symbols)
    """

    def __init__(self, folder: os.PathLike[str] | str | None = None, limit: int | None = None):
        self._limit = limit_from_environment() if limit is None else limit
        self._memory: dict[str, Entry] = {}
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._written = 0
        self._pruned_once = False
        self._folder: Path | None = None
        if self._limit > 0:
            self._open(default_folder() if folder is None else Path(folder))

    @property
    def folder(self) -> Path | None:
        """The folder on disk, or None if kernels are kept in memory only."""
        return self._folder

    def get(self, key_parts: Mapping[str, str]) -> Entry | None:
        """The entry for exactly these key parts, or None. A damaged entry is removed and counts as missing."""
        digest = key_digest(key_parts)
        entry = self._memory.get(digest)
        if entry is None and self._folder is not None:
            entry = self._read(self._path(digest, key_parts))
        if entry is not None and entry.key_parts != dict(key_parts):
            entry = None
        if log.ENABLED.cache:
            log.log("cache", f"{'miss' if entry is None else 'hit'} {digest}")
        return entry

    def put(self, key_parts: Mapping[str, str], object_code: bytes, symbols: Mapping[str, str]) -> None:
        """Keep a kernel, in place of any entry for the same key parts."""
        digest = key_digest(key_parts)
        entry = Entry(dict(key_parts), dict(symbols), bytes(object_code))
        if self._folder is not None:
            data = _encode(entry)
            try:
                self._write(self._path(digest, key_parts), data)
            except OSError as error:
                self._keep_in_memory(f"cannot write to {self._folder}: {error}")
            else:
                if log.ENABLED.cache:
                    log.log("cache", f"stored {digest}, {len(data)} bytes")
                self._prune_occasionally(len(data))
                return
        self._memory[digest] = entry

    # The folder -------------------------------------------------------------------------------------------------

    def _open(self, folder: Path | None) -> None:
        if folder is None:
            self._keep_in_memory("this user has no home folder; FLAMEWORK_CACHE_DIR can name a folder")
            return
        try:
            os.makedirs(folder, mode=0o700, exist_ok=True)
            folder = Path(os.path.realpath(folder))
            status = os.stat(folder)
            fault = _fault_of(status, stat.S_ISDIR(status.st_mode))
            if fault is None and not os.access(folder, os.W_OK | os.X_OK):
                fault = "is not writable"
        except (OSError, ValueError) as error:
            self._keep_in_memory(f"cannot use {folder}: {error}")
            return
        if fault is not None:
            self._keep_in_memory(f"{folder} {fault}")
            return
        self._folder = folder

    def _keep_in_memory(self, reason: str) -> None:
        global _warned
        self._folder = None
        if not _warned:
            _warned = True
            warnings.warn(f"compiled kernels are not kept on disk: {reason}", RuntimeWarning, stacklevel=4)

    def _path(self, digest: str, key_parts: Mapping[str, str]) -> Path:
        assert self._folder is not None
        processor = re.sub(r"[^A-Za-z0-9._-]", "_", key_parts.get("cpu", "any"))[:64].lstrip(".") or "any"
        return self._folder / f"v{FORMAT_VERSION}" / processor / digest[:2] / digest

    # Entries ----------------------------------------------------------------------------------------------------

    def _read(self, path: Path) -> Entry | None:
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
        try:
            descriptor = os.open(path, flags)
        except (OSError, ValueError):
            return None
        entry = None
        # Somebody may delete the entry meanwhile, or the disk may fail: what was read in full is still good.
        with contextlib.suppress(OSError):
            with open(descriptor, "rb") as file:
                status = os.fstat(descriptor)
                fault = _fault_of(status, stat.S_ISREG(status.st_mode))
                if fault is None and status.st_size <= _LARGEST_ENTRY:
                    entry = _decode(file.read())
            if entry is None:
                log.log("cache", f"removed {path.name}, which {fault or 'is damaged'}")
                os.unlink(path)
            elif abs(time.time() - status.st_mtime) > _DAY:
                os.utime(path)
        return entry

    def _write(self, path: Path, data: bytes) -> None:
        os.makedirs(path.parent, mode=0o700, exist_ok=True)
        temporary = path.parent / f".{os.getpid()}-{next(self._numbers)}-{os.urandom(4).hex()}.tmp"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        descriptor = os.open(temporary, flags, 0o600)
        try:
            with open(descriptor, "wb") as file:
                file.write(data)
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise

    # Size -------------------------------------------------------------------------------------------------------

    def _prune_occasionally(self, written: int) -> None:
        """Prune after every eighth of the limit that this process writes, and at its first write once a day."""
        with self._lock:
            self._written += written
            due = self._written > self._limit // 8
            if not due and not self._pruned_once:
                due = self._last_prune_is_old()
            self._pruned_once = True
            if not due:
                return
            self._written = 0
        with contextlib.suppress(OSError):
            self.prune()

    def _last_prune_is_old(self) -> bool:
        assert self._folder is not None
        marker = self._folder / "pruned"
        try:
            if time.time() - marker.stat().st_mtime < _DAY:
                return False
        except OSError:
            pass
        with contextlib.suppress(OSError):
            marker.touch(mode=0o600)
        return True

    def prune(self) -> None:
        """Delete entries, least recently used first, until the folder is within four fifths of its limit.

        Nothing is deleted while it is within the limit, apart from what an interrupted process left behind.
        """
        if self._folder is None:
            return
        entries: list[tuple[float, int, str]] = []
        for parent, _, names in os.walk(self._folder):
            for name in names:
                path = os.path.join(parent, name)
                with contextlib.suppress(OSError):
                    status = os.lstat(path)
                    if _DIGEST_NAME.fullmatch(name):
                        entries.append((status.st_mtime, status.st_size, path))
                    elif name.endswith(".tmp") and time.time() - status.st_mtime > 3600:
                        os.unlink(path)
        total = sum(size for _, size, _ in entries)
        if total <= self._limit:
            return
        before = total
        for _, size, path in sorted(entries):
            if total <= self._limit * 4 // 5:
                break
            with contextlib.suppress(OSError):
                os.unlink(path)
            total -= size
        log.log("cache", f"pruned from {before} to {total} bytes")


def _fault_of(status: os.stat_result, is_right_kind: bool) -> str | None:
    """Why a file or folder cannot be trusted with code to execute, or None."""
    if not is_right_kind:
        return "is not of the right kind"
    if os.name == "posix":
        if status.st_uid != os.geteuid():
            return "belongs to another user"
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return "can be written by other users (chmod go-w makes it usable)"
    return None


def _canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _encode(entry: Entry) -> bytes:
    header = _canonical({"key": entry.key_parts, "symbols": entry.symbols, "object_bytes": len(entry.object_code)})
    body = _PREFIX.pack(_MAGIC, len(header)) + header + entry.object_code
    return body + hashlib.sha256(body).digest()


def _decode(data: bytes) -> Entry | None:
    """The entry that a file holds, or None unless every byte of it is as it was written."""
    if len(data) < _PREFIX.size + 32:
        return None
    body, checksum = data[:-32], data[-32:]
    magic, header_bytes = _PREFIX.unpack_from(body)
    if magic != _MAGIC or hashlib.sha256(body).digest() != checksum:
        return None
    try:
        header = json.loads(body[_PREFIX.size : _PREFIX.size + header_bytes])
        object_code = body[_PREFIX.size + header_bytes :]
        entry = Entry(dict(header["key"]), dict(header["symbols"]), object_code)
        sizes_agree = header["object_bytes"] == len(object_code)
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    texts = [*entry.key_parts.items(), *entry.symbols.items()]
    return entry if sizes_agree and all(isinstance(text, str) for pair in texts for text in pair) else None
