"""Broken input of any kind ends in one sentence with exit status 2, and changes nothing on disk."""

import copy
import dataclasses
import hashlib
import io
import json
import os
import pickle
import runpy
import shutil
import sys
import tempfile
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

import numpy as np
import paddle
import pytest
import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from ppcls_lite.arch.registry import model_options
from ppcls_lite.config import files as config_files
from ppcls_lite.config import load as configs
from ppcls_lite.config.options import coerce
from ppcls_lite.config.schema import SECTIONS, iter_settings
from ppcls_lite.data import load_dataset
from ppcls_lite.data.image_file import load_image
from ppcls_lite.deploy.exported import read_metadata
from ppcls_lite.deploy.runtimes import open_runtime
from ppcls_lite.engine.prepare import prepare
from ppcls_lite.runs.resume import find_checkpoint
from ppcls_lite.runs.run_dir import RunDir
from ppcls_lite.tasks.setup import complete
from ppcls_lite.utils import cli
from ppcls_lite.utils.errors import UserError
from ppcls_lite.utils.files import digest
from ppcls_lite.weights.load import read_weights
from tests.data.archives import write_archive, write_folder
from tests.data.test_fashion_mnist import write as write_fashion
from tests.deploy.formats import ONNX
from tests.tools.helpers import QUICK, ROOT, call_tool

CONFIGS = sorted(path for path in (ROOT / "configs").rglob("*.yaml") if "ablations" not in path.parts)
CONFIGS = [path for path in CONFIGS if not path.name.startswith("_")]
VALUES = [
    None,
    True,
    "",
    "text",
    "1e-3x",
    [],
    {},
    [[1]],
    -1,
    0,
    2,
    10**30,
    0.5,
    -0.5,
    float("nan"),
    float("inf"),
    "日本",
]


SETTINGS = {key: field.type for name, section in SECTIONS.items() for key, field in iter_settings(section, f"{name}.")}
KEYS = sorted(SETTINGS)


def is_wrong(key, value, annotation):
    try:
        coerce(value, annotation, key)
    except UserError:
        return True
    return False


WRONG = [(key, value) for key in KEYS for value in VALUES if is_wrong(key, value, SETTINGS[key])]


def wrong_options(model):
    """Options of a network, with values that they do not take; num_classes may be more than the data set has."""
    options = {f"Arch.{name}": option.annotation for name, option in model_options(model).items()}
    options.pop("Arch.pretrained", None)
    return [(key, value) for key, kind in options.items() for value in VALUES if is_wrong(key, value, kind)]


class Accepted(Exception):
    """The configuration was right."""


def run_tool(*arguments):
    """(exit status or "accepted", what was printed as an error) of tools/train.py, up to the import of paddle.

    It runs in the current folder, where by default it would make its output.
    """
    errors = io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["tools/train.py", *arguments]),
        mock.patch.object(cli, "import_paddle", side_effect=Accepted),
        redirect_stderr(errors),
        redirect_stdout(io.StringIO()),
    ):
        try:
            runpy.run_path(str(ROOT / "tools/train.py"), run_name="__main__")
        except SystemExit as stop:
            return stop.code, errors.getvalue()
        except Accepted:
            return "accepted", ""


def fingerprint(folder):
    """Every file with a digest of its content, and every folder."""
    found = folder.rglob("*")
    return {p.relative_to(folder): hashlib.md5(p.read_bytes()).digest() if p.is_file() else b"" for p in found}


@contextmanager
def working_in(folder):
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def check_refusal(status, printed, *named):
    assert status == 2, printed
    assert printed.startswith("error: ") and len(printed.splitlines()) == 1 and "Traceback" not in printed
    for name in named:
        assert str(name) in printed


@settings(max_examples=100, deadline=None, derandomize=True)
@given(source=st.sampled_from(CONFIGS), data=st.data())
def test_broken_configurations(source, data):
    raw = copy.deepcopy(config_files.read_with_bases(source))
    kind = data.draw(st.sampled_from(["value", "typo", "section", "bytes", "base"]))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "broken.yaml"
        named = [file]
        if kind in ("value", "typo"):
            key, value = data.draw(st.sampled_from(WRONG) | st.sampled_from(wrong_options(raw["Arch"]["name"])))
            if kind == "typo":
                place = data.draw(st.integers(key.rindex(".") + 1, len(key) - 1))
                key = key[:place] + data.draw(st.sampled_from("xyz")) + key[place + 1 :]
                assume(key not in SETTINGS and key.removeprefix("Arch.") not in model_options(raw["Arch"]["name"]))
            *sections, last = key.split(".")
            node = raw
            for section in sections:
                node = node.setdefault(section, {})
            node[last] = value
            named.append(key)
        elif kind == "section":
            raw[data.draw(st.sampled_from(["Globl", "Metric", "Optimiser", "arch"]))] = {}
        elif kind == "base":
            raw["_BASE_"] = data.draw(st.sampled_from(["nowhere.yaml", 3, [[]], "..", "broken.yaml"]))
            named = []
        text = yaml.safe_dump(raw, allow_unicode=True).encode()
        if kind == "bytes":
            text = damage(data, text)
        file.write_bytes(text)
        before = fingerprint(Path(folder))
        with working_in(folder):
            status, printed = run_tool("-c", str(file))
        assert fingerprint(Path(folder)) == before
        assume(not (kind == "bytes" and status == "accepted"))  # other bytes in a comment break nothing
        check_refusal(status, printed, *named)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(source=st.sampled_from(CONFIGS), wrong=st.sampled_from(WRONG), junk=st.text(max_size=12), data=st.data())
def test_broken_overrides(source, wrong, junk, data):
    key, value = wrong
    dumped = yaml.safe_dump(value, default_flow_style=True).removesuffix("...\n").strip()
    kind = data.draw(st.sampled_from(["value", "typo", "junk"]))
    override = {"value": f"{key}={dumped}", "typo": f"{key}_={dumped}", "junk": junk}[kind]
    assume(not override.startswith("-"))
    assume(kind != "junk" or override.partition("=")[0].strip() not in SETTINGS)
    with tempfile.TemporaryDirectory() as folder, working_in(folder):
        status, printed = run_tool("-c", str(source), "-o", override)
        assert not list(Path(folder).iterdir())
    check_refusal(status, printed, *([] if kind == "junk" else [key]))


def damage(data, content):
    """Cut off, with other bits, with a hole, with something put in, or other content altogether."""
    kind = data.draw(st.sampled_from(["cut", "flip", "zero", "insert", "junk", "empty"]))
    place = data.draw(st.integers(0, max(0, len(content) - 1)))
    if kind == "cut":
        return content[:place]
    if kind == "flip":
        return content[:place] + bytes([content[place] ^ data.draw(st.integers(1, 255))]) + content[place + 1 :]
    if kind == "zero":
        return content[:place] + bytes(min(64, len(content) - place)) + content[place + 64 :]
    if kind == "insert":
        return content[:place] + data.draw(st.binary(min_size=1, max_size=16)) + content[place:]
    return data.draw(st.binary(max_size=64)) if kind == "junk" else b""


@pytest.fixture(scope="module")
def readable(tmp_path_factory, trained, exported):
    """A folder, and by kind of file: the file to damage, what to read then, and with what."""
    folder = tmp_path_factory.mktemp("readable")
    rng = np.random.default_rng(0)
    run, nets = folder / "run", folder / "nets"
    shutil.copytree(trained[0], run)
    shutil.copytree(exported[0]["paddle"].parent, nets)
    batches = write_folder(folder / "cifar", rng)
    archive = write_archive(folder / "cifar", batches)
    fashion = folder / "fashion"
    write_fashion(fashion, rng)
    for suffix in ("png", "jpg"):
        Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)).save(folder / f"image.{suffix}")
    checkpoint = run / "checkpoints" / "epoch_0002"
    kinds = {path.name: (path, checkpoint, find_checkpoint) for path in sorted(checkpoint.iterdir())}
    for name, file, source, read in (
        ("last.pdparams", run / "last.pdparams", run / "last.pdparams", read_weights),
        ("config.yaml", run / "config.yaml", run / "config.yaml", configs.load),
        ("archive", archive, archive, lambda path: load_dataset("cifar10", path)),
        ("batch", batches / "data_batch_3", batches, lambda path: load_dataset("cifar10", path)),
        ("images.gz", fashion / "train-images-idx3-ubyte.gz", fashion, lambda p: load_dataset("fashion_mnist", p)),
        ("labels.gz", fashion / "t10k-labels-idx1-ubyte.gz", fashion, lambda p: load_dataset("fashion_mnist", p)),
        ("png", folder / "image.png", folder / "image.png", load_image),
        ("jpg", folder / "image.jpg", folder / "image.jpg", load_image),
        *((f"net{s}", nets / f"net{s}", nets / "net", open_exported) for s in (".pdmodel", ".pdiparams", ".meta.json")),
        *(("net.onnx", nets / "net.onnx", nets / "net.onnx", open_exported) for _ in ONNX),
    ):
        kinds[name] = (file, source, read)
    for _, source, read in kinds.values():
        read(source)  # whole, each is taken
    return folder, kinds


def open_exported(path):
    metadata = read_metadata(path)
    shape = (1, metadata.channels, metadata.image_size, metadata.image_size)
    open_runtime(path, "onnxruntime" if path.suffix == ".onnx" else "paddle", 1)(np.zeros(shape, np.float32))


# Their checksums, or the checksums of their formats, tell every change.
SUMMED = {"model.pdparams", "model.pdopt", "state.json", "net.pdmodel", "net.pdiparams"}


@settings(max_examples=100, deadline=None, derandomize=True)
@given(data=st.data())
def test_damaged_files(readable, data):
    folder, kinds = readable
    kind = data.draw(st.sampled_from(sorted(kinds)))
    file, source, read = kinds[kind]
    content = file.read_bytes()
    damaged = damage(data, content)
    assume(damaged != content)
    try:
        file.write_bytes(damaged)
        before = fingerprint(folder)
        try:
            read(source)
            refusal = None
        except UserError as error:
            refusal = str(error)
        assert fingerprint(folder) == before
    finally:
        file.write_bytes(content)
    if refusal is not None:
        assert len(refusal.splitlines()) == 1 and str(source.parent) in refusal and file.name in refusal
    else:
        assert kind not in SUMMED


def with_other_content(data, tree):
    """A copy of nested containers with a value somewhere replaced by one of :data:`VALUES`, or a key gone."""
    tree = copy.deepcopy(tree)
    node, keys = tree, []
    while isinstance(node, dict | list) and len(node) and (not keys or data.draw(st.booleans())):
        keys.append(data.draw(st.sampled_from(list(node) if isinstance(node, dict) else range(len(node)))))
        parent, node = node, node[keys[-1]]
    if isinstance(parent, dict) and data.draw(st.booleans()):
        del parent[keys[-1]]
    else:
        parent[keys[-1]] = data.draw(st.sampled_from(VALUES))
    return tree


def read_checkpoint(config, folder):
    with paddle.utils.unique_name.guard():
        changed = dataclasses.replace(config.Global, checkpoints=str(folder), output_dir=f"{folder}/none")
        prepare(complete(dataclasses.replace(config, Global=changed)), RunDir(folder / "none"))


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_files_of_the_right_form_with_other_content(readable, data):
    """What bytes that are damaged at random never are: whole in form, and of other types or without a key."""
    folder, _ = readable
    run = folder / "run"
    checkpoint = run / "checkpoints" / "epoch_0002"
    config = configs.load(run / "config.yaml")
    name = data.draw(st.sampled_from(["state.json", "model.pdparams", "model.pdopt", "result.json", "net.meta.json"]))
    place = {"result.json": run, "net.meta.json": folder / "nets"}.get(name, checkpoint)
    file = place / name
    content, sums = file.read_bytes(), (checkpoint / "SHA256SUMS").read_bytes()
    is_json = name.endswith(".json")
    tree = json.loads(content) if is_json else pickle.loads(content)
    changed = with_other_content(data, tree["metadata"] if name == "net.meta.json" else tree)
    if name == "net.meta.json":
        changed = {**tree, "metadata": changed}
    assume(repr(changed) != repr(tree))
    refusal = ""
    try:
        file.write_bytes(json.dumps(changed).encode() if is_json else pickle.dumps(changed, protocol=2))
        if place == checkpoint:
            summed = [line.split()[1] for line in sums.decode().splitlines()]
            new = "".join(f"{digest(checkpoint / member)}  {member}\n" for member in summed)
            (checkpoint / "SHA256SUMS").write_text(new)
        before = fingerprint(folder)
        try:
            if place == checkpoint:
                read_checkpoint(config, checkpoint)
            elif place == run:
                RunDir(run).result()
            else:
                open_exported(place / "net")
        except UserError as error:
            refusal = str(error)
        assert fingerprint(folder) == before
    finally:
        file.write_bytes(content)
        (checkpoint / "SHA256SUMS").write_bytes(sums)
    assert len(refusal.splitlines()) <= 1 and len(refusal) < 2000
    assert not refusal or str(place) in refusal


@pytest.mark.parametrize(
    ("key", "config", "arch", "file", "named"),
    [
        ("checkpoints", QUICK, ["Arch.scale=0.25"], "model.pdparams", "of another shape or type ("),
        ("checkpoints", "configs/quick/mobilenetv1.yaml", [], "model.pdparams", "missing ("),
        ("pretrained_model", "configs/quick/resnet20.yaml", ["Arch.scale=0.125"], "last.pdparams", "unexpected ("),
    ],
)
def test_weights_of_another_network_are_named_and_so_is_what_differs(trained, tmp_path, key, config, arch, file, named):
    changes = [*arch, f"Global.{key}={trained[0]}", f"Global.output_dir={tmp_path / 'run'}"]
    done = call_tool("tools/train.py", "-c", config, "-o", "DataLoader.train_subset=64", *changes)
    check_refusal(done.returncode, done.stderr, file, "does not fit the network", named)
    assert not list(tmp_path.iterdir())


def test_a_folder_of_another_data_set_is_named(readable):
    folder, _ = readable
    for name, place in (("cifar10", folder / "fashion"), ("fashion_mnist", folder / "cifar")):
        with pytest.raises(UserError, match=f"DataLoader.root {place} lacks"):
            load_dataset(name, place)
