"""Multi-label classification, compared with scikit-learn."""

import json

import numpy as np
import paddle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics
from sklearn.preprocessing import MultiLabelBinarizer

from ppcls_lite.data.dataset import Column
from ppcls_lite.tasks.task import Total, make_task, restore_task
from ppcls_lite.utils.errors import UserError
from tests.tasks.test_tasks import text

LABELS = ("black", "blue", "dress", "shirt", "shoes")


def make(labels=LABELS, **options):
    return make_task("multi_label", Column("labels", tuple(labels)), options, "")


def evaluate(task, outputs, target, parts):
    total = Total()
    for part in parts:
        pair = paddle.to_tensor(outputs[part]), paddle.to_tensor(target[part])
        total.add({**task.batch_sums(*pair), **task.batch_details(*pair)})
    return total.sums()


def draw(rng, n, labels=5):
    target = (rng.random((n, labels)) < 0.4).astype("uint8")
    return (rng.standard_normal((n, labels)) + target).astype("float32"), target


@settings(deadline=None, max_examples=20)
@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=8),
    thresholds=st.lists(st.floats(0, 1), min_size=5, max_size=5),
    seed=st.integers(0, 999),
)
def test_scores_are_scikit_learn_s_for_batches_of_any_size_and_order(sizes, thresholds, seed):
    """Some labels do not occur, and some are never predicted."""
    rng = np.random.default_rng(seed)
    task = make(threshold=thresholds)
    outputs, target = draw(rng, sum(sizes))
    outputs = outputs.round(1)  # with ties
    target[:, seed % 5] = 0
    parts = np.split(rng.permutation(len(target)), np.cumsum(sizes)[:-1])
    found = task.scores(evaluate(task, outputs, target, parts))
    predicted = [[label in one["labels"] for label in LABELS] for one in task.decode(outputs)]
    occurs = target.any(axis=0)
    shares = paddle.nn.functional.sigmoid(paddle.to_tensor(outputs)).numpy().astype("float64")
    averages = [metrics.average_precision_score(t, o) for t, o in zip(target.T[occurs], outputs.T[occurs], strict=True)]
    assert found == pytest.approx(
        {
            "loss": np.mean([metrics.log_loss(t, p, labels=[0, 1]) for t, p in zip(target, shares, strict=True)]),
            "map": np.mean(averages) if averages else 0.0,
            "f1": metrics.f1_score(target, predicted, average="macro", zero_division=0),
            "hamming": metrics.hamming_loss(target, np.array(predicted)),
            "exact": metrics.accuracy_score(target, np.array(predicted)),
        },
        rel=1e-5,
    )
    whole = task.scores(evaluate(task, outputs, target, [np.arange(len(target))]))
    assert {name: whole[name] for name in whole if name != "loss"} == {n: found[n] for n in found if n != "loss"}
    assert whole["loss"] == pytest.approx(found["loss"], rel=1e-5)


def test_map_is_scikit_learn_s_where_all_labels_occur(rng):
    task, (outputs, target) = make(), draw(rng, 80)
    sums = evaluate(task, outputs, target, [np.arange(50), np.arange(50, 80)])
    assert task.scores(sums)["map"] == pytest.approx(metrics.average_precision_score(target, outputs, average="macro"))
    assert task.headline.name == "map" and not {m.name: m for m in task.metrics}["hamming"].higher_is_better


def test_only_sums_of_scalars_are_known_in_training(rng):
    task, (outputs, target) = make(), draw(rng, 8)
    sums = task.batch_sums(paddle.to_tensor(outputs), paddle.to_tensor(target))
    assert set(task.scores({name: float(value) for name, value in sums.items()})) == {"loss", "hamming", "exact"}


def test_a_diverged_network_is_scored(rng):
    task, (outputs, target) = make(), draw(rng, 8)
    outputs[0], outputs[1] = np.nan, np.inf
    scores = task.scores(evaluate(task, outputs, target, [np.arange(8)]))
    assert np.isnan(scores["loss"]) and 0 <= scores["map"] <= 1


def test_the_report_has_a_row_for_each_label(rng):
    task, (outputs, target) = make(threshold=[0.5, 0.6, 0.7, 0.2, 0.5]), draw(rng, 40)
    target[:, 1] = 0
    report = task.report(evaluate(task, outputs, target, [np.arange(40)]))
    predicted = outputs > np.log(np.array(task.threshold) / (1 - np.array(task.threshold)))
    expected = metrics.precision_recall_fscore_support(target, predicted, zero_division=0)
    for name, values in zip(("precision", "recall", "f1", "support"), expected, strict=True):
        assert [row[name] for row in report["classes"]] == pytest.approx(list(values))
    assert [(row["class"], row["threshold"]) for row in report["classes"]] == list(
        zip(LABELS, task.threshold, strict=True)
    )
    assert [row["ap"] is None for row in report["classes"]] == [False, True, False, False, False]
    assert report["macro_f1"] == task.scores(evaluate(task, outputs, target, [np.arange(40)]))["f1"]
    json.dumps(report)


def test_mixed_targets_have_a_mixed_loss(rng):
    task, (outputs, target) = make(), draw(rng, 8)
    soft = task.soften(target)
    assert soft.dtype == np.float32
    one, other, mixed = (
        task.loss(paddle.to_tensor(outputs), paddle.to_tensor(values)).numpy()
        for values in (target, target[::-1].copy(), 0.7 * soft + np.float32(0.3) * soft[::-1])
    )
    np.testing.assert_allclose(mixed, 0.7 * one + 0.3 * other, rtol=1e-5)
    assert mixed.shape == (8,)
    sums = task.batch_sums(paddle.to_tensor(outputs), paddle.to_tensor(0.7 * soft + np.float32(0.3) * soft[::-1]))
    assert float(sums["wrong"]) == (((outputs > 0) != target).sum())


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.lists(st.sampled_from(["b", "a", "10", "9", "Ä"]), max_size=4), min_size=1).filter(
        lambda rows: len(set().union(*rows)) > 1
    )
)
def test_text_is_split_and_encoded_as_by_multi_label_binarizer(rows):
    column = text(*(" , ".join(row) for row in rows))
    task, binarizer = make_task("multi_label", column, {"separator": ","}, ""), MultiLabelBinarizer()
    expected = binarizer.fit_transform(rows)
    assert task.labels == tuple(binarizer.classes_)
    np.testing.assert_array_equal(task.encode(column.texts), expected)
    assert [task.name_target(row) for row in task.encode(column.texts)] == [
        ",".join(found) for found in binarizer.inverse_transform(expected)
    ]


@pytest.mark.parametrize(
    ("cells", "options", "message"),
    [
        (("a", "a", ""), {}, "needs at least two labels, but the column has only 'a'"),
        (("", " | "), {}, "needs at least two labels, but the column has none"),
        (("a|b",), {"separator": ""}, "separator is empty"),
        (("a|b",), {"threshold": [0.1, 0.2, 0.3]}, "threshold has 3 values, expected one for each of the 2 labels"),
        (("a|b",), {"threshold": 1.5}, "threshold is 1.5, expected"),
    ],
)
def test_bad_columns_and_options_are_refused(cells, options, message):
    with pytest.raises(UserError, match=message):
        make_task("multi_label", text(*cells), options, "")


def test_unknown_labels_are_refused():
    task = make_task("multi_label", text("black|dress"), {}, "")
    with pytest.raises(UserError, match="there is no label 'dres'; did you mean 'dress'"):
        task.encode(np.array(["black|dres"], object))


@pytest.mark.parametrize("threshold", [0.5, [0.1, 0.9, 0.0, 1.0, 0.5]])
def test_a_restored_task_decodes_alike(threshold, rng):
    task, (outputs, _) = make(threshold=threshold, separator="; "), draw(rng, 9)
    again = restore_task(json.loads(json.dumps(task.describe())))
    assert again.decode(outputs) == task.decode(outputs)
    row = again.row(again.decode(outputs)[0])
    assert row["prediction"].split("; ") == again.decode(outputs)[0]["labels"] or row["prediction"] == ""
    assert list(row) == ["prediction", *(f"probability_{label}" for label in LABELS)]
    if threshold != 0.5:
        assert all("dress" in one["labels"] and "shirt" not in one["labels"] for one in again.decode(outputs))


def test_a_picture_explains_the_most_probable_label():
    task, outputs = make(), np.array([-1, 3, 0, 1, 2], "float32")
    assert task.explain(outputs, None) == (1, "blue 95.3%")
    assert task.explain(outputs, "dress") == (2, "dress 50.0%")
    with pytest.raises(UserError, match="there is no label 'dresses'; did you mean 'dress'"):
        task.explain(outputs, "dresses")


@pytest.mark.parametrize("labels", [5, 30])
def test_the_picture_has_the_most_frequent_labels(labels, rng):
    task, (outputs, target) = make([f"$label_{i}" for i in range(labels)]), draw(rng, 50, labels)
    target[:, 0] = 0
    figure = task.pictures(evaluate(task, outputs, target, [np.arange(50)]))["precision_recall"]
    figure.canvas.draw()
    assert len(figure.axes[0].lines) == min(labels - 1, 10) == len(figure.legends[0].get_texts())
