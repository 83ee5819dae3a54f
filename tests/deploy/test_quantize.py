"""8-bit files: close to the network, with its metadata, in every runtime that is installed."""

import importlib.util

import numpy as np
import pytest

from ppcls_lite.deploy.export import export, noise_images
from ppcls_lite.deploy.exported import read_metadata
from ppcls_lite.deploy.runtimes import open_runtime
from ppcls_lite.engine.quantized import Deployed, check_drop
from ppcls_lite.tasks.classification import Classification
from ppcls_lite.tasks.task import Metric
from ppcls_lite.utils.errors import TrainingError
from tests.deploy.formats import ONNX

has_quantizer = bool(ONNX) and importlib.util.find_spec("ml_dtypes") is not None
quantizes = pytest.mark.skipif(not has_quantizer, reason="needs Paddle 3, Paddle2ONNX and ml_dtypes")
onnx_only = pytest.mark.skipif(not ONNX, reason="needs Paddle 3 and Paddle2ONNX")
RUNTIMES = [name for name in ("onnxruntime", "openvino") if importlib.util.find_spec(name)]


@pytest.fixture
def files(random_network, tmp_path):
    """``files(name, runtime, batch_size)``: an exported network in 32 and in 8 bits."""
    from ppcls_lite.deploy.quantize import quantize

    def make(name, runtime=None, batch_size=None, **options):
        network, metadata = random_network(name, 64, **options)
        plain, small = tmp_path / "plain.onnx", tmp_path / "small.onnx"
        export(network, metadata, "onnx", plain, batch_size)
        quantize(plain, small, noise_images(10, 64, metadata.channels, seed=4), runtime)
        return plain, small

    return make


@quantizes
@pytest.mark.parametrize("runtime", [None, "onnxruntime"])
@pytest.mark.parametrize(
    "name",
    ["oct_mobilenet", "oct_resnet20", pytest.param("mobilenet_v1", marks=pytest.mark.slow), "densenet_cifar"],
)
def test_an_8_bit_file_is_small_close_and_carries_the_metadata(name, runtime, files):
    options = {"scale": 0.5} if "mobilenet" in name else {"depth": 22} if "densenet" in name else {}
    plain, small = files(name, runtime, **options)
    assert read_metadata(small) == read_metadata(plain)
    if "mobilenet" in name:
        assert small.stat().st_size < 0.4 * plain.stat().st_size
    images = noise_images(4, 64, 3, seed=9)
    expected = open_runtime(plain, "onnxruntime", 1)(images)
    for backend in RUNTIMES if runtime is None else ["onnxruntime"]:
        found = open_runtime(small, backend, 1)(images)
        assert np.abs(found - expected).mean() < 0.1 * np.abs(expected - expected.mean()).mean() + 0.01, backend


@quantizes
def test_convolutions_sums_and_the_octave_exchange_stay_in_8_bits(files, tmp_path):
    import onnx
    import onnxruntime

    _, small = files("oct_resnet20", "onnxruntime")
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(str(small), options, providers=["CPUExecutionProvider"])
    kinds = [node.op_type for node in onnx.load(str(tmp_path / "optimized.onnx")).graph.node]
    assert kinds.count("QLinearConv") > 20 and not {"Conv", "Add", "Resize", "AveragePool", "FusedConv"} & set(kinds)
    assert kinds.count("DequantizeLinear") <= 2 and kinds.count("QuantizeLinear") <= 2


@quantizes
def test_upsampling_of_8_bit_integers_changes_no_bit(files, monkeypatch):
    import onnx

    from ppcls_lite.deploy import quantize

    images = noise_images(4, 64, 3, seed=9)
    outputs, sources = [], []
    for step in (quantize.upsample_quantized, lambda model: model):
        monkeypatch.setattr(quantize, "upsample_quantized", step)
        _, small = files("oct_resnet20")
        outputs.append(open_runtime(small, "onnxruntime", 1)(images))
        nodes = onnx.load(str(small)).graph.node
        producers = {name: node.op_type for node in nodes for name in node.output}
        sources.append({producers[node.input[0]] for node in nodes if node.op_type == "Resize"})
    np.testing.assert_array_equal(*outputs)
    assert sources == [{"QuantizeLinear"}, {"DequantizeLinear"}]


@quantizes
def test_a_fixed_batch_size_is_kept_and_scored_in_whole_batches(files):
    import paddle

    plain, small = files("mobilenet_v1", batch_size=4, scale=0.25)
    assert read_metadata(small).batch_size == 4
    images = noise_images(6, 64, 3, seed=9)
    run = open_runtime(plain, "onnxruntime", 1)
    outputs = Deployed(run, 4)(paddle.to_tensor(images)).numpy()
    assert outputs.shape == (6, 1000)
    np.testing.assert_allclose(outputs[4:], run(images[[4, 5, 4, 5]])[:2], rtol=1e-4, atol=1e-5)


def test_the_loss_is_measured_in_the_direction_of_the_metric():
    top1, error = Classification.metrics[0], Metric("mae", "mean error", "", False)
    assert "(-0.40 points)" in check_drop(top1, 0.81, 0.806, 0.5)
    assert "(+3.00 points)" in check_drop(top1, 0.81, 0.84, 0.0)
    with pytest.raises(TrainingError, match=r"more than --max-drop 0\.5 points; nothing was written"):
        check_drop(top1, 0.81, 0.80, 0.5)
    assert "(-50.00 %)" in check_drop(error, 2.0, 1.0, 0.0)
    with pytest.raises(TrainingError, match="--max-drop 1 %"):
        check_drop(error, 2.0, 2.1, 1.0)
    with pytest.raises(TrainingError):
        check_drop(error, 2.0, float("nan"), 1.0)


class Session:
    """Stands in for ONNX Runtime's session on a machine with a GPU."""

    def __init__(self, model, options, providers):
        self.model, self.providers = model, providers

    def get_providers(self):
        return [name for name, _ in self.providers if name in self.working]

    def get_inputs(self):
        import types

        return [types.SimpleNamespace(name="images")]

    def run(self, _, feed):
        return [feed["images"] * 2]


@onnx_only
def test_onnx_files_run_on_a_gpu_in_float16_where_there_is_one(monkeypatch, random_network, tmp_path):
    import onnx
    import onnxruntime

    from ppcls_lite.utils.errors import UserError

    network, metadata = random_network("lenet")
    export(network, metadata, "onnx", tmp_path / "x.onnx")
    options = {"device": "gpu", "precision": "float16"}
    with pytest.raises(UserError, match=r"no GPU provider .*pip install onnxruntime-gpu"):
        open_runtime(tmp_path / "x.onnx", "onnxruntime", 1, **options)
    made = []
    monkeypatch.setattr(Session, "__init__", lambda self, *a, **k: (made.append(self), init(self, *a, **k))[1])
    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    names = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: names)
    Session.working = names
    run = open_runtime(tmp_path / "x.onnx", "onnxruntime", 1, **options)
    assert run(np.ones((1, 1, 2, 2), "float32")).sum() == 8
    assert [name for name, _ in made[-1].providers] == names[:2] and made[-1].providers[0][1]["trt_fp16_enable"]
    model = onnx.load_from_string(made[-1].model)
    assert {one.data_type for one in model.graph.initializer if len(one.dims) > 1 and one.data_type != 7} == {10}
    assert model.graph.input[0].type.tensor_type.elem_type == model.graph.output[0].type.tensor_type.elem_type == 1
    Session.working = ["CPUExecutionProvider"]
    with pytest.raises(UserError, match="could not start its GPU provider"):
        open_runtime(tmp_path / "x.onnx", "onnxruntime", 1, device="gpu")


init = Session.__init__
