"""Exported networks compute what the network does, and say what they need; what does not is not kept."""

import importlib
from collections import Counter

import numpy as np
import paddle
import pytest

from ppcls_lite.arch.base import Backbone
from ppcls_lite.deploy import export as exporting
from ppcls_lite.deploy.export import check_format, export
from ppcls_lite.deploy.exported import paddle_files, prefix_of, read_metadata
from ppcls_lite.deploy.rewrite import deploy_form
from ppcls_lite.deploy.runtimes import eager, open_runtime
from ppcls_lite.utils.errors import TrainingError, UserError
from tests.deploy.formats import FORMATS, ONNX, PADDLE_2
from tests.helpers import slow_except

BACKENDS = {"paddle": ("paddle",), "onnx": ("onnxruntime", "openvino")}
SMALL = {
    "densenet_cifar": {"depth": 22},
    "lenet": {},
    "mobilenet_v1": {"scale": 0.25, "bias": True},
    "oct_mobilenet": {"scale": 0.25, "alpha": 1.0, "num_classes": 7},
    "oct_resnet20": {},
    "osa40_5x43": {},
    "squeezenet1_1": {"num_classes": 10},
    "vovnet27_slim": {"stem": "cifar", "bottleneck": True, "num_classes": 10},
}


def place(folder, form):
    return folder / ("network.onnx" if form == "onnx" else "network")


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", SMALL)
def test_exported_networks_compute_what_the_network_does_at_any_batch_size(name, form, random_network, tmp_path, rng):
    network, metadata = random_network(name, 35 if name.startswith("oct") else 32, **SMALL[name])
    done = export(network, metadata, form, place(tmp_path / "new", form))
    assert done.difference < 1e-4
    assert sorted(done.files) == sorted((tmp_path / "new").iterdir())
    images = rng.standard_normal((5, metadata.channels, metadata.image_size, metadata.image_size), "float32")
    expected = eager(network)(images)
    for backend in BACKENDS[form]:
        found = open_runtime(place(tmp_path / "new", form), backend, threads=1)(images)
        np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())
    assert read_metadata(place(tmp_path / "new", form)) == metadata


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("size", slow_except([32, 47], [47]))
def test_relu6_and_same_padding_are_exported(size, form, tensorflow_like, tmp_path, rng):
    network, metadata = tensorflow_like(size)
    export(network, metadata, form, place(tmp_path, form))
    images = rng.standard_normal((3, 3, size, size), "float32")
    expected = eager(network)(images)
    for backend in BACKENDS[form]:
        found = open_runtime(place(tmp_path, form), backend, threads=1)(images)
        np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


class Branching(Backbone, paddle.nn.Layer):
    """A network of a user: which of two heads is applied depends on values."""

    def __init__(self, threshold):
        super().__init__()
        self.threshold = threshold
        self.conv = paddle.nn.Conv2D(3, 8, 3)
        self.first, self.second = (paddle.nn.Linear(8, 10) for _ in range(2))

    def forward(self, x):
        x = paddle.mean(self.conv(x), [2, 3])
        return self.first(x) if paddle.mean(x) > self.threshold else self.second(x)


@pytest.mark.skipif(not PADDLE_2, reason="Paddle 3.3 cannot write conditions in Paddle 2's format")
@pytest.mark.parametrize(("threshold", "head"), [(-9.0, "first"), (9.0, "second")])
def test_control_flow_of_a_user_s_network_is_exported(threshold, head, random_network, tmp_path, rng):
    network, (_, metadata) = Branching(threshold), random_network("resnet20")
    export(network, metadata, "paddle", tmp_path / "x")
    images = rng.standard_normal((2, 3, 32, 32), "float32")
    expected = getattr(network, head)(paddle.mean(network.conv(paddle.to_tensor(images)), [2, 3])).numpy()
    found = open_runtime(tmp_path / "x", "paddle", threads=1)(images)
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.skipif(PADDLE_2, reason="Paddle 2.6 exports it")
@pytest.mark.parametrize("form", FORMATS)
def test_control_flow_that_cannot_be_exported_is_one_sentence(form, random_network, tmp_path):
    _, metadata = random_network("resnet20")
    with pytest.raises(UserError, match="Branching has an if or while that depends on the values of tensors"):
        export(Branching(0.0), metadata, form, place(tmp_path, form))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", FORMATS)
def test_what_differs_from_the_network_is_not_kept(form, random_network, tmp_path, monkeypatch):
    network, metadata = random_network("resnet20")

    def other_form(network, images):
        result = deploy_form(network, images)
        result.fc.bias.set_value(result.fc.bias + 0.01 * float(network(images).abs().max()))
        return result

    monkeypatch.setattr(exporting, "deploy_form", other_form)
    with pytest.raises(TrainingError, match=r"differs from the original by \S+e-0[123] of the largest"):
        export(network, metadata, form, place(tmp_path, form))
    assert list(tmp_path.iterdir()) == []


def test_a_batch_size_can_be_fixed(random_network, tmp_path, rng):
    network, metadata = random_network("resnet20")
    export(network, metadata, FORMATS[-1], place(tmp_path, FORMATS[-1]), batch_size=2)
    run = open_runtime(place(tmp_path, FORMATS[-1]), BACKENDS[FORMATS[-1]][0], threads=1)
    assert run(rng.standard_normal((2, 3, 32, 32), "float32")).shape == (2, 10)


def test_damaged_paddle_files_are_refused_before_paddle_sees_them(random_network, tmp_path):
    network, metadata = random_network("lenet")
    prefix = tmp_path / "net.v1"
    export(network, metadata, "paddle", prefix)
    program, parameters, sidecar = paddle_files(prefix)
    assert {prefix_of(path) for path in (prefix, program, parameters, sidecar)} == {prefix}
    whole = parameters.read_bytes()
    parameters.write_bytes(whole[:-7])
    with pytest.raises(UserError, match=r"net\.v1\.pdiparams does not match its checksum in net\.v1\.meta\.json"):
        read_metadata(prefix)
    parameters.write_bytes(whole)
    text = sidecar.read_text()
    for damaged in ("", "[]", text.replace('"mean"', '"men"'), text.replace('"image_size": 28', '"image_size": 0')):
        sidecar.write_text(damaged)
        with pytest.raises(UserError, match="damaged"):
            read_metadata(prefix)
    sidecar.unlink()
    with pytest.raises(UserError, match=r"net\.v1\.meta\.json is missing"):
        read_metadata(prefix)


@pytest.mark.parametrize("form", ONNX)
def test_foreign_and_damaged_onnx_files_are_refused(form, random_network, tmp_path):
    import onnx

    network, metadata = random_network("lenet")
    file = place(tmp_path, form)
    export(network, metadata, form, file)
    model = onnx.load(str(file))
    del model.metadata_props[:]
    onnx.save(model, str(tmp_path / "foreign.onnx"))
    (tmp_path / "damaged.onnx").write_bytes(file.read_bytes()[:-100])
    (tmp_path / "text.onnx").write_text("no network")
    for name, message in (
        ("foreign", "has no metadata of ppcls_lite"),
        ("damaged", "not a readable ONNX file"),
        ("text", "not a readable ONNX file"),
        ("missing", "cannot be read: No such file"),
    ):
        with pytest.raises(UserError, match=message):
            read_metadata(tmp_path / f"{name}.onnx")
    with pytest.raises(UserError, match="onnxruntime cannot open"):
        open_runtime(tmp_path / "text.onnx", "onnxruntime", threads=1)


def test_onnx_needs_paddle_3_and_its_packages(monkeypatch):
    monkeypatch.setattr(paddle, "__version__", "2.6.2")
    with pytest.raises(UserError, match=r"needs Paddle 3, found 2\.6\.2"):
        check_format("onnx")
    monkeypatch.setattr(paddle, "__version__", "3.3.1")

    def missing(name):
        raise ImportError(f"No module named '{name}'")

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(UserError, match=r"onnx cannot be imported .*; run pip install -r requirements-deploy.txt"):
        check_format("onnx")
    check_format("paddle")


@pytest.mark.parametrize("form", ONNX)
@pytest.mark.parametrize("size", [32, 35])
def test_onnx_graphs_are_in_the_form_that_runtimes_optimise(form, size, random_network, tmp_path):
    import onnx

    network, metadata = random_network("oct_resnet20", size)
    export(network, metadata, form, place(tmp_path, form))
    graph = onnx.load(str(place(tmp_path, form))).graph
    kinds = Counter(node.op_type for node in graph.node)
    paths = sum(isinstance(layer, paddle.nn.Conv2D) for layer in network.sublayers())
    assert set(kinds) == {"Conv", "Relu", "Add", "AveragePool", "Resize", "GlobalAveragePool", "Flatten", "Gemm"}
    assert kinds["Conv"] == paths and kinds["Gemm"] == 1
    constants = {one.name: onnx.numpy_helper.to_array(one) for one in graph.initializer}
    assert set(constants) <= {name for node in graph.node for name in node.input}
    scales = [constants[node.input[2]].tolist() for node in graph.node if node.op_type == "Resize"]
    assert len(scales) == 10 and all(1.5 < scale[2] <= 2 for scale in scales)
    if size == 32:
        assert scales == [[1, 1, 2, 2]] * 10
    firsts = {value.type.tensor_type.shape.dim[0].dim_param for value in (*graph.input, *graph.value_info)}
    assert firsts == {"batch"}  # else runtimes cannot tell that what is added has equal shapes
