"""Image files of all kinds."""

import numpy as np
import pytest
from PIL import Image

from ppcls_lite.data.image_file import read_image
from ppcls_lite.errors import UserError


def save(path, mode="RGB", size=(6, 4), **options):
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path, **options)
    return path


@pytest.mark.parametrize(
    ("mode", "suffix"), [("RGB", "png"), ("L", "png"), ("RGBA", "png"), ("P", "gif"), ("CMYK", "jpg")]
)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_mode_becomes_colour_or_gray(mode, suffix, channels, tmp_path):
    image = read_image(save(tmp_path / f"x.{suffix}", mode), channels)
    assert image.shape == (channels, 4, 6) and image.dtype == np.float32
    assert 0 <= image.min() < image.max() <= 1


def test_pixels_are_kept(tmp_path):
    path = save(tmp_path / "x.png")
    assert (read_image(path).transpose(1, 2, 0) * 255 == np.asarray(Image.open(path))).all()


def test_a_given_size_cuts_the_middle_square_out(tmp_path):
    pixels = np.zeros((10, 30, 3), np.uint8)
    pixels[:, 10:20] = 255
    Image.fromarray(pixels).save(tmp_path / "x.png")
    image = read_image(tmp_path / "x.png", size=10)
    assert image.shape == (3, 10, 10) and (image == 1).all()


def test_a_photograph_on_its_side_is_turned(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    assert read_image(save(tmp_path / "x.jpg", exif=exif)).shape == (3, 6, 4)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.png", None, "No such file"),
        ("x.png", b"", "no image file"),
        ("x.jpg", b"\xff\xd8\xff\xe0broken", "no image file"),
    ],
)
def test_what_is_no_image_is_refused(name, content, message, tmp_path):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_image(tmp_path / name)


def test_a_picture_for_which_pillow_would_start_another_program_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", lambda *args, **kwargs: pytest.fail("it was started"))
    save(tmp_path / "x.eps")
    with pytest.raises(UserError, match="no image file"):
        read_image(tmp_path / "x.eps")


def test_an_image_cut_off_is_refused(tmp_path):
    path = save(tmp_path / "x.png", size=(200, 200))
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(UserError, match="no image file"):
        read_image(path)


def test_sixteen_bits_keep_their_range(tmp_path):
    ramp = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    Image.fromarray(ramp).save(tmp_path / "x.png")
    assert read_image(tmp_path / "x.png", 1)[0] == pytest.approx(ramp / 65535, abs=1 / 255)


def test_floating_point_pixels_are_refused(tmp_path):
    Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "x.tiff")
    with pytest.raises(UserError, match="no image file"):
        read_image(tmp_path / "x.tiff")
