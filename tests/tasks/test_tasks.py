"""Tasks: losses and scores compared with scikit-learn and numpy, exact sums, and descriptions in JSON."""

import json

import numpy as np
import paddle
import pytest
from sklearn import metrics

from ppcls_lite.config.catalog import TASKS
from ppcls_lite.data.dataset import Column
from ppcls_lite.tasks.task import Total, make_task, restore_task
from ppcls_lite.utils.errors import UserError

CLASSES, NUMBERS = Column("class", ("cat", "dog", "owl")), Column("number", unit="USD")
COLUMNS = {
    "classification": CLASSES,
    "regression": NUMBERS,
    "multi_label": Column("labels", ("black", "dress", "shirt")),
}


def score(task, outputs, target, sizes):
    """The scores from batches of these sizes."""
    total, start = Total(), 0
    for size in sizes:
        part = slice(start, start + size)
        total.add(task.batch_sums(paddle.to_tensor(outputs[part]), paddle.to_tensor(target[part])))
        start += size
    return task.scores(total.sums())


@pytest.fixture
def logits(rng):
    return rng.standard_normal((30, 3)).astype("float32"), rng.integers(0, 3, 30)


@pytest.fixture
def prices(rng):
    target = rng.uniform(100, 900, 30)
    return (target + rng.standard_normal(30) * 50).astype("float32")[:, None], target


def test_classification_scores_are_scikit_learn_s(logits):
    outputs, target = logits
    found = score(make_task("classification", CLASSES, {}, ""), outputs, target, [30])
    shares = paddle.nn.functional.softmax(paddle.to_tensor(outputs)).numpy()
    assert found["top1"] == pytest.approx(metrics.accuracy_score(target, outputs.argmax(1)))
    assert found["loss"] == pytest.approx(metrics.log_loss(target, shares, labels=[0, 1, 2]), rel=1e-5)
    assert found["top5"] == 1.0


def test_regression_scores_are_scikit_learn_s(prices):
    outputs, target = prices
    task = make_task("regression", NUMBERS, {}, "")
    task.fit(target)
    found = score(task, outputs, target, [30])
    predicted = outputs.ravel().astype(np.float64)
    assert found["mae"] == pytest.approx(metrics.mean_absolute_error(target, predicted))
    assert found["rmse"] == pytest.approx(metrics.mean_squared_error(target, predicted) ** 0.5)
    assert found["r2"] == pytest.approx(metrics.r2_score(target, predicted))
    assert [metric.unit for metric in task.metrics] == ["USD", "USD", "", "USD"] and not task.headline.higher_is_better


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ("l1", np.abs),
        ("l2", lambda error: error**2 / 2),
        ("huber", lambda error: np.where(np.abs(error) < 1, error**2 / 2, np.abs(error) - 0.5)),
    ],
)
def test_regression_losses_are_of_the_standardised_error(loss, expected, prices):
    outputs, target = prices
    task = make_task("regression", NUMBERS, {"loss": loss}, "")
    task.fit(target)
    found = task.loss(paddle.to_tensor(outputs * 3), paddle.to_tensor(target)).numpy()
    np.testing.assert_allclose(found, expected((3 * outputs.ravel() - target) / target.std()), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("sizes", [[30], [7, 13, 10], [1] * 30])
def test_scores_add_up_over_batches(sizes, prices, logits):
    task = make_task("regression", NUMBERS, {}, "")
    task.fit(prices[1])
    assert score(task, *prices, sizes) == pytest.approx(score(task, *prices, [30]), rel=1e-6)
    task = make_task("classification", CLASSES, {}, "")
    assert score(task, *logits, sizes) == pytest.approx(score(task, *logits, [30]), rel=1e-6)


@pytest.mark.parametrize("name", TASKS.names())
def test_a_described_task_decodes_alike(name, rng):
    task = make_task(name, COLUMNS[name], {}, "")
    again = restore_task(json.loads(json.dumps(task.describe())))
    outputs = rng.standard_normal((4, task.outputs)).astype("float32")
    assert again.decode(outputs) == task.decode(outputs) and again.outputs == task.outputs
    assert next(iter(task.row(task.decode(outputs)[0]))) == "prediction"


def test_probabilities_fall_and_add_up(logits):
    (found, *_) = make_task("classification", CLASSES, {}, "").decode(logits[0])
    shares = [one["probability"] for one in found["top"]]
    assert shares == sorted(shares, reverse=True) and sum(shares) == pytest.approx(1)
    assert {one["name"] for one in found["top"]} == {"cat", "dog", "owl"}


@pytest.mark.parametrize("name", TASKS.names())
def test_a_column_of_the_other_kind_is_refused(name):
    for other in COLUMNS.keys() - {name}:
        with pytest.raises(UserError, match=f"{name} needs a column of .* or text, but this one holds"):
            make_task(name, COLUMNS[other], {}, "")


@pytest.mark.parametrize("damage", [None, [], {"task": "x"}, {"task": "regression", "kind": 3}, {"task": "regression"}])
def test_damaged_descriptions_are_refused(damage):
    with pytest.raises((ValueError, TypeError)):
        restore_task(damage)


def report(task, outputs, target, sizes):
    """The report from batches of these sizes, in two processes that share the batches."""
    shares, start = [Total(), Total()], 0
    for i, size in enumerate(sizes):
        part = slice(start, start + size)
        pair = paddle.to_tensor(outputs[part]), paddle.to_tensor(target[part])
        shares[i % 2].add({**task.batch_sums(*pair), **task.batch_details(*pair)})
        start += size
    return task.report(Total([*shares[0].batches, *shares[1].batches]).sums())


@pytest.mark.parametrize("outputs", [3, 12, 40, 200, 201, 300])
def test_scores_by_class_are_scikit_learn_s(outputs, rng):
    """Some classes have no images, some are never predicted, and above 200 there is no confusion matrix."""
    task = make_task("classification", Column("class", tuple(f"c{i}" for i in range(outputs))), {}, "")
    logits = rng.standard_normal((90, outputs)).astype("float32")
    target = rng.integers(0, max(2, outputs // 2), 90)
    predicted = logits.argmax(1)
    found = report(task, logits, target, [40, 30, 20])
    assert found == report(task, logits, target, [90]) == report(task, logits, target, [1] * 90)
    options = {"zero_division": 0, "labels": list(range(outputs))}
    expected = metrics.precision_recall_fscore_support(target, predicted, **options)
    for name, values in zip(("precision", "recall", "f1", "support"), expected, strict=True):
        assert [row[name] for row in found["classes"]] == pytest.approx(list(values))
    assert [row["class"] for row in found["classes"]] == list(task.classes)
    macro = metrics.precision_recall_fscore_support(target, predicted, average="macro", zero_division=0)
    assert [found[f"macro_{name}"] for name in ("precision", "recall", "f1")] == pytest.approx(list(macro[:3]))
    if outputs <= 200:
        matrix = metrics.confusion_matrix(target, predicted, labels=options["labels"])
        assert found["confusion"] == matrix.tolist()
    else:
        assert "confusion" not in found
    json.dumps(found)


def test_outputs_without_a_name_are_listed_when_they_are_predicted(rng):
    task = make_task("classification", CLASSES, {"num_classes": 6}, "")
    logits = np.eye(6, dtype="float32")[[0, 1, 4, 4]]
    found = report(task, logits, np.array([0, 1, 2, 2]), [4])
    assert [row["class"] for row in found["classes"]] == ["cat", "dog", "owl", "4"]
    assert found["macro_recall"] == pytest.approx(2 / 4) and found["classes"][3]["support"] == 0


def test_a_regression_has_no_report(prices):
    task = make_task("regression", NUMBERS, {}, "")
    task.fit(prices[1])
    assert report(task, *prices, [10, 20]) == {}


def text(*cells):
    return Column("text", texts=np.array(cells, object), where=lambda i: f"houses.csv, line {i + 2}")


def test_classes_of_text_are_its_sorted_cells():
    column = text("10", "9", " 9", "b", "10")
    task = make_task("classification", column, {}, "")
    assert task.classes == ("10", "9", "b") and task.outputs == 3
    found = task.encode(column.texts[[3, 2, 0]])
    assert found.dtype == np.int64 and found.tolist() == [2, 1, 0]
    assert [task.name_target(index) for index in found] == ["b", "9", "10"]
    assert restore_task(json.loads(json.dumps(task.describe()))).describe() == task.describe()
    with pytest.raises(UserError, match="there is no class '11'; did you mean '10'"):
        task.encode(np.array(["11"], object))


@pytest.mark.parametrize(
    ("cells", "options", "message"),
    [
        (("a", "b", " "), {}, "houses.csv, line 4: the cell is empty"),
        (("a", "a"), {}, "all its cells are 'a', expected at least two classes"),
        (("a", "b", "c"), {"num_classes": 2}, "num_classes is 2, but the column has 3 classes"),
    ],
)
def test_text_without_classes_is_refused(cells, options, message):
    with pytest.raises(UserError, match=message):
        make_task("classification", text(*cells), options, "")
