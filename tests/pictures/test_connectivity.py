"""Connectivity maps against sums over channels that are written out."""

import numpy as np
import pytest

from ppcls_lite.arch import build_model
from ppcls_lite.pictures.connectivity import connectivity, draw_connectivity, summarize
from ppcls_lite.utils.errors import UserError


def randomize(network, rng):
    """Weights and statistics that differ from channel to channel, negative scales among them."""
    for name, value in network.state_dict().items():
        drawn = rng.standard_normal(value.shape).astype("float32")
        value.set_value(np.abs(drawn) + 0.1 if name.endswith("_variance") else drawn)
    return network


def expected(weights, bn, widths, folded):
    """Mean |w| on each source's channels; weights [out, in, ...]."""
    means = []
    for source in range(len(widths)):
        start = sum(widths[:source])
        total = 0.0
        for channel in range(start, start + widths[source]):
            scale = 1.0
            if folded:
                scale = abs(float(bn.weight[channel])) / np.sqrt(float(bn._variance[channel]) + 1e-5)
            total += scale * float(np.abs(weights[:, channel]).mean())
        means.append(total / widths[source])
    return np.array(means) / max(means)


@pytest.mark.parametrize("variant", ["raw", "folded"])
@pytest.mark.parametrize("bottleneck", [False, True])
def test_a_dense_block_s_map_is_that_of_its_definition(variant, bottleneck, rng):
    network = randomize(build_model("densenet_cifar", depth=16, growth=4, bottleneck=bottleneck), rng)
    maps = connectivity(network, variant)
    depth = 2 if bottleneck else 4
    assert [one.shape for one in maps] == [(depth + 1, depth + 1)] * 3
    block = network.blocks[1]
    stem = network.transitions[0].conv.weight.shape[0]
    for target, layer in enumerate(block.layers):
        entry = layer[0] if bottleneck else layer
        widths = [stem] + [4] * target
        wanted = expected(entry.conv.weight.numpy(), entry.bn, widths, variant == "folded")
        assert maps[1][: target + 1, target] == pytest.approx(wanted, rel=1e-5)
        assert np.isnan(maps[1][target + 1 :, target]).all()
    transition, widths = network.transitions[1], [stem] + [4] * depth
    wanted = expected(transition.conv.weight.numpy(), transition.bn, widths, variant == "folded")
    assert maps[1][:, -1] == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("variant", ["raw", "folded"])
def test_the_last_dense_block_is_followed_by_the_classifier(variant, rng):
    network = randomize(build_model("densenet40"), rng)
    last = connectivity(network, variant)[2]
    assert last.shape == (13, 13)  # as in the paper's figure
    wanted = expected(network.fc.weight.numpy().T, network.bn, [304] + [12] * 12, variant == "folded")
    assert last[:, -1] == pytest.approx(wanted, rel=1e-5)


def test_in_one_shot_aggregation_a_layer_has_one_source_and_the_transition_has_all(rng):
    network = randomize(build_model("osa40_5x43"), rng)
    for index, strengths in enumerate(connectivity(network, "folded")):
        assert strengths.shape == (6, 6)
        inside = strengths[:, :-1]
        assert (np.isnan(inside) == ~np.eye(6, 5, dtype=bool)).all() and (inside[np.eye(6, 5, dtype=bool)] == 1).all()
        transition = network.transitions[index]
        channels = transition.conv.weight.shape[1]
        wanted = expected(transition.conv.weight.numpy(), transition.bn, [channels - 5 * 43] + [43] * 5, True)
        assert strengths[:, -1] == pytest.approx(wanted, rel=1e-5)


def test_the_summary_leaves_the_nearest_source_out():
    nan = np.nan
    dense = np.array([[1, 0.2, 0.1, 0.5], [nan, 1, 0.3, 0.7], [nan, nan, 1, 0.6], [nan, nan, nan, 1]])
    inside, after = summarize(dense)
    assert inside == pytest.approx((0.2 + 0.1 + 0.3) / 3) and after == pytest.approx((0.5 + 0.7 + 0.6) / 3)
    chain = np.where(np.eye(4, 4, dtype=bool), 1, np.nan)
    chain[:, -1] = 0.5
    inside, after = summarize(chain)
    assert np.isnan(inside) and after == 0.5


def test_fresh_weights_use_all_sources_alike(rng):
    """So a map whose columns are even says that training has not shaped it, too."""
    for strengths in connectivity(build_model("densenet40"), "raw")[:2]:
        assert np.nanmin(strengths) > 0.8


def test_networks_without_such_blocks_are_refused():
    with pytest.raises(UserError, match="OctResNet has no dense blocks"):
        connectivity(build_model("resnet20"), "raw")


def test_networks_with_maps_of_different_sizes_share_a_figure(rng):
    networks = [randomize(build_model(name), rng) for name in ("densenet40", "osa40_5x43")]
    maps = [{variant: connectivity(network, variant) for variant in ("raw", "folded")} for network in networks]
    figure = draw_connectivity(["dense", "shot"], maps)
    assert len(figure.axes) == 2 * 6 + 1  # and the colour bar
