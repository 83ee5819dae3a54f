"""Several heads: what each one gives on its own, side by side."""

import json

import numpy as np
import paddle
import pytest

from ppcls_lite.arch.base import Heads, get_head, replace_head
from ppcls_lite.arch.registry import build_model
from ppcls_lite.data.dataset import Column
from ppcls_lite.tasks.several import Head, Several
from ppcls_lite.tasks.task import Total, make_task, restore_task
from ppcls_lite.utils.errors import UserError

WEIGHTS = {"colour": 1.0, "price": 0.5, "tags": 2.0}


def make_heads(names=("colour", "price", "tags")):
    made = {
        "colour": make_task("classification", Column("class", ("black", "blue", "red")), {}, ""),
        "kind": make_task("classification", Column("class", ("dress", "shirt")), {}, ""),
        "price": make_task("regression", Column("number", unit="USD"), {"loss": "huber", "log": True}, ""),
        "tags": make_task("multi_label", Column("labels", ("new", "old", "sale")), {}, ""),
    }
    return Several({name: Head(made[name], f"{name}_column", WEIGHTS.get(name, 1.0)) for name in names})


def make_values(rng, n=20):
    """Values of columns, as a data set has them."""
    return {
        "colour_column": rng.integers(0, 3, n),
        "kind_column": rng.integers(0, 2, n),
        "price_column": rng.uniform(1, 99, n),
        "tags_column": (rng.random((n, 3)) < 0.5).astype("uint8"),
    }


@pytest.fixture
def case(rng):
    task, values = make_heads(), make_values(rng)
    target = task.encode(values)
    task.fit(target)
    return task, values, target, rng.standard_normal((20, 7)).astype("float32")


def split(outputs):
    return {"colour": outputs[:, :3], "price": outputs[:, 3:4], "tags": outputs[:, 4:]}


def evaluate(task, outputs, target, parts=(slice(0, 12), slice(12, 20))):
    total = Total()
    for part in parts:
        pair = paddle.to_tensor(outputs[part]), paddle.to_tensor(target[part])
        total.add({**task.batch_sums(*pair), **task.batch_details(*pair)})
    return total.sums()


def test_targets_and_outputs_are_side_by_side(case):
    task, values, target, _ = case
    assert target.dtype == np.float64 and target.shape == (20, 5) and task.outputs == 7
    np.testing.assert_array_equal(target[:, 0], values["colour_column"])
    np.testing.assert_array_equal(target[:, 1], values["price_column"])
    np.testing.assert_array_equal(target[:, 2:], values["tags_column"])
    assert task.parts == {"colour": 3, "price": 1, "tags": 3}
    price = task.heads["price"].task
    assert (price.mean, price.std) == pytest.approx(
        (np.log(values["price_column"]).mean(), np.log(values["price_column"]).std())
    )


def test_the_loss_is_the_weighted_sum(case):
    task, values, target, outputs = case
    expected = sum(
        WEIGHTS[name] * task.heads[name].task.loss(paddle.to_tensor(part), paddle.to_tensor(values[f"{name}_column"]))
        for name, part in split(outputs).items()
    )
    found = task.loss(paddle.to_tensor(outputs), paddle.to_tensor(target))
    assert found.shape == [20]
    np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-6)
    scores = task.scores(evaluate(task, outputs, target))
    assert scores["loss"] == pytest.approx(sum(WEIGHTS[name] * scores[f"{name}_loss"] for name in WEIGHTS))
    assert scores["loss"] == pytest.approx(found.numpy().mean(), rel=1e-5)


def test_softened_targets_have_the_same_loss_and_mix(case):
    task, _, target, outputs = case
    soft = task.soften(target)
    assert soft.dtype == np.float32 and soft.shape == (20, 7)
    hard_loss, soft_loss = (task.loss(paddle.to_tensor(outputs), paddle.to_tensor(one)) for one in (target, soft))
    np.testing.assert_allclose(soft_loss.numpy(), hard_loss.numpy(), rtol=1e-4, atol=1e-5)
    sums = [task.batch_sums(paddle.to_tensor(outputs), paddle.to_tensor(one)) for one in (target, soft)]
    assert [float(one["colour/top1"]) for one in sums] == [float(sums[0]["colour/top1"])] * 2
    mixed = paddle.to_tensor(0.6 * soft + np.float32(0.4) * soft[::-1])
    assert np.isfinite(task.loss(paddle.to_tensor(outputs), mixed).numpy()).all()


def test_scores_and_reports_are_those_of_the_heads(case):
    task, values, target, outputs = case
    sums = evaluate(task, outputs, target)
    scores, report = task.scores(sums), task.report(sums)
    for name, part in split(outputs).items():
        head = task.heads[name].task
        own = evaluate(head, part, values[f"{name}_column"])
        assert {key: scores[f"{name}_{key}"] for key in head.scores(own)} == head.scores(own)
        assert {key: report[f"{name}_{key}"] for key in head.report(own)} == head.report(own)
    assert {metric.name for metric in task.metrics} == set(scores)
    assert task.scores(evaluate(task, outputs, target, (slice(12, 20), slice(0, 12)))) == scores
    assert set(task.pictures(sums)) == {"colour_confusion", "price_predicted", "tags_precision_recall"}
    json.dumps(report)


def test_the_headline_is_the_loss_or_a_head_s_metric(case):
    task = case[0]
    assert task.headline.name == "loss" and not task.headline.higher_is_better
    titles = {metric.name: (metric.title, metric.unit) for metric in task.metrics}
    assert titles["colour_top1"] == ("colour top-1", "%") and titles["price_mae"] == (
        "price mean absolute error",
        "USD",
    )
    assert titles["tags_loss"] == ("tags loss", "")
    task.choose_headline("tags_map")
    assert task.headline.name == "tags_map" and len(task.metrics) == len(titles)
    with pytest.raises(UserError, match="there is no metric 'colour_top2'; did you mean 'colour_top"):
        task.choose_headline("colour_top2")


def test_all_right_counts_images_on_which_every_head_is(rng):
    task, values = make_heads(("colour", "kind")), make_values(rng)
    target, outputs = task.encode(values), rng.standard_normal((20, 5)).astype("float32")
    right = (outputs[:, :3].argmax(1) == values["colour_column"]) & (outputs[:, 3:].argmax(1) == values["kind_column"])
    assert task.scores(evaluate(task, outputs, target))["exact"] == right.mean()
    assert [metric.name for metric in task.metrics[:2]] == ["loss", "exact"]
    soft = task.batch_sums(paddle.to_tensor(outputs), paddle.to_tensor(task.soften(target)))
    assert float(soft["exact"]) == right.sum()
    assert "exact" not in {metric.name for metric in make_heads().metrics}


def test_decoding_joins_the_heads(case):
    task, _, _, outputs = case
    again = restore_task(json.loads(json.dumps(task.describe())))
    decoded = again.decode(outputs)
    assert decoded == task.decode(outputs) and again.describe() == task.describe()
    for name, part in split(outputs).items():
        assert [one[name] for one in decoded] == task.heads[name].task.decode(part)
    row = task.row(decoded[0])
    best = decoded[0]["colour"]["top"][0]
    assert list(row)[:5] == ["prediction", "colour", "colour_probability", "price", "tags"]
    assert (row["colour"], row["colour_probability"]) == (best["name"], best["probability"])
    assert row["price"] == decoded[0]["price"]["value"]
    assert row["prediction"] == f"{row['colour']}, {row['price']:.4g}, {row['tags']}"
    assert "tags_probability_sale" in row


def test_targets_are_shown_by_name(rng):
    task, values = make_heads(("colour", "kind")), make_values(rng)
    target = task.encode(values)
    colour, kind = task.heads["colour"].task.classes, task.heads["kind"].task.classes
    assert task.name_target(target[0]) == f"{colour[values['colour_column'][0]]}, {kind[values['kind_column'][0]]}"
    assert make_heads().name_target(np.array([1, 2.5, 1, 0, 1])) == "blue, 2.5, new|sale"


def test_a_picture_explains_one_output(case):
    task, outputs = case[0], np.array([0, 5, 0, 0, -2, 3, 0], "float32")
    assert task.explain(outputs, None)[0] == 1 and task.explain(outputs, None)[1].startswith("colour blue 9")
    assert task.explain(outputs, "tags") == (5, "tags old 95.3%")
    assert task.explain(outputs, "tags.sale") == (6, "tags sale 50.0%")
    assert task.explain(outputs, "price") == (3, "price 1 USD")
    with pytest.raises(UserError, match=r"there is no head 'color', expected HEAD.CLASS; did you mean 'colour'"):
        task.explain(outputs, "color.blue")
    with pytest.raises(UserError, match="there is no class 'blu'"):
        task.explain(outputs, "colour.blu")


def test_a_network_has_a_named_layer_for_each_head(case):
    task = case[0]
    network = build_model("resnet20", num_classes=task.outputs)
    replace_head(network, task.make_head)
    network.eval()
    head = get_head(network)
    assert isinstance(head, Heads)
    assert {"fc.colour.weight", "fc.price.weight", "fc.price.mean", "fc.tags.bias"} <= set(network.state_dict())
    assert {name for name, _ in network.named_parameters()} >= {"fc.colour.weight", "fc.tags.weight"}
    images = paddle.randn([2, 3, 32, 32])
    outputs, features = network(images), network.forward_pooled(images)
    assert outputs.shape == [2, 7] and outputs.dtype == paddle.float32
    for name, part in split(outputs.numpy()).items():
        np.testing.assert_allclose(part, head[name](features).numpy(), rtol=1e-6)
    fresh = restore_task(task.describe())
    fresh.read_head(head)
    price = task.heads["price"].task
    assert fresh.heads["price"].task.mean == pytest.approx(price.mean)
    task.loss(outputs, paddle.to_tensor(case[2][:2])).sum().backward()
    assert all(head[name].weight.grad is not None for name in task.tasks)


def test_a_weight_of_0_leaves_a_head_untrained(case):
    heads = case[0].heads
    task = Several({name: Head(head.task, head.column, float(name == "tags")) for name, head in heads.items()})
    outputs = paddle.to_tensor(case[3])
    outputs.stop_gradient = False
    task.loss(outputs, paddle.to_tensor(case[2])).sum().backward()
    assert (outputs.grad.numpy()[:, :4] == 0).all() and (outputs.grad.numpy()[:, 4:] != 0).all()


@pytest.mark.parametrize(
    "heads",
    [
        None,
        {},
        {"a": 3},
        {"a": {"task": "several", "heads": {}}},
        {"a": {"task": "regression", "kind": "number", "column": "a", "weight": -1}},
        {"a": {"task": "regression", "kind": "number", "weight": 1}},
    ],
)
def test_damaged_descriptions_are_refused(heads):
    with pytest.raises(ValueError):
        restore_task({"task": "several", "heads": heads})


def test_classes_and_labels_without_training_samples_are_warned_of(rng, caplog):
    heads = make_heads()
    values = make_values(rng)
    values["colour_column"][:] = 1
    values["tags_column"][:, 2] = 0
    heads.fit(heads.encode(values))
    assert caplog.messages == [
        "warning: no training samples of 2 classes, first 'black'",
        "warning: no training samples of 1 class, first 'sale'",
    ]
