"""Untrusted files: each attack ends with an error message of one sentence and has no other effect.

Each file is read by the function that the tools use.
"""

import gzip
import io
import json
import os
import pickle
import re
import struct
import tarfile
import zlib

import numpy as np
import pytest

from ppcls_lite.config import load as configs
from ppcls_lite.data import load_dataset
from ppcls_lite.data.image_file import load_image
from ppcls_lite.deploy.exported import read_metadata
from ppcls_lite.utils.errors import UserError
from ppcls_lite.weights.load import read_weights
from tests.deploy.formats import ONNX
from tests.tools.helpers import call

COMMAND = "touch HACKED"
EXPORT = "tools/export.py -c configs/quick/resnet20.yaml --format paddle --output net --random-weights"
TRAIN = ["tools/train.py", "-c", "configs/quick/resnet20.yaml", "-o"]


class Call:
    """Pickles as a call of ``function(*arguments)``, whose result gets ``state``."""

    def __init__(self, function, *arguments, state=None):
        self.call = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self):
        return self.call


def archive(members):
    """A gzipped tar archive of (TarInfo, content) pairs."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        for member, content in members:
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return file.getvalue()


def batches(content=b"", prefix="cifar-10-batches-py/"):
    names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    return archive((tarfile.TarInfo(prefix + name), content) for name in names)


def bomb():
    """A tar header that claims a 2 GiB header to follow, which gzip compresses to 2 MB."""
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.XHDTYPE, 2 << 30
    file = io.BytesIO()
    with gzip.open(file, "wb", compresslevel=1) as packed:
        packed.write(header.tobuf(tarfile.USTAR_FORMAT))
        for _ in range(600):
            packed.write(bytes(1 << 20))
    return file.getvalue()


def crowd():
    """1,100 folders: headers only, which gzip compresses to almost nothing, but each becomes an object."""
    folders = []
    for number in range(1100):
        folder = tarfile.TarInfo(f"{number}")
        folder.type = tarfile.DIRTYPE
        folders.append((folder, b""))
    return archive(folders)


def laughs():
    """Nested lists of aliases: 500 bytes that expand to 10**9 words."""
    lists = ["&a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    lists += [f"&a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    return f"Arch: {{name: resnet20}}\nGlobal: {{epochs: [{', '.join(lists)}]}}".encode()


def odd_header():
    """A tar header for sparse files with text instead of numbers."""
    member = tarfile.TarInfo("cifar-10-batches-py/data_batch_1")
    member.pax_headers = {"GNU.sparse.map": "a,b"}
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(member)
    return file.getvalue()


def link():
    member = tarfile.TarInfo("cifar-10-batches-py/data_batch_1")
    member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
    return archive([(member, b"")])


def png(width, height):
    """A PNG of a few dozen bytes that claims any size."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def huge_safetensors():
    header = json.dumps({"w": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}).encode()
    return struct.pack("<Q", len(header)) + header


RECONSTRUCT, FROM_BUFFER = np.empty(0).__reduce__()[0], np.empty(0).__reduce_ex__(5)[0]
STATE = (1, (2,), np.dtype("f4"), False, bytes(8))


def array():
    return Call(RECONSTRUCT, np.ndarray, (0,), b"b", state=STATE)


def filled_twice():
    """An array that gets data twice: views of the first data would access freed memory."""
    return pickle.dumps(array(), 2)[:-1] + pickle.dumps(STATE, 2)[2:-1] + b"b."


def copied_again_and_again():
    """A text of 64 KiB that is encoded many times, by six bytes each."""
    text = pickle.dumps("x" * (1 << 16), 2)[2:-1] + pickle.dumps("latin1", 2)[2:-1]
    return b"\x80\x02]c_codecs\nencode\nq\x01" + text + b"\x86q\x02Ra" + b"h\x01h\x02Ra" * 5000 + b"."


# The attack, the file name, its content, and a part of the error message.
HOSTILE = [
    ("runs a shell command", "w.pdparams", pickle.dumps({"a": Call(os.system, COMMAND)}), "system, which plain data"),
    ("evaluates code", "w.pdparams", pickle.dumps(Call(eval, "open('HACKED', 'w')")), "eval, which plain data"),
    ("reaches for attributes", "w.pdparams", pickle.dumps(Call(getattr, "x", "upper")), "getattr, which plain data"),
    (
        "hides a call in an array of objects",
        "w.pdparams",
        pickle.dumps({"a": np.array([Call(os.system, COMMAND)], dtype=object)}),
        "arrays of type object",
    ),
    ("takes 1 GiB with 11 bytes, by its memo", "w.pdparams", b"\x80\x02]r\0\0\0\x08.", "holds a list"),
    (
        "has numbers taken for pointers",
        "w.pdparams",
        pickle.dumps({"a": Call(np.dtype, "f8", False, True, state=(3, "<", None, None, None, -1, -1, 63))}),
        "an unusual state",
    ),
    (
        "has a field outside its memory",
        "w.pdparams",
        pickle.dumps(
            Call(np.dtype, "f8", False, True, state=(3, "<", None, ("a",), {"a": (np.dtype("f4"), 1 << 40)}, 8, 8, 0))
        ),
        "an unusual state",
    ),
    (
        "overflows the stack by hashing nested tuples",
        "w.pdparams",
        b"\x80\x02}K\x01" + b"\x85" * 1_000_000 + b"K\x02s.",
        "more than 60000 tuples or",
    ),
    ("copies a text again and again", "w.pdparams", copied_again_and_again(), "the same bytes many times"),
    (
        "makes a set of every byte",
        "w.pdparams",
        b"\x80\x04(" + b"\x8f" * 2_500_000 + b"l.",
        "more than 60000 tuples or",
    ),
    (
        "looks at the memory of another array",
        "w.pdparams",
        pickle.dumps(Call(FROM_BUFFER, array(), np.dtype("f4"), (2,), "C")),
        "an array of an unusual buffer",
    ),
    ("gives an array data twice", "w.pdparams", filled_twice(), "an unusual state"),
    (
        "has bytes taken for dates",
        "w.pdparams",
        pickle.dumps(Call(FROM_BUFFER, bytes(8), "M8[ns]", (1,), "C")),
        "an array of an unusual buffer or type",
    ),
    ("asks for an array of 1 TiB", "w.pdparams", pickle.dumps({"a": Call(np.ndarray, (1 << 40,))}), "is damaged"),
    ("claims 4 TiB of weights", "w.safetensors", huge_safetensors(), "is damaged"),
    ("claims a header of 2**60 bytes", "w.safetensors", struct.pack("<Q", 1 << 60), "is damaged"),
    ("runs a command from a batch", "cifar.tar.gz", batches(pickle.dumps(Call(os.system, COMMAND))), "system, which"),
    ("leaves its folder", "cifar.tar.gz", batches(b"x", "../../cifar-10-batches-py/"), "lacks data_batch_1"),
    ("names absolute paths", "cifar.tar.gz", batches(b"x", "/cifar-10-batches-py/"), "lacks data_batch_1"),
    ("links to another file", "cifar.tar.gz", link(), "lacks data_batch_1"),
    ("unpacks to 2 GiB of header", "cifar.tar.gz", bomb(), "unpacks to more than 256 MiB"),
    ("has text for numbers in its headers", "cifar.tar.gz", odd_header(), "is damaged or not a tar archive"),
    ("holds headers without end", "cifar.tar.gz", crowd(), "has more than 1000 files"),
    (
        "has a batch of 100 MB",
        "cifar.tar.gz",
        archive([(tarfile.TarInfo("cifar-10-batches-py/test_batch"), bytes(100 << 20))]),
        "has more than 64 MiB",
    ),
    ("claims 3.6 gigapixels", "x.png", png(60_000, 60_000), "more than 89 megapixels"),
    ("claims 0.15 gigapixels", "x.png", png(15_000, 10_000), "more than 89 megapixels"),
    (
        "runs a command from YAML",
        "x.yaml",
        f"Arch: !!python/object/apply:os.system ['{COMMAND}']".encode(),
        "not valid",
    ),
    ("says a thousand million words by its aliases", "x.yaml", laughs(), "more than 10000 values, aliases expanded"),
    ("holds itself", "x.yaml", b"Arch: &a {name: resnet20, x: *a}", "more than 10000 values, aliases expanded"),
    ("has 2 MB", "x.yaml", b"# " + bytes(2 << 20), "more than 1 MiB"),
    (
        "writes a number of 20,000 digits",
        "x.yaml",
        b"Arch: {name: resnet20, num_classes: 0x" + b"f" * 20_000 + b"}",
        "0xf",
    ),
    ("includes itself", "x.yaml", b"_BASE_: x.yaml", "leads back to itself"),
]
READERS = {
    ".pdparams": read_weights,
    ".safetensors": read_weights,
    ".gz": lambda path: load_dataset("cifar10", path),
    ".png": load_image,
    ".yaml": configs.load,
}


@pytest.mark.parametrize(("name", "content", "refusal"), [case[1:] for case in HOSTILE], ids=[c[0] for c in HOSTILE])
def test_nothing_comes_of(tmp_path, monkeypatch, name, content, refusal):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=refusal) as refused:
        READERS[(tmp_path / name).suffix](tmp_path / name)
    assert "\n" not in str(refused.value)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("package", [name for name in ("onnx",) if ONNX])
def test_an_onnx_file_cannot_read_other_files(tmp_path, package):
    import onnx

    (tmp_path / "secret").write_bytes(bytes(16))
    weight = onnx.TensorProto(name="w", data_type=onnx.TensorProto.FLOAT, dims=[4])
    weight.data_location = onnx.TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="../secret")
    inner = onnx.helper.make_graph([onnx.helper.make_node("Constant", [], ["w"], value=weight)], "g", [], [])
    node = onnx.helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
    function = onnx.helper.make_function("d", "f", [], ["w"], list(inner.node), [])
    for graph, functions in (
        (onnx.helper.make_graph([], "g", [], [], initializer=[weight]), []),
        (onnx.helper.make_graph([node], "g", [], []), []),
        (onnx.helper.make_graph([], "g", [], []), [function]),
    ):
        path = tmp_path / "model.onnx"
        path.write_bytes(onnx.helper.make_model(graph, functions=functions).SerializeToString())
        with pytest.raises(UserError, match="stores weights in other files"):
            read_metadata(path)


@pytest.mark.parametrize(
    ("arguments", "refusal"),
    [
        (["tools/benchmark.py", "train-step", "resnet20", "--batch-size", 10**9], "takes .* TiB of memory, but"),
        (["tools/benchmark.py", "loader", "--images", 10**12], "takes .* TiB of memory, but"),
        (
            ["tools/train.py", "-c", "configs/quick/resnet20.yaml", "-o", f"DataLoader.batch_size={10**9}"],
            "more than the",
        ),
        ([*TRAIN, f"Arch.num_classes={10**12}"], "at most 100000"),
        (
            [*TRAIN, "DataLoader.root=~nobody_here_xyz/x", "DataLoader.dataset=cifar10"],
            "home of an unknown user",
        ),
        (["tools/benchmark.py", "deploy", "resnet20", "--threads", 10**9], "--threads is 1000000000, .* at most 1024"),
        (
            [*EXPORT.split(), "--batch-size", 10**12],
            "a batch of 1000000000000 images .* takes .* TiB",
        ),
        (["tools/ablation.py", "quick", "--seeds", 10**8], "--seeds is 100000000, .* at most 1000"),
        ([*TRAIN, f"Global.epochs={10**18}"], "at most 100000"),
        ([*TRAIN, "DataLoader.image_size=1000000"], "32 to 4096"),
    ],
)
def test_sizes_are_bounded_before_memory_is_taken(tmp_path, arguments, refusal):
    place = ["-o", f"Global.output_dir={tmp_path / 'run'}"] if "-o" in arguments else []
    done = call(*arguments, *place)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    *said, error = done.stderr.splitlines()
    assert re.search(refusal, error) and all(line.startswith("device: ") for line in said), done.stderr
    assert not list(tmp_path.iterdir())
