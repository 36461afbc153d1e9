"""Files that are damaged, or were made to do harm: each is refused, or holds tensors that can be read."""

import pickle
import random
import struct
import sys
import zipfile

import flamework
import pytest
from saved_files import (
    archive,
    archive_of,
    loaded,
    made_by_pytorch,
    number,
    saved,
    tensor,
    text,
    with_pickle,
)

TENSORS = {
    "a size too large": tensor(size=(2, 4)),
    "a stride too large": tensor(stride=(4, 1)),
    "an offset too large": tensor(offset=1),
    "an offset beyond memory": tensor(offset=2**62),
    "a negative size": tensor(size=(-2, 3)),
    "a negative stride": tensor(stride=(-3, 1), offset=3),
    "a negative offset": tensor(offset=-1),
    "sizes that overflow": tensor(size=(2**40, 2**40), stride=(0, 0)),
    "a size of more than 64 bits": tensor(size=(2**70, 0), stride=(1, 1)),
    "strides that overflow": tensor(size=(2, 3), stride=(2**63 - 1, 2**63 - 1)),
    "too few strides": tensor(stride=(1,)),
    "too many axes": tensor(size=(1,) * 65, stride=(1,) * 65),
    "a negative number of elements": tensor(numel=-6),
    "more elements than there are": tensor(numel=2**40),
    "far more elements than there are": tensor(numel=2**62),
    "fewer elements than there are": tensor(size=(1,), stride=(1,), numel=1),
    "an unknown dtype": tensor(kind=b"ctorch\nQInt8Storage\n"),
    "no dtype": tensor(kind=b"ctorch.storage\nUntypedStorage\n"),
    "a dtype that is no storage": tensor(kind=b"ctorch\nfloat32\n"),
    "an unknown persistent id": tensor(tag=b"module"),
    "a key that is a path": tensor(key=b"../data.pkl"),
    "a key that is not there": tensor(key=b"1"),
    "a storage of two types": b"(" + tensor() + tensor(kind=b"ctorch\nIntStorage\n") + b"t",
    "a storage of two sizes": b"(" + tensor() + tensor(numel=5, size=(1,), stride=(1,)) + b"t",
    "a persistent id that is no tuple": number(3) + b"Q",
    "a storage that is a number": b"ctorch._utils\n_rebuild_tensor_v2\n(K\x01K\x00))\x89}tR",
    "a hook": tensor(hooks=b"}K\x01K\x02s"),
    "a gradient flag that is a tensor": tensor(requires_grad=tensor()),
    "an integer with a gradient": tensor(kind=b"ctorch\nIntStorage\n", requires_grad=b"\x88"),
    "a parameter of integers": b"ctorch._utils\n_rebuild_parameter\n(" + tensor(kind=b"ctorch\nIntStorage\n")
                               + b"\x88}tR",
    "a parameter's method replaced": b"ctorch._utils\n_rebuild_parameter_with_state\n(" + tensor() + b"\x88}}"
                                     + text(b"backward") + b"K\x01stR",
    "a size of texts": b"ctorch\nSize\n((" + text(b"a") + b"ttR",
    "a device that is none": b"ctorch\ndevice\n(" + text(b"nowhere") + b"tR",
    "a layout that is none": b"ctorch.serialization\n_get_layout\n(" + text(b"torch.sparse_csr") + b"tR",
}


@pytest.mark.parametrize("case", TENSORS)
def test_tensors_that_cannot_be_are_refused(case):
    with pytest.raises(pickle.UnpicklingError):
        loaded(with_pickle(TENSORS[case]))


def test_the_templates_of_hostile_files_are_right():
    assert loaded(with_pickle(tensor())).tolist() == [[0, 0, 0], [0, 0, 0]]
    assert loaded(with_pickle(tensor(size=(2**40, 0), stride=(1, 1), offset=2**40))).shape == (2**40, 0)
    assert loaded(with_pickle(tensor(size=(3, 4), stride=(0, 1), offset=2))).tolist() == [[0] * 4] * 3


def test_messages_say_what_was_found():
    for operations, message in (
        (TENSORS["a size too large"], r"sizes \(2, 4\).*needs 7 elements, but its storage has 6"),
        (TENSORS["an unknown dtype"], "torch.QInt8Storage"), (TENSORS["an unknown persistent id"], "module"),
        (TENSORS["a key that is a path"], "data.pkl"), (b"cos\nsystem\n", "os.system"),
    ):
        with pytest.raises(pickle.UnpicklingError, match=message):
            loaded(with_pickle(operations))


CALLS = {
    "a function of Python's": b"cbuiltins\neval\n(" + text(b"1/0") + b"tR",
    "a program": b"cos\nsystem\n(" + text(b"exit 1") + b"tR",
    "a name with dots": b"\x80\x04" + text(b"torch") + text(b"nn.Module") + b"\x93",
    "a method of a class": b"\x80\x04" + text(b"builtins") + text(b"bytes.fromhex") + b"\x93",
    "a name that is no text": b"K\x01K\x02\x93",
    "an old instance": b"(ios\nsystem\n",
    "an old object": b"(ctorch\nSize\no",
    "an extension": b"\x82\x01",
    "a new object": b"ccollections\nOrderedDict\n)\x81",
    "a class called": b"ctorch\nTensor\n)R",
    "a dtype called": b"ctorch\nfloat32\n)R",
    "a storage called": b"ctorch\nFloatStorage\n)R",
    "a list called": b"])R",
    "arguments that are a list": b"ctorch\nSize\n]R",
    "attributes of a class": b"ctorch\nSize\n}" + text(b"numel") + b"K\x01sb",
    "attributes of a function": b"ctorch._utils\n_rebuild_tensor_v2\n}" + text(b"name") + b"K\x01sb",
    "attributes of a dtype": b"ctorch\nfloat32\n}" + text(b"itemsize") + b"K\x01sb",
    "attributes of a tensor": tensor() + b"}" + text(b"_node") + b"K\x01sb",
    "a method of a dictionary replaced": b"ccollections\nOrderedDict\n)R}" + text(b"keys") + b"K\x01sb",
    "an attribute that is no text": b"ccollections\nOrderedDict\n)R}K\x01K\x01sb",
    "an item of a tensor": tensor() + b"K\x00K\x01s",
    "an item appended to a tensor": tensor() + b"K\x00a",
    "an item added to a list": b"\x80\x04](K\x01\x90",
    "memory without end": b"cbuiltins\nbytearray\n(" + number(2**40) + b"tR",
    "a text of which there is little": b"X\xff\xff\xff\x7fabc",
    "bytes of which there are few": b"\x8e" + struct.pack("<Q", 2**62) + b"abc",
    "a number of which there is little": b"\x8b\xff\xff\xff\x7fabc",
    "an empty stack": b"0",
    "a result that is not there": b"",
    "a mark that is not there": b"t",
    "a memo that is not there": b"h\x05",
    "a key that cannot be hashed": b"}]K\x01s",
    "a key without a value": b"}(K\x01u",
    "a key of a key": b"}K\x01\x85\x85K\x01s",
    "an encoding that is none": b"c_codecs\nencode\n(" + text(b"a") + text(b"rot13") + b"tR",
    "a set of a text": b"cbuiltins\nset\n(" + text(b"abc") + b"tR",
    "a set of a tensor": b"cbuiltins\nset\n(" + tensor() + b"tR",
}


@pytest.mark.parametrize("case", CALLS)
def test_nothing_that_a_file_chooses_is_called(case):
    with pytest.raises(pickle.UnpicklingError):
        loaded(with_pickle(CALLS[case]))
    legacy = saved(1, _use_new_zipfile_serialization=False)
    with pytest.raises(pickle.UnpicklingError):
        loaded(legacy.replace(b"\x80\x02K\x01.", b"\x80\x02" + CALLS[case] + b"."))


def test_nothing_is_imported_for_a_file(tmp_path, monkeypatch):
    (tmp_path / "trap.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(pickle.UnpicklingError, match="trap.thing"):
        loaded(with_pickle(b"ctrap\nthing\n"))
    assert "trap" not in sys.modules


def test_depth_overflows_no_stack():
    depth = 200_000
    for opening, closing in ((b"]" * depth, b"a" * (depth - 1)), (b")", b"\x85" * depth)):
        value = loaded(with_pickle(opening + closing))
        for _ in range(10):
            value = value[0]
        assert value
    doubled = b")" + b"2\x86" * 200
    assert len(loaded(with_pickle(doubled))) == 2
    with pytest.raises(pickle.UnpicklingError, match="nested tuple"):
        loaded(with_pickle(b"}" + doubled + b"K\x01s"))


def test_copies_of_copies_are_bounded():
    many = b"]q\x00(" + b"K\x01" * 1000 + b"e"
    assert loaded(with_pickle(b"cbuiltins\nset\n(" + many + b"tR")) == {1}
    with pytest.raises(pickle.UnpicklingError, match="more memory"):
        loaded(with_pickle(many + b"cbuiltins\nset\n(h\x00tR0" * 1000))


def test_a_cycle_comes_back():
    ring = loaded(with_pickle(b"]q\x00h\x00a"))
    assert ring[0] is ring


def test_bools_that_are_neither_true_nor_false_become_true():
    x = loaded(with_pickle(tensor(kind=b"ctorch\nBoolStorage\n"), **{"data/0": bytes([0, 1, 2, 255, 128, 0])}))
    assert x.tolist() == [[False, True, True], [True, True, False]]
    assert x.sum().item() == 4 and (~x).sum().item() == 2


def damaged():
    good = saved([flamework.ones(300), {"a": flamework.arange(5)}])
    records = archive_of(good)
    twice = archive({"data.pkl": records["data.pkl"], "datb/0": bytes(24), "data/0": bytes(24)})
    yield "nothing", b""
    yield "a text", b"a text"
    yield "the beginning of an archive", b"PK\x03\x04"
    yield "half an archive", good[: len(good) // 2]
    yield "no end", good[:-10]
    yield "a changed element", good.replace(struct.pack("<f", 1), struct.pack("<f", 2), 1)
    yield "a cut record", archive({**records, "data/0": records["data/0"][:-4]})
    yield "a long record", archive({**records, "data/0": records["data/0"] + bytes(100)})
    yield "no pickle", archive({"data/0": b""})
    yield "an empty pickle", archive({**records, "data.pkl": b""})
    yield "a cut pickle", archive({**records, "data.pkl": records["data.pkl"][:-20]})
    yield "no storage", archive({k: v for k, v in records.items() if k != "data/1"})
    yield "another version", archive({**records, "version": b"99\n"})
    yield "no version", archive({**records, "version": b"three"})
    yield "another byte order", archive({**records, "byteorder": b"middle"})
    yield "a program", archive({**records, "constants.pkl": b""})
    yield "a path out of the archive", archive(records, root="../archive")
    yield "an absolute path", archive(records, root="/archive")
    yield "two records of one name", twice.replace(b"datb/0", b"data/0")
    yield "a bomb", archive({**records, "data/0": bytes(1 << 24)}, zipfile.ZIP_DEFLATED)
    entry = good.index(b"PK\x01\x02")
    yield "a record beyond the end", good[: entry + 42] + struct.pack("<I", 2**31) + good[entry + 46 :]
    yield "a size beyond the end", good[: entry + 20] + struct.pack("<II", 2**31, 2**31) + good[entry + 28 :]
    second = good.index(b"PK\x01\x02", entry + 4)
    yield "records that overlap", good[: second + 42] + good[entry + 42 : entry + 46] + good[second + 46 :]


@pytest.mark.parametrize("data", [pytest.param(data, id=name) for name, data in damaged()])
@pytest.mark.parametrize("mapped", [False, True], ids=["read", "mapped"])
def test_damaged_archives_are_refused(data, mapped, tmp_path, request):
    path = tmp_path / "x.pt"
    path.write_bytes(data)
    if mapped and "a changed element" in request.node.name:
        assert flamework.load(path, mmap=True)[0][0].item() == 2
    elif mapped and data[:2] != b"PK":
        with pytest.raises(RuntimeError, match="mmap can only be used"):
            flamework.load(path, mmap=True)
    else:
        with pytest.raises(pickle.UnpicklingError):
            flamework.load(path, mmap=mapped)


@pytest.mark.parametrize("cut", [1, 5, 24, 100, 130])
def test_cut_files_of_the_older_format_are_refused(cut):
    data = saved([flamework.ones(6), flamework.arange(5)], _use_new_zipfile_serialization=False)
    with pytest.raises(pickle.UnpicklingError):
        loaded(data[:-cut])


def test_counts_of_the_older_format_are_checked():
    data = saved(flamework.ones(6), _use_new_zipfile_serialization=False)
    assert loaded(data).tolist() == [1] * 6
    for count in (5, 7, 2**40, -1):
        with pytest.raises(pickle.UnpicklingError, match="another number of elements"):
            loaded(data.replace(struct.pack("<q", 6), struct.pack("<q", count)))
    with pytest.raises(pickle.UnpicklingError, match="list of storages"):
        loaded(data.replace(b"X\x01\x00\x00\x000q\x01a.", b"."))


@pytest.mark.parametrize("target", ["pickle", "file", "legacy"])
def test_files_with_random_damage_load_or_are_refused(target):
    obj = made_by_pytorch(flamework)
    data = saved(obj, _use_new_zipfile_serialization=target != "legacy")
    records = archive_of(data) if target == "pickle" else None
    original = records["data.pkl"] if records else data
    choose = random.Random(0)
    refused = 0
    for _ in range(300):
        changed = bytearray(original)
        for _ in range(choose.randint(1, 3)):
            at = choose.randrange(len(changed))
            kind = choose.random()
            if kind < 0.5:
                changed[at] = choose.randrange(256)
            elif kind < 0.7:
                del changed[at : at + choose.randint(1, 8)]
            else:
                source = choose.randrange(len(changed))
                changed[at:at] = changed[source : source + choose.randint(1, 40)]
        data = archive({**records, "data.pkl": bytes(changed)}) if records else bytes(changed)
        try:
            back = loaded(data, map_location="cpu")
        except pickle.UnpicklingError:
            refused += 1
        else:
            # what is loaded can be read
            assert len(repr(back)) > 0
    assert 100 < refused <= 300
