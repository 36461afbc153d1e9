"""Saving and loading: both directions with PyTorch where it is installed, and files made by it where it is not."""

import base64
import copy
import doctest
import fractions
import io
import json
import math
import pickle
import struct
import sys
import zipfile
import zlib
from collections import Counter, OrderedDict

import flamework
import numpy as np
import pytest
from saved_files import archive, archive_of, copied, loaded, made_by_pytorch, saved, tensor

# What PyTorch 2.13 wrote of `made_by_pytorch(torch)`, compressed.
ARCHIVE = (
    "c-o~_OK%%h6uy2Ynb161AZZHW4GyG^AMqpU!^SNRbV}<?Qg8!dn2c}YDPxb%%yrsSsuT&?q-=Qn00avbNbFe_iC<6&u|i_O0<nS}EV*~C<IGIr"
    "hBjBe9((3|=ljmN=NwH*3<MGC???OA2s(}wQ>|*7c&4HdCEEB%FBXQ-ife8A?*NLFLlkhcYUmhzDlsT3DmRIyTY_xjwWg+5WP<CKVal5c0sN6j"
    "xsL)YYN>2s2ylo{)D49!@tXn!%RXuogHSm@uWF+SVKGdgZ&5^|UktRNUkr%8HVoWVRYTXYN;IQx30KVuHgV;mrV;^!DG3G%JSM@hvOv8MQ>j}G"
    "!@?C9s!|!%Ks8tmRc*(^%yB^Uw_!x|G5@1?s|<gfzzGQ+FVi%khGG(U!i#)zQ4CTDMUHVv;~aUCz=Q;+$^#s!)G)y&Jk=vXT?+x8<_w**6zsgj"
    ")7{KW+L?*NGnC#>;8{B(EqG4!wcvS9{Q`j(C3tDa{`2xD@QMVHa+spln(OOS#MG_`ek^+`)=i@(ldT4}PwLf3)!$LE%nji+9=k0e0n=21kHBdr"
    "fwD*0*9?~sBM`p>iHM!}1~x6tqGSY;JN6w}v*eDL*_|eVlmuy8p`|LiVnW891H;g}@n>!FB+PO0c}hMt#YxW)I4i+9yB=|^LAKz$%g<$_zR~rQ"
    "v;E9Mp87!qUgwpC+EAdUNssXY_j!@P8xj=l0;m}#hJ{slGtzOmq}`^T-eUQ`)B;h0%bf@7{Lln=Ta{I#f>levb@oGmD|SVrpYFj`J7QfST0IV>"
    "HY`dYeLAq)fq7My*{RT{vMi`Zt)b&v0xT`${^kY?`Hp29mL<66GPf|T|94j5T`{1vpe(`l&XHT#)D&I2t+0L(<PA(@UD-04)O@9Uj5P^2Bc@iN"
    "eezxl-j`q%+bOk(LNI(_r$x52r@)5`xqrC|s~Ihcef<;PT@Mb^WU*c9IbO!lba%W&*A26#5P6eTiBT^WBAzMJd&L>!4}bmoF%!dfZ^j9f*<<X?"
    "9+_rhqh6zRSu7;~H>qQ#XPJQ9P59GKDf|x<Fp6?r0c%?X8*Ee+3uhjMcX#O;Av$InTIYU0$*L**Kn+9aylbk@#EOOaBM9JLw{xsq>4)xZy1&jd"
    "MPr};@x?fOFn)-lX}6;I!<;{5{*iIb4_vv$8Z>waSKiH)C>G8hCH*TbcE*3>#y8(T0)O(T{60p0>bKCh?)paul3#F>&lU^0Baze9JJw-zqD$9p"
    ">|rloQeXkx|7zpf;r%m-5_=77N8p-evQ{Y;q7NBRES5^e=VI|}Dw&8SQ**IQHWSYzQnB=0HkC@y+p%mWnNBj5>CZ}+B2-7jR_SA6yE>giZ)Bfx"
    "?|YON?HpiZE~Fepy~d>1iE{`|xSZT~I@ve*yndX6WYpzH3ZeZ2%nNsR{g4a(O9**pj~DCgVmG!L_F&^)tg{2%*q^=Fgcs{<AUAfo&x1|wVh?UH"
    "SK7VUSud}%?uT92d_VGbj~DDL$4M9XO9%MiMk$Hm@bqq51x|O7gP!X>9xBRqUP>sAy}6@*ItF~=gu)y%Xxnq!{{SeC;r{"
)
LEGACY = (
    "c-nnbTXWk)7}do|sGz0Law*qxDRl~j#<3imTS8kBK)ppNR9wQM$eT!vto4!Bg>)t}d9g|R8+hm={{m+CHN5q)%<#asS~+cI3>s@kyL)`Tv*-K1"
    "-LvjG=|8`&{C)bz->#pU+q16xWz)C|qaGYL45Ob5DI$@wTRblkk-;QDaFlk^M9P#io^_KjgS8(xv?zD_oE6D!UclZ(tsYF#ViAj6V#>1un`TKS"
    "G40iYn&J@IHfFrqU@(rU@IS>O<uD^D@+h8T1DT|S!*aekNYXBoJS#-bZZ#ZO^?ER)0uVCX=CJi&oRw6Ba$PSvs0GIe(`mY{+ibb*g+{Y|9#f^3"
    "s6QYr(^n;C);z<rJbQ%4JliuzIC3YVW2Zclbn3#nmUns1yO)wkI&fxvJTCEskE8n3d6*S_QSdH~#Uv`W<B36^jCHW%DwyqABRu7qD(2I7V#Rqv"
    ";-rsfN^ANddG_r8u{~F@J-_DFh=$lsY3VO$wihK{^6_$TM6-oGE_seu{=?P-go9Ug)XK~YrJM7u13yncDyG?5aGUKmUL!FUiFv*BafmlObBH&!"
    "kTVi*`8c~@PU^pa#&f|macmB@wn)<3V@W!-4>fJ&qQ}aTQrUi|9$S^B8ybjrC%CidHr-AGb0o+lLGLL+q~*LC=Cz=P#KJC`^)h*VRoDfEmT+|u"
    "v!q~^wATJWV$nyt)LTSh8s_L6_D6{Hz?=6EOX;``O4J9Hln+VD?5vjXk;KP7mdbkPy}sPR@*&pC)ENh?pFCuB-A1Rq*yyxyfmjV<y{IeK7~v9C"
    "0j2*_9brXc)yHRLG4({w@%aY6s8{ss)S?bNm8r`^T=8+W+St;`c5p3Xk?8WMaCoLZ99%D3#`yDhtd(x0p-i%Q_#>?QxN%pNS@|qSjH&$5E@Mt4"
    "di|9D?BL7QrTZGNx?CYg_{zu4L-2xAe+3)(+OxwUzVY#GRU8G+lQ2zghpHbPw#_9=!yPdo_;=-fRKaAPbg2(FhWOqG<N5-Uq2&0Xv?UBoS_!ea"
    "y7WM+DAeV%p)Q{Zb!|?nEo)Mi?MXdao0PdJK4(=9>@698m}BE;HvTrJjYl7Xk+1ZlcaPqCV+W0Y0cHA++y"
)

DTYPES = flamework.compiler.dtypes.ALL
FORMATS = pytest.mark.parametrize("archive", [True, False], ids=["archive", "legacy"])


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


def alike(ours, theirs):
    """Assert that tensors, in this package and in another, have the same elements, strides and flags."""
    assert str(ours.dtype) == str(theirs.dtype)
    assert tuple(ours.shape) == tuple(theirs.shape)
    assert ours.stride() == theirs.stride() and ours.storage_offset() == theirs.storage_offset()
    assert ours.requires_grad == theirs.requires_grad
    assert ours.tolist() == theirs.tolist()


# ------------------------------------------------------------------------------------------------------- round trips


@FORMATS
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype_comes_back(dtype, archive):
    values = flamework.tensor([0, 1, 1, 0, 1, 0]).to(dtype).reshape(2, 3)
    x, cut, nothing, one = copied(
        [values, values.t()[1:], values[:0], values[0, 1]], _use_new_zipfile_serialization=archive
    )
    for ours, before in ((x, values), (cut, values.t()[1:]), (nothing, values[:0]), (one, values[0, 1])):
        alike(ours, before)
    assert x.dtype is dtype


@FORMATS
def test_plain_objects_come_back(archive):
    obj = {
        "numbers": [0, 255, 256, 65536, -1, 2**31, -(2**70), 1.5, math.inf, 1 - 2j, True, None],
        "text": ("", "ä", "x" * 300), "bytes": [b"", b"\x00\xff" * 200, bytearray(b"ab"), bytearray()],
        "sets": [set(), {1, "a"}, frozenset({2})], ("a", 1): (), 3: ((1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)),
        "ordered": OrderedDict([("b", 1), ("a", 2)]), "counts": Counter("aab"),
        "ours": [flamework.Size([2, 3]), flamework.float16, flamework.device("cuda:1"), flamework.strided],
    }
    back = copied(obj, _use_new_zipfile_serialization=archive)
    assert back == obj
    assert [type(v) for v in back.values()] == [type(v) for v in obj.values()]
    assert type(back["ours"][0]) is flamework.Size and back["ours"][1] is flamework.float16
    assert type(back["ordered"]) is OrderedDict and type(back["counts"]) is Counter


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_any_protocol_can_be_read(protocol):
    back = copied({"a": [flamework.ones(2), b"x", {1}], "b": "t" * 300}, pickle_protocol=protocol)
    assert back["a"][0].tolist() == [1, 1] and back["a"][1:] == [b"x", {1}] and back["b"] == "t" * 300


@FORMATS
def test_views_share_their_storage_after_loading(archive):
    x = flamework.arange(24.0).reshape(4, 6)
    views = [x[1:3, ::2], x.t(), x, x.reshape(-1)[5:], x.diagonal(), x[0].expand(3, 6), x.unfold(1, 2, 2)]
    back = copied(views, _use_new_zipfile_serialization=archive)
    for ours, before in zip(back, views):
        alike(ours, before)
    back[0].fill_(-1)
    x[1:3, ::2].fill_(-1)
    for ours, before in zip(back, views):
        assert ours.tolist() == before.tolist()


def test_a_storage_is_written_once_and_whole():
    x = flamework.arange(1000.0)
    with zipfile.ZipFile(io.BytesIO(saved([x[:2], x[3:], x[:0]]))) as archive:
        sizes = {entry.filename: entry.file_size for entry in archive.infolist() if "/data/" in entry.filename}
    assert sizes == {"archive/data/0": 4000}


def test_the_same_object_is_one_object_after_loading():
    x, w = flamework.ones(2), flamework.nn.Parameter(flamework.ones(1))
    back = copied([x, x, w, w])
    assert back[0] is back[1] and back[2] is back[3] and back[0] is not back[2]


def test_gradient_flags_and_classes_come_back():
    leaf = flamework.ones(2, requires_grad=True)
    w = flamework.nn.Parameter(flamework.ones(2), requires_grad=False)
    w.note = "kept"
    b = flamework.nn.Buffer(flamework.zeros(2), persistent=False)
    view, leaf, result, w, b = copied([leaf.detach()[1:], leaf, leaf * 2, w, b])
    assert leaf.requires_grad and leaf.is_leaf and result.requires_grad and result.is_leaf
    assert type(w) is flamework.nn.Parameter and not w.requires_grad and w.note == "kept"
    assert type(b) is flamework.nn.Buffer and not b.persistent
    (leaf * 3).sum().backward()
    assert leaf.grad.tolist() == [3, 3] and not view.requires_grad
    view.fill_(5)
    assert leaf.tolist() == [1, 5]


def test_memory_shared_with_numpy_is_saved_as_it_is_now():
    a = np.zeros(3, np.float32)
    x = flamework.from_numpy(a)
    a[1] = 7
    assert copied([x, x[1:]])[1].tolist() == [7, 0]
    y = flamework.zeros(2)
    y.numpy()[0] = 4
    assert copied(y).tolist() == [4, 0]


def test_loading_is_independent_of_what_was_saved():
    x = flamework.ones(3)
    data = saved({"x": x, "view": x[1:]})
    x.fill_(2)
    first, second = loaded(data), loaded(data)
    first["x"].fill_(3)
    assert second["x"].tolist() == [1, 1, 1] and first["view"].tolist() == [3, 3]


def test_loaded_tensors_are_compiled_and_trained_like_others():
    w, x = copied([flamework.nn.Parameter(flamework.ones(3, 3)), flamework.arange(9.0).reshape(3, 3).t()])
    step = flamework.compile(lambda w, x: (w @ x).sum())
    step(w, x).backward()
    assert w.grad.tolist() == [[9, 12, 15]] * 3


def test_a_compiled_function_cannot_save():
    @flamework.compile
    def leaky(x):
        flamework.save(x * 2, io.BytesIO())
        return x

    with pytest.raises(flamework.SideEffectError):
        leaky(flamework.ones(2))


@FORMATS
def test_paths_and_files(tmp_path, archive):
    x, options = flamework.ones(2), {"_use_new_zipfile_serialization": archive}
    flamework.save(x, str(tmp_path / "a.pt"), **options)
    with open(tmp_path / "b.pt", "wb") as file:
        flamework.save(x, file, **options)
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "b.pt").read_bytes() == saved(x, **options)
    assert flamework.load(tmp_path / "a.pt").tolist() == [1, 1]
    with open(tmp_path / "b.pt", "rb") as file:
        assert flamework.load(file).tolist() == [1, 1]


class OnlyWrites:
    """A file as of a socket: it cannot seek."""

    def __init__(self):
        self.data = b""

    def write(self, data):
        self.data += bytes(data)
        return len(data)

    def flush(self):
        pass


class OnlyReads(io.BytesIO):
    """A file that has no readinto, as PyTorch asks for none."""

    readinto = property()


def test_a_file_needs_no_more_than_write_and_read():
    file = OnlyWrites()
    flamework.save([flamework.ones(2), flamework.ones(0)], file)
    one, none = flamework.load(OnlyReads(file.data))
    assert one.tolist() == [1, 1] and none.tolist() == []
    with pytest.raises(AttributeError, match="file-like object with a 'write' attribute"):
        flamework.save(1, 2)
    with pytest.raises(FileNotFoundError):
        flamework.load("there/is/none.pt")


def test_the_same_object_has_the_same_bytes_aligned_to_64():
    obj = [flamework.ones(n) for n in range(5)]
    data = saved(obj)
    assert data == saved([flamework.ones(n) for n in range(5)])
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = archive.namelist()
        offsets = {name: data.index(archive.read(name)) for name in names if name.endswith(("/3", "/4"))}
        assert archive.testzip() is None
    assert names == ["archive/data.pkl", "archive/.storage_alignment", "archive/byteorder",
                     *(f"archive/data/{n}" for n in range(5)), "archive/version"]
    for entry in zipfile.ZipFile(io.BytesIO(data)).infolist():
        name, extra = struct.unpack_from("<HH", data, entry.header_offset + 26)
        assert (entry.header_offset + 30 + name + extra) % 64 == 0
    assert len(offsets) == 2


def test_records_with_64_bit_sizes_are_aligned_too(monkeypatch, tmp_path):
    monkeypatch.setattr(sys.modules["flamework.archive"], "LARGE", 100)
    path = tmp_path / "x.pt"
    flamework.save([flamework.arange(100.0), flamework.ones(3), flamework.arange(50)], path)
    for mapped in (False, True):
        back = flamework.load(path, mmap=mapped)
        assert [x.tolist() for x in back] == [list(range(100)), [1, 1, 1], list(range(50))]
        assert not mapped or [x.data_ptr() % 64 for x in back] == [0, 0, 0]


def test_mapped_files(tmp_path):
    path = tmp_path / "x.pt"
    x = flamework.arange(100.0)
    flamework.save({"x": x, "view": x[10:], "none": x[:0].clone(), "bool": flamework.tensor([True, False])}, path)
    before = path.read_bytes()
    back = flamework.load(path, mmap=True)
    assert back["x"].data_ptr() % 64 == 0
    back["x"].mul_(2)
    assert back["view"].tolist() == [2.0 * n for n in range(10, 100)]
    assert back["none"].tolist() == [] and back["bool"].tolist() == [True, False]
    assert path.read_bytes() == before
    with pytest.raises(ValueError, match="file path"):
        flamework.load(io.BytesIO(before), mmap=True)
    flamework.save(x, path, _use_new_zipfile_serialization=False)
    with pytest.raises(RuntimeError, match="mmap can only be used"):
        flamework.load(path, mmap=True)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_files_of_the_other_byte_order(dtype):
    x = flamework.tensor([1, 0, 1]).to(dtype)
    reader = archive_of(saved(x))
    word = dtype.itemsize // 2 if dtype.is_complex else dtype.itemsize
    turned = np.frombuffer(reader["data/0"], f"u{word}").byteswap().tobytes()
    other = {"little": b"big", "big": b"little"}[sys.byteorder]
    assert loaded(archive({**reader, "data/0": turned, "byteorder": other})).tolist() == x.tolist()


# ------------------------------------------------------------------------------------------------------------ PyTorch


@pytest.mark.parametrize("data", [ARCHIVE, LEGACY], ids=["archive", "legacy"])
def test_files_that_pytorch_wrote(data):
    ours = loaded(zlib.decompress(base64.b85decode(data)))
    expected = made_by_pytorch(flamework)
    assert list(ours) == list(expected)
    for key in ("whole", "transposed", "part", "parameter", "buffer", "scalar", "empty"):
        assert type(ours[key]) is type(expected[key])
        alike(ours[key], expected[key])
    assert ours["more"] == expected["more"] and ours["state"] == expected["state"]
    ours["part"].fill_(9)
    assert ours["whole"].tolist() == [[0, 1, 2], [3, 9, 9]]


def test_the_pickle_is_pytorchs_to_the_byte(torch):
    ours, theirs = (archive_of(saved(made_by_pytorch(p), p)) for p in (flamework, torch))
    assert ours["data.pkl"] == theirs["data.pkl"]
    written = set(theirs) - {".data/serialization_id", ".format_version"}
    assert {name: data for name, data in theirs.items() if name in written} == ours


def test_the_pickle_has_not_changed():
    theirs = archive_of(zlib.decompress(base64.b85decode(ARCHIVE)))
    assert archive_of(saved(made_by_pytorch(flamework)))["data.pkl"] == theirs["data.pkl"]


@FORMATS
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_both_directions_with_pytorch(torch, dtype, archive):
    options = {"_use_new_zipfile_serialization": archive}
    numbers = flamework.tensor([0, 1, 1, 0, 1, 0]).to(dtype).reshape(2, 3)
    theirs = torch.tensor([0, 1, 1, 0, 1, 0]).to(getattr(torch, dtype.name)).reshape(2, 3)
    parts = [lambda x: x, lambda x: x.t(), lambda x: x[1:, 1:], lambda x: x[0, 2], lambda x: x[:0],
             lambda x: x[:, :1].expand(2, 5)]
    to_them = loaded(saved([part(numbers) for part in parts], **options), torch, weights_only=True)
    to_us = loaded(saved([part(theirs) for part in parts], torch, **options))
    for ours, back, there in zip(to_us, to_them, [part(theirs) for part in parts]):
        alike(ours, there)
        alike(back, there)
    to_them[2].fill_(1)
    assert to_them[0][1, 1:].tolist() == to_them[2][0].tolist()


def test_devices_and_sizes_of_pytorch(torch):
    theirs = [torch.device("cpu"), torch.device("cuda:1"), torch.Size([2, 0]), torch.int8, "ä", b"", {1: None}]
    ours = loaded(saved(theirs, torch))
    assert ours == [flamework.device("cpu"), flamework.device("cuda:1"), (2, 0), flamework.int8, "ä", b"", {1: None}]
    assert loaded(saved(ours[:-2]), torch) == theirs[:-2]


def test_channels_last_keeps_its_order(torch):
    theirs = torch.arange(24.0).reshape(1, 2, 3, 4).contiguous(memory_format=torch.channels_last)
    ours = loaded(saved(theirs, torch))
    alike(ours, theirs)
    alike(loaded(saved(ours), torch), theirs)


def trained(package, model, optimizer, steps):
    for step in range(steps):
        optimizer.zero_grad()
        x = (package.arange(24.0) * (step + 1)).sin().reshape(8, 3)
        ((model(x) - x[:, :2]) ** 2).sum().backward()
        optimizer.step()


def model_and_optimizer(package):
    package.manual_seed(0)
    # No bias before the normalisation: its gradient would be what is left of rounding.
    first = package.nn.Linear(3, 4, bias=False)
    model = package.nn.Sequential(first, package.nn.BatchNorm1d(4), package.nn.Linear(4, 2))
    return model, package.optim.Adam(model.parameters(), lr=0.01, weight_decay=0.1)


@pytest.mark.parametrize("direction", ["to us", "to them"])
def test_training_goes_on_in_the_other_package(torch, direction):
    here, there = (torch, flamework) if direction == "to us" else (flamework, torch)
    model, optimizer = model_and_optimizer(here)
    trained(here, model, optimizer, 3)
    data = saved({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3}, here)
    checkpoint = loaded(data, there)
    twin, other = model_and_optimizer(there)
    with there.no_grad():
        for p in twin.parameters():
            p.fill_(0)
    assert str(twin.load_state_dict(checkpoint["model"])) == "<All keys matched successfully>"
    other.load_state_dict(checkpoint["optimizer"])
    assert checkpoint["epoch"] == 3 and checkpoint["model"]._metadata == model.state_dict()._metadata
    trained(here, model, optimizer, 3)
    trained(there, twin, other, 3)
    for ours, theirs in zip(model.state_dict().values(), twin.state_dict().values()):
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-5, atol=1e-6)


def test_checkpoints_of_our_own():
    model, optimizer = model_and_optimizer(flamework)
    schedule = flamework.optim.lr_scheduler.StepLR(optimizer, 2)
    trained(flamework, model, optimizer, 2)
    checkpoint = copied([model.state_dict(), optimizer.state_dict(), schedule.state_dict()])
    twin, other = model_and_optimizer(flamework)
    twin.load_state_dict(checkpoint[0])
    other.load_state_dict(checkpoint[1])
    trained(flamework, model, optimizer, 2)
    trained(flamework, twin, other, 2)
    for ours, theirs in zip(model.state_dict().values(), twin.state_dict().values()):
        assert ours.tolist() == theirs.tolist()


def test_pytorch_finds_where_our_records_are(torch, tmp_path):
    fake = pytest.importorskip("torch._subclasses.fake_tensor")
    x = {"a": flamework.ones(3), "none": flamework.empty(0), "b": flamework.full((40,), 2.0)}
    data = saved(x)
    with fake.FakeTensorMode():
        there = loaded(data, torch)
    for name in ("a", "b"):
        start = there[name].untyped_storage()._checkpoint_offset
        assert np.frombuffer(data[start : start + 12], np.float32).tolist() == x[name][:3].tolist()
    (tmp_path / "x.pt").write_bytes(data)
    assert torch.load(tmp_path / "x.pt", mmap=True)["b"].tolist() == [2.0] * 40


def test_safetensors_works_through_numpy():
    safetensors = pytest.importorskip("safetensors.numpy")
    state = {"a": flamework.arange(6.0).reshape(2, 3), "b": flamework.tensor([True]), "c": flamework.ones(2).half()}
    data = safetensors.save({name: tensor.numpy() for name, tensor in state.items()})
    for name, array in safetensors.load(data).items():
        alike(flamework.from_numpy(array), state[name])


# ------------------------------------------------------------------------------------------------- places and options


def elsewhere(location=b"cuda:0"):
    return archive({**archive_of(saved(flamework.ones(6))), "data.pkl": b"\x80\x02" + tensor(location=location) + b"."})


@pytest.mark.parametrize("map_location", [
    "cpu", flamework.device("cpu"), {"cuda:0": "cpu"}, lambda storage, location: storage,
    lambda storage, location: storage.cpu() if location == "cuda:0" and storage.nbytes() == 24 else None,
], ids=["text", "device", "dictionary", "function", "function of the place"])
def test_files_from_another_device(map_location):
    assert loaded(elsewhere(), map_location=map_location).tolist() == [[1, 1, 1], [1, 1, 1]]


@pytest.mark.parametrize("map_location", [None, {"cuda:1": "cpu"}, lambda storage, location: None, "cuda:0"])
def test_a_device_that_is_not_here_is_refused(map_location):
    with pytest.raises(RuntimeError, match="CUDA device but torch.cuda.is_available..? is False.*map_location"):
        loaded(elsewhere(), map_location=map_location)


def test_a_function_has_to_return_the_storage():
    with pytest.raises(TypeError, match="map_location has to return the storage"):
        loaded(elsewhere(), map_location=lambda storage, location: "cpu")
    with pytest.raises(KeyError, match="cuda:0"):
        loaded(elsewhere(), map_location=lambda storage, location: {}[location])


def test_unsafe_loading_is_refused():
    data = saved(flamework.ones(1))
    assert loaded(data, weights_only=None).tolist() == [1]
    with pytest.raises(ValueError, match="run any code.*add_safe_globals"):
        loaded(data, weights_only=False)
    with pytest.raises(RuntimeError, match="pickle_module"):
        loaded(data, pickle_module=pickle)
    with pytest.raises(ValueError, match="Python's pickle"):
        saved(1, pickle_module=json)


class Settings:
    """A class of a user's."""

    def __init__(self, rate):
        self.rate = rate


class Point:
    """One with slots."""

    __slots__ = ("x", "y")


@pytest.mark.parametrize("obj", [
    Settings(1), fractions.Fraction(1, 2), np.float64(1.0), np.ones(2), flamework.nn.ReLU(), len, Settings, object(),
    [{"deep": Settings(1)}],
])
def test_what_could_not_be_loaded_is_not_saved(obj, tmp_path):
    with pytest.raises(pickle.PicklingError, match="load\\(\\) would refuse"):
        flamework.save(obj, tmp_path / "x.pt")
    assert not (tmp_path / "x.pt").exists()


@FORMATS
def test_classes_that_the_user_allows(archive):
    module, point = flamework.nn.Linear(2, 2), Point()
    point.x, point.y = 1, flamework.ones(2)
    with flamework.serialization.safe_globals([Settings, Point, fractions.Fraction]):
        data = saved([Settings(flamework.ones(2)), point, fractions.Fraction(1, 3), Settings],
                     _use_new_zipfile_serialization=archive)
        a, b, c, kind = loaded(data)
        with pytest.raises(pickle.PicklingError):
            saved(module)
    assert a.rate.tolist() == [1, 1] and b.x == 1 and b.y.tolist() == [1, 1] and c == fractions.Fraction(1, 3)
    assert kind is Settings and flamework.serialization.get_safe_globals() == []
    with pytest.raises(pickle.UnpicklingError, match="Unsupported global: .*Settings"):
        loaded(data)
    with pytest.raises(TypeError):
        flamework.serialization.add_safe_globals([("name", "name")])


def test_one_memory_as_two_dtypes_is_refused():
    x = flamework.ones(2)
    assert copied(x.view(flamework.int32)).tolist() == [1065353216] * 2
    with pytest.raises(RuntimeError, match="view the same data as different types"):
        saved([x, x.view(flamework.int32)])


def test_the_examples_of_the_documentation():
    module = sys.modules["flamework.serialization"]
    failed, attempted = doctest.testmod(module)
    assert failed == 0 and attempted >= 10


# -------------------------------------------------------------------------------------------------- pickles and copies


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_keeps_what_tensors_share(protocol):
    x = flamework.arange(6.0).reshape(2, 3)
    views = [x, x.t(), x[1:, ::2], x.view(flamework.int32)]
    back = pickle.loads(pickle.dumps(views, protocol))
    for ours, before in zip(back, views):
        alike(ours, before)
    back[2].fill_(-1)
    assert back[0].tolist() == [[0, 1, 2], [-1, 4, -1]] and back[1][0].tolist() == [0, -1]
    assert back[3][1, 0].item() == back[3][1, 2].item() != back[3][0, 0].item()


def test_pickled_parameters_share_with_each_other_and_train():
    w = flamework.nn.Parameter(flamework.arange(4.0))
    tied = flamework.nn.Parameter(w.detach()[1:])
    a, b, again = pickle.loads(pickle.dumps([w, tied, w]))
    assert a is again and a.requires_grad and b.requires_grad and type(b) is flamework.nn.Parameter
    with flamework.no_grad():
        b.fill_(9)
    assert a.tolist() == [0, 9, 9, 9]
    (a * 2).sum().backward()
    assert a.grad.tolist() == [2] * 4 and b.grad is None


def test_a_pickled_view_of_memory_that_numpy_writes_to():
    array = np.arange(6, dtype=np.float32)
    x = flamework.from_numpy(array)[2:]
    array[2] = 7
    assert pickle.loads(pickle.dumps(x)).tolist() == [7, 3, 4, 5]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_deep_copies_share_as_their_originals_do(dtype):
    x = flamework.tensor([1, 0, 1, 1]).to(dtype)
    a, b = copy.deepcopy([x, x[1:]])
    b.zero_()
    assert a.dtype is dtype and a.tolist() == [x[0].item(), 0, 0, 0] and x[2].item() == 1
