"""Low and high frequencies: what must add up does, and what is known is found."""

import numpy as np
import paddle
import pytest

from ppcls_lite.arch import build_model
from ppcls_lite.arch.octave import pool2
from ppcls_lite.pictures.frequency import (
    Stage,
    draw_split,
    draw_stages,
    octave_stages,
    radial_spectrum,
    split_octaves,
)
from ppcls_lite.utils.errors import UserError


@pytest.mark.parametrize("octaves", [1, 2, 3])
@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 45, 61)])
def test_the_two_parts_add_up_to_the_image(octaves, shape, rng):
    image = rng.random(shape).astype("float32")
    low, high = split_octaves(image, octaves)
    cell = 2**octaves
    assert low.shape == (shape[0], shape[1] // cell, shape[2] // cell)
    whole = high + low.repeat(cell, 1).repeat(cell, 2)
    assert whole == pytest.approx(image[:, : high.shape[1], : high.shape[2]], abs=1e-6)


def test_the_low_part_is_what_an_octave_network_pools(rng):
    image = rng.random((3, 16, 24))
    assert split_octaves(image)[0] == pytest.approx(pool2(paddle.to_tensor(image[None])).numpy()[0])


def test_cells_are_low_and_a_checkerboard_is_high():
    cells = np.arange(16.0).reshape(1, 4, 4).repeat(2, 1).repeat(2, 2)
    board = np.indices((8, 8)).sum(0)[None] % 2
    assert split_octaves(cells)[1] == pytest.approx(0)
    low, high = split_octaves(board)
    assert low == pytest.approx(0.5) and high == pytest.approx(board - 0.5)


def test_an_image_smaller_than_a_cell_is_refused():
    with pytest.raises(UserError, match="9 x 3 pixels, expected at least 4 for 2 octaves"):
        split_octaves(np.zeros((3, 3, 9)), 2)


@pytest.mark.parametrize("shape", [(2, 32, 32), (3, 15, 20), (1, 16, 64), (1, 64, 3)])
def test_the_spectrum_sums_up_to_the_variance(shape, rng):
    """Parseval's theorem."""
    maps = rng.standard_normal(shape)
    assert radial_spectrum(maps)[1].sum() == pytest.approx(maps.var((1, 2)).sum())


@pytest.mark.parametrize("sampling", [1.0, 0.5])
def test_a_wave_has_its_energy_at_its_frequency(sampling):
    wave = np.sin(2 * np.pi * 5 / 32 * np.arange(32))[None, None].repeat(32, 1)
    frequencies, energy = radial_spectrum(wave, sampling)
    assert frequencies[energy.argmax()] == pytest.approx(sampling * 5 / 32)
    assert energy.max() == pytest.approx(0.5)


def test_a_low_position_counts_for_four(rng):
    """The same map at half the sides carries the same energy."""
    low = rng.standard_normal((2, 8, 8))
    stage = Stage(1, low.repeat(2, 1).repeat(2, 2), low)
    assert stage.low_share() == pytest.approx(0.5) and stage.low_share(varying=True) == pytest.approx(0.5)


def test_a_constant_counts_as_energy_and_not_as_variance(rng):
    stage = Stage(1, rng.standard_normal((1, 8, 8)), np.full((1, 4, 4), 3.0))
    assert stage.low_share() > 0.8 and stage.low_share(varying=True) == 0
    assert Stage(1, np.zeros((1, 4, 4)), np.zeros((1, 2, 2))).low_share() == 0


def test_stages_are_those_of_the_network_s_own_forward_pass(rng):
    network = build_model("oct_resnet20")
    network.eval()
    stages = octave_stages(network, paddle.to_tensor(rng.standard_normal((1, 3, 32, 32)).astype("float32")))
    assert [(stage.number, stage.high.shape, stage.low.shape) for stage in stages] == [
        (1, (8, 32, 32), (8, 16, 16)),
        (2, (16, 16, 16), (16, 8, 8)),
    ]
    figure = draw_stages(stages, "a network")
    assert len(figure.axes) == 2 * 9


def test_a_network_without_a_low_branch_is_refused():
    with pytest.raises(UserError, match="no stage of this network"):
        octave_stages(build_model("resnet20"), paddle.zeros([1, 3, 32, 32]))


def test_a_network_that_is_low_all_through_is_refused():
    with pytest.raises(UserError, match="has two branches"):
        octave_stages(build_model("oct_resnet20", alpha=1.0), paddle.zeros([1, 3, 32, 32]))


@pytest.mark.parametrize("shape", [(3, 33, 40), (1, 8, 8), (3, 2, 2), (3, 2, 64), (3, 8, 3000)])
def test_images_of_all_shapes_can_be_drawn(shape, rng, tmp_path):
    draw_split(rng.random(shape)).savefig(tmp_path / "x.png")
    draw_split(np.full(shape, 0.5)).savefig(tmp_path / "flat.png")
