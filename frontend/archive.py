"""The zip archives that tensors are saved in: PyTorch's layout, written and read without compression.

Every record begins at a multiple of 64 bytes of the file, so that a mapped file can be used as it is. Reading trusts
nothing that the archive says about itself: a record has to lie inside of the file and apart from the others, so that
all records together take no more memory than the file does.

In: a pickle and storages. Out: a file, and back. Read next: ``restricted_pickle.py``.
"""

from __future__ import annotations

import contextlib
import mmap
import struct
import sys
import zlib
from pickle import UnpicklingError
from typing import IO, TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import zipfile

ALIGNMENT = 64

# Records from this size on have 64-bit sizes.
LARGE = 1 << 31

# The newest version of the layout that PyTorch has described.
_NEWEST_VERSION = 10

_LOCAL_HEADER = struct.Struct("<4s22xHH")
_STORED = 0
# Read in parts that stay in the processor's cache until their checksum is known.
_CHUNK = 1 << 20


def write_archive(file: IO[bytes], data: bytes, storages: dict[str, np.ndarray]) -> None:
    """Write the pickle ``data`` and the bytes of the storages it refers to, by key."""
    import zipfile

    # `.format_version` is left out: it promises that records lie where miniz, which PyTorch writes with, puts them,
    # and PyTorch then computes where they are. Without it, it looks.
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        _write(archive, "data.pkl", data)
        _write(archive, ".storage_alignment", str(ALIGNMENT).encode())
        _write(archive, "byteorder", sys.byteorder.encode())
        for key, memory in storages.items():
            _write(archive, f"data/{key}", memory)
        _write(archive, "version", b"3\n")


def _write(archive: zipfile.ZipFile, name: str, data: bytes | np.ndarray) -> None:
    import zipfile

    # The same bytes whenever it is written: no time of day.
    record = zipfile.ZipInfo(f"archive/{name}", (1980, 1, 1, 0, 0, 0))
    size = memoryview(data).nbytes
    large = size >= LARGE
    # The header is 30 bytes, the name, for large records 20 bytes of sizes, and a field of zeros that fills up.
    end = archive.start_dir + 30 + len(record.filename) + 20 * large + 4
    padding = -end % ALIGNMENT
    record.extra = b"FB" + struct.pack("<H", padding) + bytes(padding)
    with archive.open(record, "w", force_zip64=large) as stream:
        stream.write(data)


class Archive:
    """An archive that is read.

    Args:
        file: a seekable file that was opened for reading.
        mapped: make arrays of the file's own memory, mapped privately.

    Attributes:
        swapped: whether its numbers have the other byte order than this machine's.

    Raises:
        pickle.UnpicklingError: it is no archive, or not of PyTorch's layout.
    """

    def __init__(self, file: IO[bytes], mapped: bool) -> None:
        import zipfile

        self.file = file
        try:
            with zipfile.ZipFile(file) as listing:
                entries = listing.infolist()
                end = listing.start_dir
        except (zipfile.BadZipFile, ValueError, struct.error, RuntimeError, OverflowError, OSError, EOFError,
                IndexError) as error:
            raise UnpicklingError(f"the file is a damaged zip archive: {error}") from error
        # By name, where the bytes begin, how many there are, and their checksum.
        self.records: dict[str, tuple[int, int, int]] = {}
        for entry in entries:
            if entry.filename in self.records:
                raise UnpicklingError(f"the archive has two records {entry.filename!r:.80}")
            self.records[entry.filename] = (self._start(entry), entry.file_size, entry.CRC)
        before = 0
        for header, (start, size, _) in sorted(
            zip((entry.header_offset for entry in entries), self.records.values())
        ):
            if header < before or start + size > end:
                raise UnpicklingError("the archive's records overlap, or reach beyond it")
            before = start + size
        roots = [name[: -len("/data.pkl")] for name in self.records if name.endswith("/data.pkl")]
        if len(roots) != 1 or "/" in roots[0]:
            raise UnpicklingError("the zip archive holds no data.pkl in its one folder: PyTorch did not save it")
        self.root = roots[0]
        if self.has("constants.pkl"):
            raise UnpicklingError("the file is a TorchScript archive, a program, and holds no saved object")
        version = self.read("version").strip() if self.has("version") else b""
        if not (version.isdigit() and len(version) < 4 and int(version) <= _NEWEST_VERSION):
            raise UnpicklingError(f"the archive's version is not known: {version!r:.20}")
        order = self.read("byteorder") if self.has("byteorder") else b"little"
        if order not in (b"little", b"big"):
            raise UnpicklingError(f"Unknown endianness type: {order!r:.20}")
        self.swapped = order.decode() != sys.byteorder
        self.map = None
        if mapped:
            # Writes go to copies of the pages: the file stays as it is.
            self.map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)

    def has(self, name: str) -> bool:
        return f"{self.root}/{name}" in self.records

    def read(self, name: str) -> bytes:
        """All bytes of a record."""
        return bytes(self._copied(*self._found(name)))

    def array(self, name: str, nbytes: int, swapped: int) -> np.ndarray:
        """The first ``nbytes`` bytes of a record as an array of uint8 that nobody else has.

        Args:
            swapped: size of the words that are turned around where the archive has another byte order.
        """
        start, size, checksum = self._found(name)
        # PyTorch counts whole elements: bytes that make up none may follow
        if not nbytes <= size < nbytes + 16:
            raise UnpicklingError(f"the record {name:.40} has {size} bytes, but {nbytes} are needed")
        if self.map is not None and not self.swapped:
            return np.frombuffer(self.map, np.uint8)[start : start + nbytes]
        memory = self._copied(start, size, checksum)[:nbytes]
        return memory.view(f"u{swapped}").byteswap().view(np.uint8) if self.swapped and swapped > 1 else memory

    def _found(self, name: str) -> tuple[int, int, int]:
        record = self.records.get(f"{self.root}/{name}")
        if record is None:
            raise UnpicklingError(f"the archive has no record {name!r:.80}")
        return record

    def _start(self, entry: zipfile.ZipInfo) -> int:
        """Where the bytes of a record begin."""
        name = entry.filename
        if entry.compress_type != _STORED or entry.compress_size != entry.file_size:
            raise UnpicklingError(f"the record {name!r:.80} is compressed, which those of saved tensors are not")
        if entry.flag_bits & 1:
            raise UnpicklingError(f"the record {name!r:.80} is encrypted")
        header = b""
        if entry.header_offset >= 0:
            with contextlib.suppress(OSError, OverflowError):
                self.file.seek(entry.header_offset)
                header = self.file.read(_LOCAL_HEADER.size)
        if len(header) != _LOCAL_HEADER.size or header[:4] != b"PK\x03\x04":
            raise UnpicklingError(f"the record {name!r:.80} is not where the archive says")
        _, name_length, extra_length = _LOCAL_HEADER.unpack(header)
        return entry.header_offset + _LOCAL_HEADER.size + name_length + extra_length

    def _copied(self, start: int, size: int, checksum: int) -> Any:
        memory = np.empty(size, np.uint8)
        self.file.seek(start)
        rest, found = memoryview(memory), 0
        while rest:
            part = rest[:_CHUNK]
            if hasattr(self.file, "readinto"):
                count = self.file.readinto(part)
            else:
                data = self.file.read(len(part))
                count = len(data)
                part[:count] = data
            if not count:
                raise UnpicklingError("the file ends inside of a record")
            found = zlib.crc32(part[:count], found)
            rest = rest[count:]
        if found != checksum:
            raise UnpicklingError("a record's checksum is wrong: the file is damaged")
        return memory
