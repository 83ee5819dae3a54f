"""Image files of all kinds."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from ppcls_lite.data.image_file import load_image
from ppcls_lite.utils.errors import UserError

LUMA = np.array([0.299, 0.587, 0.114])
UPRIGHT = {
    1: lambda x: x,
    2: np.fliplr,
    3: lambda x: np.rot90(x, 2),
    4: np.flipud,
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: np.rot90(x, -1),
    7: lambda x: np.rot90(x, 2).swapaxes(0, 1),
    8: lambda x: np.rot90(x, 1),
}


def noise(size=(6, 4)):
    return np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)  # [H, W, C]


def smooth(height, width):
    """A picture without edges, which survives JPEG."""
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(x / 37 + k) * np.cos(y / (29 + 7 * k)) for k in range(3)]
    return np.rint(127 + 100 * np.stack(waves, axis=2)).astype(np.uint8)


def save(path, mode="RGB", size=(6, 4), pixels=None, **options):
    Image.fromarray(noise(size) if pixels is None else pixels).convert(mode).save(path, **options)
    return path


def hwc(image):
    return image.transpose(1, 2, 0)


@pytest.mark.parametrize(
    ("suffix", "options"),
    [(name, {}) for name in ("png", "bmp", "ppm", "tiff")]
    + [("tiff", {"compression": "tiff_lzw"}), ("webp", {"lossless": True})],
)
def test_formats_without_loss_keep_their_pixels(suffix, options, tmp_path):
    path = save(tmp_path / f"x.{suffix}", **options)
    colour, gray = load_image(path), load_image(path, 1)
    assert colour.dtype == np.uint8 and colour.flags.c_contiguous
    assert (hwc(colour) == noise()).all()
    assert gray.shape == (1, 4, 6)
    assert gray[0] == pytest.approx(noise() @ LUMA, abs=1)


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1"])
def test_modes_of_png(mode, tmp_path):
    image = Image.fromarray(noise()).convert(mode)
    if mode in ("LA", "RGBA"):
        image.putalpha(Image.fromarray(np.arange(24, dtype=np.uint8).reshape(4, 6) * 10))  # [H, W]
    image.save(tmp_path / "x.png")
    values = np.asarray(image)
    expected = {
        "L": lambda: np.repeat(values[..., None], 3, 2),
        "LA": lambda: np.repeat(values[..., :1], 3, 2),
        "RGBA": lambda: values[..., :3],
        "P": lambda: np.array(image.getpalette(), np.uint8).reshape(-1, 3)[values],
        "1": lambda: np.repeat(values[..., None] * np.uint8(255), 3, 2),
    }[mode]()
    assert (hwc(load_image(tmp_path / "x.png")) == expected).all()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("suffix", ["jpg", "gif", "webp"])
def test_formats_with_loss_keep_the_picture(suffix, channels, tmp_path):
    picture = smooth(40, 60)
    image = hwc(load_image(save(tmp_path / f"x.{suffix}", pixels=picture), channels))
    expected = picture if channels == 3 else (picture @ LUMA)[..., None]
    assert image.shape == (40, 60, channels)
    assert np.abs(image.astype(int) - expected).mean() < 8


def test_a_gray_jpeg_becomes_colour(tmp_path):
    image = load_image(save(tmp_path / "x.jpg", "L", pixels=smooth(40, 60), quality=100))
    assert (image[0] == image[1]).all() and (image[0] == image[2]).all()
    assert image[0] == pytest.approx(smooth(40, 60) @ LUMA, abs=3)


@pytest.mark.parametrize("suffix", ["jpg", "tiff"])
def test_cmyk(suffix, tmp_path):
    Image.new("CMYK", (16, 16), (200, 100, 0, 50)).save(tmp_path / f"x.{suffix}")
    ink = np.array([200, 100, 0]) / 255
    image = load_image(tmp_path / f"x.{suffix}")
    assert image[:, 0, 0] == pytest.approx(255 * (1 - ink) * (1 - 50 / 255), abs=3)
    assert load_image(tmp_path / f"x.{suffix}", 1).shape == (1, 16, 16)


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_sixteen_bits_keep_their_range(suffix, tmp_path):
    ramp = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    Image.fromarray(ramp).save(tmp_path / f"x.{suffix}")
    for channels in (1, 3):
        image = load_image(tmp_path / f"x.{suffix}", channels)
        assert image[-1] == pytest.approx(ramp / 257, abs=0.5)


def test_sixteen_bit_colour(tmp_path):
    pixels = noise().astype(">u2") * 257
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    (tmp_path / "x.png").write_bytes(png(6, 4, 16, zlib.compress(rows)))
    assert (hwc(load_image(tmp_path / "x.png")) == noise()).all()


def png(width, height, bits, data):
    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, bits, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "tiff", "webp"])
@pytest.mark.parametrize("size", [None, 16])
def test_photographs_are_turned_upright(suffix, orientation, size, tmp_path):
    stored = np.zeros((24, 40, 3), np.uint8)
    stored[:12, :20], stored[12:, :20], stored[:12, 20:] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(stored).save(tmp_path / f"x.{suffix}", exif=exif, quality=100)
    image = hwc(load_image(tmp_path / f"x.{suffix}", size=size)).astype(int)
    upright = UPRIGHT[orientation](stored).astype(int)
    if size is None:
        assert image.shape == upright.shape
    for y in (0.25, 0.75):
        for x in (0.25, 0.75):
            found = image[int(y * image.shape[0]), int(x * image.shape[1])]
            assert np.abs(found - upright[int(y * upright.shape[0]), int(x * upright.shape[1])]).max() < 60


def test_a_given_size_cuts_out_the_central_square(tmp_path):
    pixels = np.zeros((10, 30, 3), np.uint8)
    pixels[:, 10:20] = 255
    Image.fromarray(pixels).save(tmp_path / "x.png")
    image = load_image(tmp_path / "x.png", size=10)
    assert image.shape == (3, 10, 10) and (image == 255).all()


@pytest.mark.parametrize(("height", "width"), [(300, 400), (448, 448), (1000, 700), (225, 2000), (100, 60)])
@pytest.mark.parametrize("channels", [1, 3])
def test_decoding_at_a_reduced_scale_is_close_to_full_decoding(height, width, channels, tmp_path):
    save(tmp_path / "x.jpg", pixels=smooth(height, width), quality=95)
    image = load_image(tmp_path / "x.jpg", channels, 224)
    full = Image.open(tmp_path / "x.jpg").convert("RGB" if channels == 3 else "L")
    expected = np.asarray(ImageOps.fit(full, (224, 224), Image.Resampling.BILINEAR)).reshape(224, 224, channels)
    difference = np.abs(hwc(image).astype(int) - expected)
    assert difference.mean() < 1.5 and np.quantile(difference, 0.999) < 8


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_resizing_is_antialiased(suffix, tmp_path):
    stripes = np.zeros((512, 512, 3), np.uint8)
    stripes[:, ::2] = 255
    image = load_image(save(tmp_path / f"x.{suffix}", pixels=stripes), size=60)
    assert np.abs(image.astype(int) - 127).max() < 12


def test_a_jpeg_that_only_pillow_reads(tmp_path):
    data = save(tmp_path / "x.jpg", pixels=smooth(40, 60)).read_bytes()
    (tmp_path / "y.jpg").write_bytes(data[:20] + b"\x00\x01\x02" + data[20:])  # between two markers
    assert (load_image(tmp_path / "y.jpg") == np.asarray(Image.open(tmp_path / "x.jpg")).transpose(2, 0, 1)).all()


def test_the_name_of_a_file_need_not_fit_its_format_or_be_text(tmp_path):
    path = save(tmp_path / "x.png")
    odd = tmp_path / "a b\udcff\n.jpg"
    path.rename(odd)
    assert (hwc(load_image(odd)) == noise()).all()


def claim(path, side):
    """Have a JPEG file's header claim ``side`` pixels either way."""
    data = bytearray(save(path).read_bytes())
    start = data.index(b"\xff\xc0")
    data[start + 5 : start + 9] = struct.pack(">HH", side, side)
    return bytes(data)


def whole(path, **options):
    return save(path, size=(200, 200), **options).read_bytes()


def encoded(path, pixels):
    Image.fromarray(pixels).save(path)
    return path.read_bytes()


BROKEN = {
    "missing": ("x.png", lambda path: None, "No such file"),
    "empty": ("x.png", lambda path: b"", "not an image file"),
    "text": ("x.jpg", lambda path: b"not an image", "not an image file"),
    "svg": ("x.png", lambda path: b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image file"),
    "eps": ("x.eps", lambda path: whole(path), "not an image file"),
    "jpeg of four bytes": ("x.jpg", lambda path: b"\xff\xd8\xff\xe0broken", "damaged or cut off"),
    "jpeg cut off": ("x.jpg", lambda path: whole(path)[:5000], "damaged or cut off"),
    "png cut off": ("x.png", lambda path: whole(path)[:5000], "damaged or cut off"),
    "webp cut off": ("x.webp", lambda path: whole(path)[:3000], "damaged or cut off|not an image file"),
    "bmp cut off": ("x.bmp", lambda path: whole(path)[:3000], "damaged or cut off"),
    "tiff cut off": ("x.tiff", lambda path: whole(path, compression="tiff_lzw")[:3000], "damaged|not an image file"),
    "png of zeros": ("x.png", lambda path: png(9, 9, 8, bytes(40)), "damaged or cut off"),
    "jpeg that claims 4 gigapixels": ("x.jpg", lambda path: claim(path, 65_000), "more than 89 megapixels"),
    "jpeg that claims 100 megapixels": ("x.jpg", lambda path: claim(path, 10_000), "more than 89 megapixels"),
    "png that claims 400 megapixels": ("x.png", lambda path: png(20_000, 20_000, 8, b""), "more than 89 megapixels"),
    "floating point": ("x.tiff", lambda path: encoded(path, np.zeros((4, 4), np.float32)), "floating-point"),
    "32 bits": ("x.tiff", lambda path: encoded(path, np.full((4, 4), 1 << 20, np.int32)), "32 bits"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_files_are_refused_in_one_sentence(case, tmp_path, capfd):
    name, content, message = BROKEN[case]
    data = content(tmp_path / name)
    if data is not None:
        (tmp_path / name).write_bytes(data)
    for size in (None, 8):
        with pytest.raises(UserError, match=message) as refused:
            load_image(tmp_path / name, size=size)
        assert str(refused.value).startswith(str(tmp_path / name)) and "\n" not in str(refused.value)


def test_folders_and_impossible_names_are_refused(tmp_path):
    for path in (tmp_path, f"{tmp_path}/\0.png"):
        with pytest.raises(UserError, match=r"Is a directory|damaged|not an image file"):
            load_image(path)


def test_a_picture_for_which_pillow_would_start_another_program_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", lambda *args, **kwargs: pytest.fail("it was started"))
    save(tmp_path / "x.eps")
    with pytest.raises(UserError, match="not an image file"):
        load_image(tmp_path / "x.eps")
