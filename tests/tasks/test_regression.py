"""Regression in logarithms and with relative losses, from numbers and from text."""

import json

import numpy as np
import paddle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from ppcls_lite.arch.base import StandardizedLinear
from ppcls_lite.data.dataset import Column
from ppcls_lite.tasks.task import Total, make_task, restore_task
from ppcls_lite.utils.errors import UserError
from tests.tasks.test_tasks import NUMBERS, text

OPTIONS = [{"loss": loss, "log": log} for loss in ("l1", "l2", "huber", "mape") for log in (False, True)]


def make(options, target):
    task = make_task("regression", NUMBERS, options, "")
    task.fit(task.encode(target))
    return task


def evaluate(task, outputs, target, parts):
    """The sums over batches, given as arrays of indices."""
    total = Total()
    for part in parts:
        pair = paddle.to_tensor(outputs[part]), paddle.to_tensor(target[part])
        total.add({**task.batch_sums(*pair), **task.batch_details(*pair)})
    return total.sums()


@pytest.fixture
def prices(rng):
    """Outputs [N, 1] of a network that predicts logarithms, and prices."""
    target = np.exp(rng.normal(12, 0.8, 60))
    return (np.log(target) + rng.normal(0, 0.3, 60)).astype("float32")[:, None], target


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_metrics_are_scikit_learn_s_in_the_column_s_unit(options, prices):
    outputs, target = prices
    task, predicted = make(options, target), np.exp(outputs.astype("float64")).ravel()
    if not options["log"]:
        outputs = predicted.astype("float32")[:, None]
        predicted = outputs.ravel().astype("float64")
    found = task.scores(evaluate(task, outputs, target, [np.arange(60)]))
    expected = {
        "mae": metrics.mean_absolute_error(target, predicted),
        "rmse": metrics.mean_squared_error(target, predicted) ** 0.5,
        "r2": metrics.r2_score(target, predicted),
        "median": metrics.median_absolute_error(target, predicted),
    }
    if options["log"] or options["loss"] == "mape":
        expected["mape"] = metrics.mean_absolute_percentage_error(target, predicted)
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-9)
    assert set(found) == {"loss", *expected} == {"loss", *(metric.name for metric in task.metrics)}
    assert task.headline.name == ("mape" if options["loss"] == "mape" else "mae")
    if options["loss"] == "mape":
        assert found["loss"] == pytest.approx(found["mape"], rel=1e-4)


@pytest.mark.parametrize("loss", ["l1", "l2", "huber"])
def test_losses_of_logarithms_are_those_of_a_column_of_logarithms(loss, prices):
    outputs, target = prices
    logarithms = np.log(target)
    expected = make({"loss": loss}, logarithms).loss(paddle.to_tensor(outputs), paddle.to_tensor(logarithms))
    found = make({"loss": loss, "log": True}, target).loss(paddle.to_tensor(outputs), paddle.to_tensor(target))
    np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@settings(deadline=None, max_examples=20)
@given(values=st.lists(st.floats(1e-3, 1e6), min_size=2, max_size=6), seed=st.integers(0, 99))
def test_the_gradient_of_a_new_head_is_finite(options, values, seed):
    """Also where a prediction is exact."""
    paddle.seed(seed)
    target = np.array(values)
    task = make(options, target)
    head = task.make_head(paddle.nn.Linear(4, 1))
    assert isinstance(head, StandardizedLinear)
    task.loss(head(paddle.randn([len(target), 4])), paddle.to_tensor(target)).sum().backward()
    assert np.isfinite(head.weight.grad.numpy()).all() and np.isfinite(head.bias.grad.numpy()).all()


def test_an_exact_prediction_has_loss_and_gradient_0():
    task = make({"loss": "mape", "log": True}, np.array([1.0, np.e]))
    outputs = paddle.zeros([1, 1])
    outputs.stop_gradient = False
    loss = task.loss(outputs, paddle.ones([1], "float64"))
    loss.sum().backward()
    assert loss.item() == 0 and outputs.grad.item() == 0


def test_huge_logarithms_give_finite_scores(prices):
    outputs, target = prices
    task = make({"log": True}, target)
    found = task.scores(evaluate(task, outputs * 1e30, target, [np.arange(60)]))
    assert all(np.isfinite(value) for name, value in found.items() if name != "loss")


@settings(deadline=None, max_examples=20)
@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=12), seed=st.integers(0, 99))
def test_scores_do_not_depend_on_the_order_of_batches(sizes, seed):
    rng = np.random.default_rng(seed)
    target = rng.uniform(1, 900, sum(sizes))
    outputs = np.log(target + rng.uniform(0, 50, len(target))).astype("float32")[:, None]
    task = make({"log": True}, target)
    parts = np.split(np.arange(len(target)), np.cumsum(sizes)[:-1])
    found = task.scores(evaluate(task, outputs, target, parts))
    shuffled = [parts[i] for i in rng.permutation(len(parts))]
    assert task.scores(evaluate(task, outputs, target, shuffled)) == found
    whole = task.scores(evaluate(task, outputs, target, [np.arange(len(target))]))
    assert whole["median"] == found["median"] and whole == pytest.approx(found, rel=1e-5)


def test_the_median_is_not_known_in_training(prices):
    outputs, target = prices
    task = make({}, target)
    sums = task.batch_sums(paddle.to_tensor(outputs), paddle.to_tensor(target))
    assert set(task.scores({name: float(value) for name, value in sums.items()})) == {"loss", "mae", "rmse", "r2"}


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_restored_task_decodes_alike(options, prices):
    task = make(options, prices[1])
    again = restore_task(json.loads(json.dumps(task.describe())))
    assert again.decode(prices[0]) == task.decode(prices[0])
    value = again.decode(prices[0])[0]["value"]
    assert value == pytest.approx(np.exp(prices[0][0, 0]) if options["log"] else prices[0][0, 0], rel=1e-5)
    assert task.explain(prices[0][0], None)[1] == f"{value:.4g} USD"


def test_descriptions_from_before_there_were_logarithms_are_restored():
    task = restore_task({"task": "regression", "kind": "number", "unit": "USD", "loss": "huber"})
    assert task.decode(np.array([[2.5]], "float32")) == [{"value": 2.5}]


def test_text_becomes_numbers():
    column = text("1e3", " -2.5", "7")
    task = make_task("regression", column, {}, "")
    assert task.encode(column.texts[[1, 0]]).tolist() == [-2.5, 1000.0]


@pytest.mark.parametrize(
    ("cells", "options", "message"),
    [
        (("1", "x", ""), {}, "line 3: the target is 'x', expected a number"),
        (("1", ""), {}, "line 3: the target is '', expected a number"),
        (("1", "inf"), {}, "line 3: the target is 'inf', expected a number"),
        (("1", "0"), {"loss": "mape"}, "line 3: the target is 0, expected a number other than 0 for loss: mape"),
        (("1", "-2"), {"log": True}, "line 3: the target is -2, expected a number above 0 for log: true"),
    ],
)
def test_bad_cells_are_refused_with_their_place(cells, options, message):
    with pytest.raises(UserError, match=f"houses.csv, {message}"):
        make_task("regression", text(*cells), options, "")


def test_numbers_without_a_logarithm_are_refused():
    with pytest.raises(UserError, match="the target is 0, expected a number above 0 for log: true"):
        make_task("regression", NUMBERS, {"log": True}, "").encode(np.array([2.0, 0.0]))
    assert make_task("regression", NUMBERS, {}, "").encode(np.array([2.0, 0.0])).tolist() == [2, 0]


@pytest.mark.parametrize("log", [False, True])
def test_the_picture_shows_every_image(log, prices):
    outputs, target = prices
    task = make({"log": log}, target)
    figure = task.pictures(evaluate(task, outputs if log else np.exp(outputs), target, [np.arange(60)]))["predicted"]
    axes = figure.axes[0]
    assert axes.get_title() == "60 images" and axes.get_xscale() == ("log" if log else "linear")
    figure.canvas.draw()


def test_a_unitless_column_has_no_space_after_the_number():
    task = make_task("regression", Column("number"), {}, "")
    assert task.explain(np.array([2.0], "float32"), None) == (0, "2")
