"""Files to load: what ``save`` writes, archives of any records, and pickles that are written operation by operation."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections import OrderedDict

import flamework


def made_by_pytorch(torch):
    x = torch.arange(6.0).reshape(2, 3)
    small = torch.tensor([1.0, -2.0], dtype=torch.bfloat16)
    return {
        "whole": x, "transposed": x.t(), "part": x[1:, 1:], "parameter": torch.nn.Parameter(small),
        "buffer": torch.nn.Buffer(torch.ones(1)), "scalar": torch.tensor(True),
        "empty": torch.empty(2, 0, dtype=torch.int64),
        "more": [torch.Size([2]), torch.float16, b"\x00\xff", 2**70, 1 + 2j, {3}, x.layout],
        "state": OrderedDict(a=1.5),
    }


def saved(obj, package=flamework, **options):
    """The bytes of a file."""
    file = io.BytesIO()
    package.save(obj, file, **options)
    return file.getvalue()


def loaded(data, package=flamework, **options):
    return package.load(io.BytesIO(data), **options)


def copied(obj, **options):
    return loaded(saved(obj, **options))


def archive(records, compression=zipfile.ZIP_STORED, root="archive"):
    """An archive of records by name."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as made:
        for name, data in records.items():
            made.writestr(f"{root}/{name}", data)
    return file.getvalue()


def archive_of(data):
    """The records of an archive by name."""
    with zipfile.ZipFile(io.BytesIO(data)) as made:
        return {name.partition("/")[2]: made.read(name) for name in made.namelist()}


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value


def number(value):
    data = pickle.encode_long(value)
    return b"\x8b" + struct.pack("<i", len(data)) + data


def numbers(values):
    return b"(" + b"".join(map(number, values)) + b"t"


def storage(kind=b"ctorch\nFloatStorage\n", key=b"0", location=b"cpu", numel=6, tag=b"storage"):
    return b"(" + text(tag) + kind + text(key) + text(location) + number(numel) + b"tQ"


def tensor(size=(2, 3), stride=(3, 1), offset=0, requires_grad=b"\x89", hooks=b"}", **options):
    """The operations of a pickle that make a tensor."""
    return (b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage(**options) + number(offset) + numbers(size)
            + numbers(stride) + requires_grad + hooks + b"tR")


def with_pickle(operations, **records):
    return archive({"data.pkl": b"\x80\x02" + operations + b".", "data/0": bytes(24), "version": b"3\n", **records})
