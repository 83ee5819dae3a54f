"""The transforms of ``DataLoader.transforms`` and ``eval_transforms``."""

import functools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ppcls_lite.config import load as configs
from ppcls_lite.data import BatchLoader, Split
from ppcls_lite.data.augment import (
    _OPERATIONS,
    ColorJitter,
    CutMix,
    Mixup,
    RandAugment,
    RandomErasing,
    RandomHorizontalFlip,
    RandomResizedCrop,
)
from ppcls_lite.data.dataset import Reading, labeled
from ppcls_lite.data.files import FileNames, ImageFiles
from ppcls_lite.data.image_file import load_image, load_region
from ppcls_lite.data.pipeline import parse_transforms
from ppcls_lite.data.transforms import Normalization, Region, imagenet
from ppcls_lite.tasks.setup import complete
from ppcls_lite.utils.errors import UserError
from tests.helpers import interrupt_at, labelled
from tests.tools.helpers import call_tool

MEAN = (0.485, 0.456, 0.406)
EVERYTHING = (
    {"RandomResizedCrop": {"scale": [0.2, 1.0]}},
    "RandomHorizontalFlip",
    {"ColorJitter": {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}},
    "RandAugment",
    {"RandomErasing": {"value": "random"}},
)


def smooth(height, width, channels=3):
    """A picture without edges, which survives JPEG."""
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(x / 37 + k) * np.cos(y / (29 + 7 * k)) for k in range(channels)]
    return np.rint(127 + 100 * np.stack(waves, axis=2)).astype(np.uint8)


def picture(height=40, width=60, channels=3):
    pixels = smooth(height, width, channels)
    return Image.fromarray(pixels if channels == 3 else pixels[..., 0])


def parse(raw, side=32, channels=3, **options):
    return parse_transforms(raw, "DataLoader.transforms", side, channels, MEAN[:channels], **options)


@given(width=st.integers(1, 900), height=st.integers(1, 900), seed=st.integers(0, 2**31))
def test_crops_have_the_area_and_ratio_asked_for(width, height, seed):
    crop = RandomResizedCrop(8, scale=(0.2, 0.9), ratio=(0.5, 2.0))
    left, top, right, bottom = crop.region(width, height, np.random.default_rng(seed)).box
    w, h = right - left, bottom - top
    assert 0 <= left < right <= width and 0 <= top < bottom <= height
    assert 0.5 - 1.5 / h <= w / h <= 2.0 + 1.5 / h
    central = (left, top) == ((width - w) // 2, (height - h) // 2)  # if ten attempts did not fit
    assert central or 0.2 * width * height - w - h - 1 <= w * h <= 0.9 * width * height + w + h + 1


def test_crops_reach_every_pixel_and_every_corner():
    crop, rng = RandomResizedCrop(4, scale=(0.25, 0.25), ratio=(1.0, 1.0)), np.random.default_rng(0)
    found = {crop.region(10, 8, rng).box[:2] for _ in range(2000)}
    assert found == {(left, top) for left in range(10 - 4 + 1) for top in range(8 - 4 + 1)}


@pytest.mark.parametrize(("height", "width"), [(300, 400), (1000, 700), (1500, 2000), (60, 100)])
@pytest.mark.parametrize("channels", [1, 3])
def test_crops_of_files_decoded_at_a_reduced_scale_are_those_of_the_full_image(height, width, channels, tmp_path):
    image = picture(60, 80).resize((width, height), Image.Resampling.BICUBIC)
    image.save(tmp_path / "x.jpg", quality=95)
    full = Image.open(tmp_path / "x.jpg").convert("RGB" if channels == 3 else "L")
    for seed in range(8):
        region = functools.partial(RandomResizedCrop(64).region, rng=np.random.default_rng(seed))
        found = load_region(tmp_path / "x.jpg", channels, region)
        box = RandomResizedCrop(64).region(width, height, np.random.default_rng(seed)).box
        expected = full.crop(box).resize((64, 64), Image.Resampling.BILINEAR)
        difference = np.abs(np.asarray(found).astype(int) - np.asarray(expected))
        assert difference.mean() < 1.5 and np.quantile(difference, 0.99) <= 8


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png"])
@pytest.mark.parametrize("size", [40, 90])
def test_crops_of_rotated_files_are_those_of_the_upright_image(suffix, orientation, size, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture(120, 200).save(tmp_path / f"x.{suffix}", exif=exif, quality=98)
    upright = Image.fromarray(load_image(tmp_path / f"x.{suffix}").transpose(1, 2, 0))
    region = Region((10, 20, 80, 100), size, size)
    found = load_region(tmp_path / f"x.{suffix}", 3, lambda width, height: region)
    difference = np.abs(np.asarray(found).astype(int) - np.asarray(region.resize(upright)))
    assert difference.mean() < 1.5 and difference.max() < 12


def test_a_jpeg_with_cyan_magenta_yellow_and_black_is_cropped_as_others(tmp_path):
    Image.merge("CMYK", [*picture().split(), Image.new("L", (60, 40))]).save(tmp_path / "x.jpg", quality=98)
    pipeline = parse(["RandomResizedCrop"])
    found = pipeline.transform_file(tmp_path / "x.jpg", 3, np.random.default_rng(3))
    expected = pipeline.transform_array(load_image(tmp_path / "x.jpg"), np.random.default_rng(3))
    assert (found == expected).all()


@pytest.mark.parametrize("raw", [EVERYTHING, ({"Resize": {"size": 40}}, {"RandomCrop": {"size": 32, "padding": 2}})])
@pytest.mark.parametrize("channels", [1, 3])
def test_arrays_and_files_are_transformed_alike(raw, channels, tmp_path):
    picture(80, 60).save(tmp_path / "x.png")
    pipeline = parse(raw, channels=channels)
    stored = load_image(tmp_path / "x.png", channels)
    for seed in range(6):
        found = pipeline.transform_file(str(tmp_path / "x.png"), channels, np.random.default_rng(seed))
        assert found.dtype == np.uint8 and found.shape == (channels, 32, 32)
        assert (found == pipeline.transform_array(stored, np.random.default_rng(seed))).all()


def test_without_a_region_files_are_cropped_at_the_center(tmp_path):
    picture(80, 60).save(tmp_path / "x.png")
    found = parse([{"RandomHorizontalFlip": {"prob": 0.0}}]).transform_file(
        tmp_path / "x.png", 3, np.random.default_rng()
    )
    assert (found == load_image(tmp_path / "x.png", 3, 32)).all()


def test_flips_with_probability_0_and_1(rng):
    image = picture()
    for _ in range(20):
        assert RandomHorizontalFlip(0.0)(image, rng) is image
        mirrored = np.asarray(RandomHorizontalFlip(1.0)(image, rng))
        assert (mirrored == np.asarray(image)[:, ::-1]).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_color_jitter_of_0_changes_nothing_and_keeps_size_and_mode(channels, rng):
    image = picture(channels=channels)
    assert ColorJitter()(image, rng) is image
    for _ in range(10):
        changed = ColorJitter(0.5, 0.5, 0.5, 0.5)(image, rng)
        assert (changed.size, changed.mode) == (image.size, image.mode)


def test_hue_by_half_a_turn_makes_red_cyan():
    image = Image.new("RGB", (2, 2), (255, 0, 0))

    class HalfATurn:
        def uniform(self, low, high):
            return high

        def permutation(self, number):
            return range(number)

    red, green, blue = ColorJitter(hue=0.5)(image, HalfATurn()).getpixel((0, 0))
    assert red < 8 and green > 247 and blue > 240


@pytest.mark.parametrize("channels", [1, 3])
def test_random_erasing_fills_with_the_mean(channels, rng):
    pipeline = parse([{"RandomErasing": {"prob": 1.0, "scale": [0.2, 0.2], "ratio": [1.0, 1.0]}}], 40, channels)
    pixels = np.full((channels, 40, 40), 255, np.uint8)
    erased = pipeline.transform_array(pixels, rng)
    changed = (erased != 255).all(axis=0)
    assert changed.sum() == 18 * 18 and (pixels == 255).all()
    normalized = Normalization(MEAN[:channels], (0.22,) * channels)(erased[None])
    assert np.abs(normalized[0][:, changed]).max() <= 0.5 / 255 / 0.22 + 1e-6


def test_random_erasing_with_probability_0_noise_and_a_color(rng):
    image = picture()
    assert RandomErasing(0.0)(image, rng) is image
    noise = np.asarray(RandomErasing(1.0, value="random")(image, rng)).astype(int)
    changed = (noise != np.asarray(image)).any(axis=2)
    assert 0.015 < changed.mean() < 0.36 and noise[changed].std() > 50
    color = np.asarray(RandomErasing(1.0, value=(1.0, 0.0, 0.2))(image, rng))
    assert ((color == (255, 0, 51)).all(axis=2)).mean() > 0.015


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("operation", range(len(_OPERATIONS)))
@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0])
def test_operations_of_randaugment_keep_size_and_mode(operation, strength, channels):
    image = picture(channels=channels)
    for sign in (-1.0, 1.0):
        changed = _OPERATIONS[operation](image, strength, sign)
        assert (changed.size, changed.mode) == (image.size, image.mode)
        if strength == 0.0 and operation > 1:  # autocontrast and equalize have no strength
            difference = np.abs(np.asarray(changed).astype(int) - np.asarray(image))
            assert difference.mean() < 1


def test_randaugment_draws_different_operations(rng):
    image = picture()
    results = {RandAugment(2, 9.0)(image, rng).tobytes() for _ in range(30)}
    assert len(results) > 20


@pytest.mark.parametrize("transform", [Mixup(0.4), CutMix()])
def test_mixed_targets_sum_to_one_with_the_weights_of_the_images(transform, rng):
    pipeline = parse([{type(transform).__name__: {"alpha": transform.alpha}}])
    # Image i is filled with i, and has class i.
    images = np.repeat(np.arange(8, dtype=np.uint8) * 30, 3 * 32 * 32).reshape(8, 3, 32, 32)
    for _ in range(20):
        mixed, targets = pipeline.mix(images, np.eye(8, dtype=np.float32), rng)
        assert mixed.dtype == np.uint8 and targets.dtype == np.float32
        np.testing.assert_allclose(targets.sum(axis=1), 1, atol=1e-6)
        expected = targets @ (np.arange(8) * 30)
        np.testing.assert_allclose(mixed.mean(axis=(1, 2, 3)), expected, atol=0.51)


def test_the_weight_of_cutmix_is_the_share_of_pixels_that_stay(rng):
    images = np.stack([np.zeros((3, 20, 30), np.uint8), np.full((3, 20, 30), 255, np.uint8)])
    weights = []
    for _ in range(200):
        mixed, weight = CutMix().mix(images, np.array([1, 0]), rng)
        assert weight == pytest.approx((mixed[0] == 0).mean()) and not images[0].any()
        weights.append(weight)
    assert min(weights) < 0.3 and max(weights) > 0.95


def test_mixing_with_probability_0_or_a_single_image_changes_nothing(rng):
    images, targets = rng.integers(0, 256, (4, 3, 8, 8), np.uint8), np.eye(4, dtype=np.float32)
    for pipeline, number in ((parse([{"Mixup": {"prob": 0.0}}]), 4), (parse(["CutMix"]), 1)):
        mixed, soft = pipeline.mix(images[:number], targets[:number], rng)
        assert (mixed == images[:number]).all() and (soft == targets[:number]).all()


def test_mixed_numbers_are_mixed_as_numbers(rng):
    split = Split(labeled(np.zeros((8, 3, 8, 8), np.uint8), np.zeros(8, int)).images, {"x": np.arange(8.0)})
    ((_, targets, _),) = BatchLoader(*labelled(split, "x"), 8, shuffle=True, pipeline=parse(["Mixup"], 8))
    assert targets.dtype == np.float32 and targets.sum() == pytest.approx(28) and targets.min() >= 0


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    root = tmp_path_factory.mktemp("photos")
    for i in range(24):
        picture(60 + i, 90).save(root / f"{i:02}.jpg", quality=90)
    return FileNames.pack(str(root), [b"%02d.jpg" % i for i in range(24)])


def epoch_of(names, epoch=1, num_workers=0, seed=5, mixing=("Mixup", "CutMix"), batch_size=6, **place):
    split = Split(ImageFiles(names, Reading(3, 32, num_workers)), {"label": np.arange(len(names)) % 3})
    pipeline = parse([*EVERYTHING, *mixing])
    loader = BatchLoader(
        *labelled(split, "label"),
        batch_size,
        shuffle=True,
        pipeline=pipeline,
        soften=lambda labels: np.eye(3, dtype=np.float32)[labels],
        seed=seed,
        drop_last=True,
        **place,
    )
    loader.set_epoch(epoch)
    return list(loader)


def test_the_number_of_workers_changes_nothing(names):
    expected = epoch_of(names)
    for num_workers in (1, 3):
        for batch, other in zip(expected, epoch_of(names, num_workers=num_workers), strict=True):
            for values, others in zip(batch, other, strict=True):
                np.testing.assert_array_equal(values, others)
    assert not (expected[0][0] == epoch_of(names, seed=6)[0][0]).all()
    assert not (expected[0][0] == epoch_of(names, epoch=2)[0][0]).all()


def test_two_processes_see_the_crops_of_one(names):
    alone = epoch_of(names, mixing=())
    shares = [epoch_of(names, mixing=(), batch_size=3, rank=rank, world_size=2) for rank in range(2)]
    for (images, labels, _), *parts in zip(alone, *shares, strict=True):
        for rank, (own, own_labels, _) in enumerate(parts):
            np.testing.assert_array_equal(own, images[rank::2])
            np.testing.assert_array_equal(own_labels, labels[rank::2])


def test_arrays_in_memory_see_the_crops_of_seed_epoch_and_position(rng):
    split = labeled(rng.integers(0, 256, (12, 3, 16, 16), dtype=np.uint8), np.arange(12))

    def epoch(number, **place):
        loader = BatchLoader(
            *labelled(split, "label"), 12 // place.get("world_size", 1), shuffle=True, pipeline=pipeline, **place
        )
        loader.set_epoch(number)
        ((images, *_),) = loader
        return images

    pipeline = parse(["RandomResizedCrop", {"RandomCrop": {"padding": 2}}, "RandomHorizontalFlip"], 16)
    np.testing.assert_array_equal(epoch(3), epoch(3))
    assert not (epoch(3) == epoch(4)).all()
    np.testing.assert_array_equal(epoch(3)[1::2], epoch(3, rank=1, world_size=2))


def test_a_resumed_run_with_every_transform_ends_with_the_same_weights(tiny, tmp_path, monkeypatch):
    from ppcls_lite.engine.train import train

    settings = {
        "DataLoader.crop_padding": 0,
        "DataLoader.transforms": [*EVERYTHING, "Mixup", "CutMix"],
        "Optimizer.lr": {"name": "Constant", "learning_rate": 0.05},
    }
    train(tiny("whole", **settings))
    with monkeypatch.context() as patch:
        interrupt_at(patch, epoch=2, step=1)
        with pytest.raises(KeyboardInterrupt):
            train(tiny("parts", **settings))
    train(tiny("parts", **settings, **{"Global.resume": "auto"}))
    weights = [(tmp_path / name / "last.pdparams").read_bytes() for name in ("whole", "parts")]
    assert weights[0] == weights[1]


def setup_of(root, **data):
    data = {"dataset": "image_folder", "root": str(root), "num_workers": 0, **data}
    return complete(configs.build({"Arch": {"name": "mobilenet_v1"}, "DataLoader": data}, "x"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("folder")
    for i in range(8):
        path = root / f"{'train' if i < 4 else 'test'}/{'ab'[i % 2]}/{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(300 + 10 * i, 420).save(path)
    return root


def test_eval_transforms_resize_the_shorter_side_then_crop(folder):
    setup = setup_of(folder, eval_transforms=[{"Resize": {"size": 256}}, {"CenterCrop": {"size": 224}}])
    assert (setup.resize, setup.input_size) == (256, 224)
    path = folder / "test/a/4.png"
    image = Image.open(path)
    resized = image.resize((round(image.width * 256 / image.height), 256), Image.Resampling.BILINEAR)
    left = (resized.width - 224) // 2
    expected = np.asarray(resized.crop((left, 16, left + 224, 240))).astype(int)
    found = setup.reading.load(str(path)).transpose(1, 2, 0)
    assert np.abs(found - expected).max() <= 2 and np.abs(found - expected).mean() < 0.6
    same = setup_of(folder, eval_transforms=[{"Resize": {"size": 224}}, {"CenterCrop": {"size": 224}}])
    assert same.resize is None


def test_prediction_and_export_use_eval_transforms(folder, tmp_path):
    """By the tools, as users run them."""
    run, exported = tmp_path / "run", tmp_path / "exported" / "x"
    data = f"DataLoader.root={folder} DataLoader.batch_size=4 DataLoader.num_workers=0 DataLoader.image_size=32"
    size = "DataLoader.eval_transforms=[{Resize: {size: 48}}, {CenterCrop: {size: 32}}]"
    (tmp_path / "x.yaml").write_text(
        "Global: {epochs: 1, device: cpu, use_visualdl: false}\n"
        "Arch: {name: resnet20, scale: 0.125}\nDataLoader: {dataset: image_folder}\n"
    )

    def tool(name, *arguments):
        done = call_tool(f"tools/{name}", *arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stderr

    tool("train.py", "-c", "x.yaml", "-o", *data.split(), size, f"Global.output_dir={run}")
    tool("export.py", "-c", run / "config.yaml", "--format", "paddle", "--output", exported)
    for metadata in (run / "metadata.json", tmp_path / "exported/x.meta.json"):
        assert '"resize": 48' in metadata.read_text()
    tables = []
    for source in (run, exported):
        tool("predict.py", source, folder / "test", "--csv", tmp_path / "predictions.csv")
        tables.append((tmp_path / "predictions.csv").read_text())
        (tmp_path / "predictions.csv").unlink()
    probabilities = [[float(row.split(",")[2]) for row in table.splitlines()[1:]] for table in tables]
    np.testing.assert_allclose(*probabilities, atol=1e-5)
    tool("eval.py", "-c", run / "config.yaml", "--predictions", tmp_path / "scored.csv")


def test_imagenet_statistics_or_normalize_reach_random_erasing(folder):
    (erasing,) = setup_of(folder, transforms=["RandomErasing"]).pipeline.single
    assert erasing.value == imagenet(3).mean
    normalize = {"Normalize": {"mean": [0.5] * 3, "std": [0.2] * 3}}
    setup = setup_of(folder, transforms=["RandomErasing", normalize])
    assert setup.pipeline.single[0].value == (0.5,) * 3 == setup.normalization.mean


BROKEN = {
    "unknown name": (["RandomCrp"], r"\[0\]: 'RandomCrp' is not a transform; did you mean 'RandomCrop'"),
    "a name in another case": (["randomcrop"], "is not a transform; did you mean 'RandomCrop'"),
    "RandCropImage": ([{"RandCropImage": {"size": 224}}], "it is called RandomResizedCrop here"),
    "RandFlipImage": ([{"RandFlipImage": {"flip_code": 1}}], "it is called RandomHorizontalFlip here"),
    "ResizeImage": ([{"ResizeImage": {"resize_short": 256}}], "it is called Resize here"),
    "CropImage": ([{"CropImage": {"size": 224}}], "it is called CenterCrop here"),
    "NormalizeImage": ([{"NormalizeImage": {"scale": "1.0/255.0"}}], "it is called Normalize here"),
    "MixupOperator": ([{"MixupOperator": {"alpha": 0.2}}], "it is called Mixup here"),
    "DecodeImage": ([{"DecodeImage": {"to_rgb": True}}], "decoded and converted without it; leave it out"),
    "a number": ([3], "expected a list in which each item is text or a mapping"),
    "null": ([None], "expected a list in which each item is text or a mapping"),
    "two in one": ([{"RandomCrop": {}, "RandAugment": {}}], "expected a transform such as RandomResizedCrop"),
    "no list": ("RandomCrop", "DataLoader.transforms is 'RandomCrop', expected a list"),
    "parameters in a list": ([{"RandomCrop": [32]}], r"\[0\].RandomCrop is .*, expected its parameters"),
    "unknown parameter": ([{"RandomCrop": {"pading": 4}}], "RandomCrop.pading is not a parameter; did you mean"),
    "size of text": ([{"RandomCrop": {"size": "big"}}], "RandomCrop.size is 'big', expected a whole number"),
    "size 0": ([{"RandomResizedCrop": {"size": 0}}], "RandomResizedCrop.size is 0, expected .* at least 1"),
    "huge size": ([{"RandomResizedCrop": {"size": 10**6}}], "expected a whole number at least 1 and at most 4096"),
    "huge padding": ([{"RandomCrop": {"padding": 10**6}}], "RandomCrop.padding is 1000000, expected at most 32"),
    "negative padding": ([{"RandomCrop": {"padding": -1}}], "padding is -1, expected a whole number at least 0"),
    "probability 2": ([{"RandomHorizontalFlip": {"prob": 2}}], "prob is 2, expected a number at least 0 and at most 1"),
    "scale reversed": ([{"RandomResizedCrop": {"scale": [1, 0.1]}}], "scale is .*, expected two numbers, the smaller"),
    "scale above 1": ([{"RandomResizedCrop": {"scale": [0.1, 2]}}], "smaller one first, at most 1"),
    "one ratio": ([{"RandomResizedCrop": {"ratio": [1]}}], r"ratio is \[1.0\], expected two numbers"),
    "interpolation": ([{"Resize": {"interpolation": "nearest"}}], "expected one of 'bilinear', 'bicubic'"),
    "hue 0.7": ([{"ColorJitter": {"hue": 0.7}}], "hue is 0.7, expected a number .* at most 0.5"),
    "no layers": ([{"RandAugment": {"num_layers": 0}}], "num_layers is 0, expected a whole number at least 1"),
    "magnitude": ([{"RandAugment": {"magnitude": 30}}], "magnitude is 30, expected a number .* at most 10"),
    "color of one channel": ([{"RandomErasing": {"value": [0.5]}}], "value needs 3 values, one for each channel"),
    "value of erasing": ([{"RandomErasing": {"value": "noise"}}], "value is 'noise', expected one of 0, 'random'"),
    "alpha 0": ([{"Mixup": {"alpha": 0}}], "Mixup.alpha is 0, expected a number above 0"),
    "alpha that is no number": ([{"CutMix": {"alpha": float("nan")}}], "CutMix.alpha is nan, expected"),
    "Normalize without mean": ([{"Normalize": {"std": [1, 1, 1]}}], "Normalize.mean is missing"),
    "Normalize of one channel": ([{"Normalize": {"mean": [0.5], "std": [0.2]}}], "mean and std need 3 values"),
    "std 0": ([{"Normalize": {"mean": [0, 0, 0], "std": [0, 1, 1]}}], r"Normalize.std is \[0, 1, 1\], expected"),
    "Normalize twice": (
        [{"Normalize": {"mean": [0, 0, 0], "std": [1, 1, 1]}}] * 2,
        "has Normalize 2 times; leave one",
    ),
    "Normalize first": (
        [{"Normalize": {"mean": [0, 0, 0], "std": [1, 1, 1]}}, "RandomHorizontalFlip"],
        r"\[0\] is Normalize, which works on the finished images; move it behind",
    ),
    "crop region second": (
        ["RandomHorizontalFlip", "RandomResizedCrop"],
        r"\[1\] is RandomResizedCrop, which comes first",
    ),
    "two regions": ([{"Resize": {"size": 40}}, "RandomResizedCrop"], r"\[1\] is RandomResizedCrop, which comes first"),
    "Mixup first": (["Mixup", "RandomHorizontalFlip"], r"\[0\] is Mixup, which works on finished batches; move it"),
    "crop larger than the image": ([{"CenterCrop": {"size": 64}}], "CenterCrop.size is 64, but the image .* 32 px"),
    "crop larger than resized": (
        [{"Resize": {"size": 32}}, {"RandomCrop": {"size": 40, "padding": 2}}],
        "RandomCrop.size is 40, but the image before it has 36 px",
    ),
    "Resize alone": (["Resize"], "Resize keeps the aspect ratio, but all images of a batch need one size"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_transforms_are_refused_in_one_sentence(case):
    raw, message = BROKEN[case]
    data = {"dataset": "digits", "transforms": raw}
    with pytest.raises(UserError, match=message) as refused:
        complete(configs.build({"Arch": {"name": "mobilenet_v1"}, "DataLoader": data}, "x"))
    assert "\n" not in str(refused.value) and "DataLoader.transforms" in str(refused.value)


CONFLICTS = {
    "flip": ({"flip": True, "transforms": ["RandomHorizontalFlip"]}, "flip and DataLoader.transforms are both given"),
    "crop_padding": ({"crop_padding": 4, "transforms": ["RandAugment"]}, "crop_padding and .* both given; leave one"),
    "mean": (
        {"mean": [0.5] * 3, "std": [0.5] * 3, "transforms": [{"Normalize": {"mean": [0.5] * 3, "std": [0.5] * 3}}]},
        "has Normalize, but DataLoader.mean or normalize is also given",
    ),
    "normalize": (
        {"normalize": False, "transforms": [{"Normalize": {"mean": [0.5] * 3, "std": [0.5] * 3}}]},
        "has Normalize, but DataLoader.mean or normalize is also given",
    ),
    "another size": ({"transforms": [{"RandomResizedCrop": {"size": 160}}]}, "images of 160 px, but .* has 224 px"),
    "scoring at random": (
        {"eval_transforms": ["RandomResizedCrop"]},
        "but scoring takes Resize and",
    ),
    "scoring with flip": ({"eval_transforms": ["RandomHorizontalFlip"]}, "scoring takes Resize and CenterCrop only"),
    "scoring without crop": ({"eval_transforms": [{"Resize": {"size": 256}}]}, "keeps the aspect ratio"),
    "scoring too large": (
        {"eval_transforms": [{"Resize": {"size": 200}}, {"CenterCrop": {"size": 224}}]},
        "CenterCrop.size is 224, but the image before it has 200 px",
    ),
    "scoring of another size": (
        {"eval_transforms": [{"Resize": {"size": 256}}, {"CenterCrop": {"size": 192}}]},
        "images of 192 px, but the network's input has 224 px",
    ),
}


@pytest.mark.parametrize("case", CONFLICTS)
def test_conflicting_settings_are_refused_in_one_sentence(case, folder):
    data, message = CONFLICTS[case]
    with pytest.raises(UserError, match=message) as refused:
        setup_of(folder, **data)
    assert "\n" not in str(refused.value)


def test_eval_transforms_are_for_images_on_disk():
    data = {"dataset": "digits", "eval_transforms": [{"Resize": {"size": 36}}, "CenterCrop"]}
    with pytest.raises(UserError, match="is for images on disk, but those of digits have one size; leave it out"):
        complete(configs.build({"Arch": {"name": "mobilenet_v1"}, "DataLoader": data}, "x"))
