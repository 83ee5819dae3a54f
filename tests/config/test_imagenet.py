"""configs/imagenet on lists with ImageNet's 1,000 classes."""

from pathlib import Path

import pytest

from ppcls_lite.ablation.protocol import load_protocols
from ppcls_lite.data.augment import RandomHorizontalFlip, RandomResizedCrop
from ppcls_lite.tasks.setup import load_setup

FOLDER = Path(__file__).resolve().parents[2] / "configs" / "imagenet"
NAMES = sorted(path.stem for path in FOLDER.glob("*.yaml") if path.name[0] != "_")


@pytest.fixture
def root(tmp_path):
    for part in ("train", "val"):
        (tmp_path / f"{part}_list.txt").write_text("".join(f"{part}/{i}.JPEG {i}\n" for i in range(1000)))
    return f"DataLoader.root={tmp_path}"


@pytest.mark.parametrize("name", NAMES)
def test_networks_have_1000_classes_and_the_usual_crops(name, root):
    setup = load_setup(FOLDER / f"{name}.yaml", [root])
    assert (setup.task.outputs, setup.input_size, setup.channels) == (1000, 224, 3)
    assert isinstance(setup.pipeline.region, RandomResizedCrop) and setup.pipeline.single == (RandomHorizontalFlip(),)
    assert (setup.resize, setup.reading.resize) == (256, 256)
    assert setup.normalization.mean == (0.485, 0.456, 0.406)


@pytest.mark.parametrize(
    ("baseline", "other"),
    [("resnet50", "octresnet50"), ("mobilenetv1", "octmobilenet"), ("densenet121", "vovnet39")],
)
def test_networks_that_are_compared_share_their_recipe(baseline, other, root):
    one, two = (load_setup(FOLDER / f"{name}.yaml", [root]).config.to_dict() for name in (baseline, other))
    for config in (one, two):
        del config["Arch"], config["Global"]["name"], config["Global"]["output_dir"]
    assert one == two


def test_the_protocol_names_all_of_them(root):
    (protocol,) = load_protocols("imagenet")
    loaded = {name: arm.load([root]).config for name, arm in protocol.arms.items()}
    assert {config.Arch["name"] for config in loaded.values()} == {
        load_setup(FOLDER / f"{name}.yaml", [root]).config.Arch["name"] for name in NAMES
    }
    assert {arm for members in protocol.groups.values() for arm in members} == set(loaded)
