"""The kernel cache: what is kept, what is found again, and everything that must never do harm."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import pytest
from flamework.runtime import cache as cache_module
from flamework.runtime.cache import KernelCache, key_digest, limit_from_environment

KEY = {"source": "def kernel(): pass", "cpu": "znver3", "llvm": "22.1.0"}
SYMBOLS = {"kernel": "flamework_kernel"}
CODE = bytes(range(256)) * 8


@pytest.fixture(autouse=True)
def _warn_afresh(monkeypatch):
    monkeypatch.setattr(cache_module, "_warned", False)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache"


def entry_files(folder):
    return sorted(path for path in Path(folder).rglob("*") if path.is_file() and len(path.name) == 64)


def test_an_entry_is_found_again_by_another_cache_on_the_same_folder(folder):
    KernelCache(folder).put(KEY, CODE, SYMBOLS)
    entry = KernelCache(folder).get(dict(reversed(KEY.items())))
    assert (entry.key_parts, entry.symbols, entry.object_code) == (KEY, SYMBOLS, CODE)


def test_the_path_of_an_entry_names_format_processor_and_digest(folder):
    KernelCache(folder).put(KEY, CODE, SYMBOLS)
    (path,) = entry_files(folder)
    digest = key_digest(KEY)
    assert path.relative_to(folder) == Path("v1", "znver3", digest[:2], digest)


@pytest.mark.parametrize("part", list(KEY))
def test_a_change_in_any_part_of_the_key_misses(folder, part):
    cache = KernelCache(folder)
    cache.put(KEY, CODE, SYMBOLS)
    assert cache.get({**KEY, part: KEY[part] + "x"}) is None
    assert cache.get({name: value for name, value in KEY.items() if name != part}) is None
    assert cache.get({**KEY, "more": ""}) is None


def test_key_parts_cannot_run_into_each_other():
    assert key_digest({"a": "b", "c": "d"}) != key_digest({"a": 'b","c":"d'})
    assert key_digest({"ab": "c"}) != key_digest({"a": "bc"})


def test_an_entry_moved_to_the_name_of_another_key_is_refused(folder):
    cache = KernelCache(folder)
    cache.put(KEY, CODE, SYMBOLS)
    (path,) = entry_files(folder)
    other = {**KEY, "source": "something else"}
    target = folder / "v1" / "znver3" / key_digest(other)[:2] / key_digest(other)
    target.parent.mkdir(exist_ok=True)
    path.rename(target)
    assert cache.get(other) is None


@pytest.mark.parametrize("position", [0, 9, 30, 200, -1, -40])
def test_an_entry_with_any_byte_changed_is_missing_and_removed(folder, position):
    cache = KernelCache(folder)
    cache.put(KEY, CODE, SYMBOLS)
    (path,) = entry_files(folder)
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)
    assert cache.get(KEY) is None
    assert not path.exists()
    cache.put(KEY, CODE, SYMBOLS)
    assert cache.get(KEY).object_code == CODE


@pytest.mark.parametrize("length", [0, 5, 16, 40, 100, 1000])
def test_a_truncated_entry_is_missing(folder, length):
    cache = KernelCache(folder)
    cache.put(KEY, CODE, SYMBOLS)
    (path,) = entry_files(folder)
    path.write_bytes(path.read_bytes()[:length])
    assert cache.get(KEY) is None


def test_random_bytes_are_missing(folder):
    cache = KernelCache(folder)
    cache.put(KEY, CODE, SYMBOLS)
    (path,) = entry_files(folder)
    for size in (1, 16, 48, 300):
        path.write_bytes(os.urandom(size))
        assert cache.get(KEY) is None


def test_a_folder_or_link_in_the_place_of_an_entry_is_missing(folder, tmp_path):
    cache = KernelCache(folder)
    cache.put(KEY, CODE, SYMBOLS)
    (path,) = entry_files(folder)
    elsewhere = tmp_path / "elsewhere"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)
    assert cache.get(KEY) is None
    assert elsewhere.exists()
    cache.put(KEY, CODE, SYMBOLS)
    assert not path.is_symlink()
    path.unlink()
    path.mkdir()
    assert cache.get(KEY) is None


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702])
def test_a_folder_that_others_can_write_is_not_used(folder, mode):
    folder.mkdir()
    folder.chmod(mode)
    with pytest.warns(RuntimeWarning, match="written by other users"):
        cache = KernelCache(folder)
    cache.put(KEY, CODE, SYMBOLS)
    assert cache.folder is None
    assert cache.get(KEY).object_code == CODE
    assert list(folder.iterdir()) == []


def test_an_entry_that_others_can_write_is_not_used(folder):
    cache = KernelCache(folder)
    cache.put(KEY, CODE, SYMBOLS)
    (path,) = entry_files(folder)
    path.chmod(0o666)
    assert cache.get(KEY) is None


def test_a_folder_or_entry_of_another_user_is_not_used(folder, monkeypatch):
    cache = KernelCache(folder)
    cache.put(KEY, CODE, SYMBOLS)
    me = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: me + 1)
    with pytest.warns(RuntimeWarning, match="another user"):
        assert KernelCache(folder).folder is None
    assert cache.get(KEY) is None


def test_a_new_folder_and_its_entries_are_private(folder):
    previous = os.umask(0)
    try:
        KernelCache(folder).put(KEY, CODE, SYMBOLS)
    finally:
        os.umask(previous)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(entry_files(folder)[0].stat().st_mode) == 0o600


@pytest.mark.parametrize("kind", ["file", "below a file", "name too long", "null byte"])
def test_an_impossible_folder_leaves_the_cache_in_memory(tmp_path, kind):
    (tmp_path / "file").write_text("")
    impossible = {
        "file": tmp_path / "file",
        "below a file": tmp_path / "file" / "cache",
        "name too long": tmp_path / ("x" * 300),
        "null byte": f"{tmp_path}/a\0b",
    }[kind]
    with pytest.warns(RuntimeWarning, match="not kept on disk"):
        cache = KernelCache(impossible)
    cache.put(KEY, CODE, SYMBOLS)
    assert cache.get(KEY).object_code == CODE
    assert cache.get({**KEY, "source": ""}) is None


def test_a_full_disk_leaves_the_cache_in_memory_and_no_rubbish(folder, monkeypatch):
    cache = KernelCache(folder)

    def fail(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.warns(RuntimeWarning, match="No space left"):
        cache.put(KEY, CODE, SYMBOLS)
    assert cache.get(KEY).object_code == CODE
    assert [path for path in folder.rglob("*") if path.is_file() and path.suffix == ".tmp"] == []


def test_there_is_one_warning_a_process(tmp_path):
    (tmp_path / "file").write_text("")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(3):
            KernelCache(tmp_path / "file").put(KEY, CODE, SYMBOLS)
    assert len(caught) == 1


def test_a_user_without_a_home_gets_a_cache_in_memory(tmp_path):
    script = """
import os, sys, warnings
os.environ.pop("HOME", None); os.environ.pop("XDG_CACHE_HOME", None); os.environ.pop("FLAMEWORK_CACHE_DIR", None)
import pwd
def nobody(uid): raise KeyError(uid)
pwd.getpwuid = nobody
from flamework.runtime.cache import KernelCache
warnings.simplefilter("ignore")
cache = KernelCache()
cache.put({"a": "b"}, b"code", {})
assert cache.folder is None and cache.get({"a": "b"}).object_code == b"code"
"""
    subprocess.run([sys.executable, "-c", script], check=True, cwd=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_environment_names_folder_and_limit(tmp_path, monkeypatch):
    monkeypatch.setenv("FLAMEWORK_CACHE_DIR", str(tmp_path / "named"))
    monkeypatch.setenv("FLAMEWORK_CACHE_LIMIT", "1.5")
    assert KernelCache().folder == tmp_path / "named"
    assert limit_from_environment() == 3 << 19
    monkeypatch.setenv("FLAMEWORK_CACHE_LIMIT", "0")
    assert KernelCache().folder is None
    for wrong in ("much", "-1", "nan", "inf"):
        monkeypatch.setenv("FLAMEWORK_CACHE_LIMIT", wrong)
        with pytest.warns(UserWarning, match="FLAMEWORK_CACHE_LIMIT"):
            assert limit_from_environment() == 512 << 20


def test_pruning_removes_what_was_unused_for_longest(folder):
    cache = KernelCache(folder, limit=10 * 4096)
    keys = [{**KEY, "source": str(number)} for number in range(20)]
    now = time.time()
    for age, key in enumerate(keys):
        cache.put(key, bytes(3500), SYMBOLS)
        path = folder / "v1" / "znver3" / key_digest(key)[:2] / key_digest(key)
        if path.exists():
            os.utime(path, (now, now - 1000 + age))
    cache.prune()
    assert sum(path.stat().st_size for path in entry_files(folder)) <= 10 * 4096
    assert cache.get(keys[-1]) is not None
    assert cache.get(keys[0]) is None


def test_much_writing_keeps_the_folder_within_its_limit(folder):
    cache = KernelCache(folder, limit=64 * 1024)
    for number in range(200):
        cache.put({**KEY, "source": str(number)}, bytes(2000), SYMBOLS)
    assert sum(path.stat().st_size for path in entry_files(folder)) <= 64 * 1024 * 9 // 8 + 4096


def test_pruning_removes_leftovers_of_interrupted_writers_only_when_old(folder):
    cache = KernelCache(folder)
    cache.put(KEY, CODE, SYMBOLS)
    old, new = folder / "v1" / ".1-1-aa.tmp", folder / "v1" / ".2-1-bb.tmp"
    for path in (old, new):
        path.write_bytes(b"half an entry")
    os.utime(old, (0, 0))
    cache.prune()
    assert not old.exists()
    assert new.exists()
    assert cache.get(KEY) is not None


def test_a_hit_marks_an_entry_as_used_once_a_day(folder):
    cache = KernelCache(folder)
    cache.put(KEY, CODE, SYMBOLS)
    (path,) = entry_files(folder)
    an_hour_ago, two_days_ago = time.time() - 3600, time.time() - 2 * 86400
    os.utime(path, (an_hour_ago, an_hour_ago))
    cache.get(KEY)
    assert path.stat().st_mtime == pytest.approx(an_hour_ago, abs=2)
    os.utime(path, (two_days_ago, two_days_ago))
    cache.get(KEY)
    assert path.stat().st_mtime == pytest.approx(time.time(), abs=60)


def test_threads_that_read_write_and_delete_never_see_a_wrong_entry(folder):
    caches = [KernelCache(folder) for _ in range(3)]
    keys = [{**KEY, "source": str(number)} for number in range(8)]
    faults = []

    def work(cache, seed):
        for step in range(150):
            number = (seed * 7 + step) % len(keys)
            if step % 11 == seed:
                for path in entry_files(folder):
                    path.unlink(missing_ok=True)
            cache.put(keys[number], str(number).encode() * 1000, SYMBOLS)
            entry = cache.get(keys[(number + 3) % len(keys)])
            if entry is not None and entry.object_code != str((number + 3) % len(keys)).encode() * 1000:
                faults.append(number)

    threads = [threading.Thread(target=work, args=(cache, seed)) for seed, cache in enumerate(caches)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []


def test_strange_processor_names_stay_inside_the_folder(folder):
    cache = KernelCache(folder)
    for name in ("../../x", "a/b", "", "..", "x" * 500, "n\0ul"):
        cache.put({**KEY, "cpu": name}, CODE, SYMBOLS)
        assert cache.get({**KEY, "cpu": name}).object_code == CODE
    assert cache.folder is not None
    assert {path.parents[3] for path in entry_files(folder)} == {folder}


def test_log_tells_hits_and_misses(tmp_path):
    script = f"""
from flamework.runtime.cache import KernelCache
cache = KernelCache({str(tmp_path / "c")!r})
cache.get({KEY!r}); cache.put({KEY!r}, b"x", {{}}); cache.get({KEY!r})
"""
    environment = {**os.environ, "FLAMEWORK_LOG": "cache"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, check=True, capture_output=True, text=True)
    lines = done.stderr.splitlines()
    assert [line.split()[1] for line in lines] == ["miss", "stored", "hit"]
    assert all(line.startswith("[flamework:cache] ") for line in lines)
