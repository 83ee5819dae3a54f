"""Images that are decoded as they are read, here and by worker processes."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest

from ppcls_lite.data import workers
from ppcls_lite.data.dataset import DataSpec, Reading
from ppcls_lite.data.files import MAX_WARNINGS, FileNames, ImageFiles, files_dataset
from ppcls_lite.data.image_file import load_image
from ppcls_lite.data.workers import check_shared_memory, map_in_workers
from ppcls_lite.utils.errors import TrainingError, UserError

from .pictures import write_image

IMAGES = 23
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """23 image files, and two that are none."""
    root = tmp_path_factory.mktemp("files")
    for i in range(IMAGES):
        write_image(root / f"{i % 3}" / f"{i} \u00e4\udcff.png", seed=i)
    (root / "text.jpg").write_text("no picture")
    return root


@pytest.fixture
def names(folder):
    return FileNames.pack(str(folder), sorted(os.fsencode(p.relative_to(folder)) for p in folder.glob("*/*.png")))


@pytest.fixture
def with_broken(names):
    """The same names with two broken ones at 3 and 11."""
    listed = [names.name(i) for i in range(len(names))]
    listed[3:3], listed[11:11] = [b"text.jpg"], [b"gone.png"]
    return FileNames.pack(names.root, listed)


def batches_of(size, *lengths):
    order, ends = np.random.default_rng(0).permutation(size), np.cumsum(lengths)
    return [order[end - length : end] for length, end in zip(lengths, ends, strict=True)]


@pytest.mark.parametrize("num_workers", [0, 1, 3])
@pytest.mark.parametrize("channels", [1, 3])
def test_batches_are_the_same_for_any_number_of_workers(names, num_workers, channels, children):
    images = ImageFiles(names, Reading(channels, 8, num_workers))
    assert images.shape == (channels, 8, 8) and len(images) == IMAGES
    batches, state = batches_of(IMAGES, 5, 1, 7, 0, 5, 5), np.random.get_state()[1].copy()
    read = list(images.read(batches))
    assert len(read) == len(batches)
    for chosen, (pixels, indices) in zip(batches, read, strict=True):
        assert pixels.dtype == np.uint8 and indices.dtype == np.int64
        assert (indices == chosen).all()
        expected = [load_image(names.path(index), channels, 8) for index in chosen]
        assert (pixels == np.array(expected, np.uint8).reshape(-1, channels, 8, 8)).all()
    assert (np.random.get_state()[1] == state).all()
    assert not children()


@pytest.mark.parametrize("num_workers", [0, 2])
def test_broken_files_are_left_out_and_counted_once(with_broken, num_workers):
    images = ImageFiles(with_broken, Reading(3, 8, num_workers, skip=True))
    batches = [np.arange(0, 12), np.array([3, 11]), np.arange(12, 25), np.array([11])]
    for _ in range(2):
        read = list(images.read(batches))
        assert [indices.tolist() for _, indices in read] == [
            [0, 1, 2, 4, 5, 6, 7, 8, 9, 10],
            [],
            list(range(12, 25)),
            [],
        ]
        for pixels, indices in read:
            assert pixels.shape == (len(indices), 3, 8, 8)
            assert all(
                (image == load_image(images.path(i), 3, 8)).all() for image, i in zip(pixels, indices, strict=True)
            )
        assert images.skipped == {images.path(3), images.path(11)}


def test_splits_tell_what_was_skipped_of_their_own(with_broken):
    images = ImageFiles(with_broken, Reading(3, 8, skip=True))
    first, rest = images.take(np.arange(10)), images.take(np.arange(10, 25))
    list(first.read([np.arange(10)]))
    assert (first.skipped, rest.skipped) == ({images.path(3)}, set())
    list(rest.read([np.arange(15)]))
    assert (first.skipped, rest.skipped) == ({images.path(3)}, {images.path(11)})


def test_a_file_named_twice_counts_once(folder):
    images = ImageFiles(FileNames.pack(str(folder), [b"text.jpg"] * 3), Reading(3, 8, skip=True))
    list(images.read([np.arange(3)]))
    assert images.skipped == {images.path(0)}


def test_only_the_first_skipped_files_are_logged(tmp_path, caplog):
    names = FileNames.pack(str(tmp_path), [b"%d.png" % i for i in range(50)])
    images = ImageFiles(names, Reading(3, 8, skip=True))
    list(images.read([np.arange(50)]))
    assert len(images.skipped) == 50 and len(caplog.records) == MAX_WARNINGS
    assert "counted" in caplog.records[-1].message


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize(("broken", "reason"), [(3, "text.jpg: it is not an image"), (11, "gone.png: No such file")])
def test_a_broken_file_ends_reading_with_one_sentence(with_broken, num_workers, broken, reason, capfd, children):
    images = ImageFiles(with_broken, Reading(3, 8, num_workers))
    batches = [np.arange(0, 3), np.array([4, broken, 5]), np.arange(12, 25)]
    read = []
    with pytest.raises(UserError, match=re.escape(reason)) as refused:
        read.extend(indices for _, indices in images.read(batches))
    assert "\n" not in str(refused.value) and len(read) == 1
    assert "Traceback" not in capfd.readouterr().err
    assert not children()


def test_take_chooses_files(names):
    taken = ImageFiles(names, Reading(3, 8)).take(np.array([5, 2, 9])).take(np.array([2, 0]))
    assert len(taken) == 2 and [taken.path(0), taken.path(1)] == [names.path(9), names.path(5)]
    ((pixels, indices),) = taken.read([np.array([1])])
    assert indices.tolist() == [1] and (pixels[0] == load_image(names.path(5), 3, 8)).all()


def test_no_worker_is_left_after_a_break(names, capfd, children):
    for batches in ([np.arange(4)] * 40, [np.arange(4)]):
        for _ in ImageFiles(names, Reading(3, 8, 2)).read(batches):
            assert children()
            break
        assert not children()
    assert not capfd.readouterr().err


def test_no_worker_is_left_after_ctrl_c(tmp_path):
    program = (
        "import sys, time, numpy as np\n"
        "from ppcls_lite.data.files import FileNames, ImageFiles\n"
        "from ppcls_lite.data.dataset import Reading\n"
        "names = FileNames.pack(sys.argv[1], [b'x.png'] * 9)\n"
        "for _ in ImageFiles(names, Reading(3, 8, 2)).read([np.arange(9)] * 9999):\n"
        "    print('read', flush=True)\n"
        "    time.sleep(0.05)\n"
    )
    write_image(tmp_path / "x.png")
    command = [sys.executable, "-W", "ignore", "-c", program, str(tmp_path)]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout.readline() == "read\n"
    loaders = psutil.Process(process.pid).children(recursive=True)
    assert len(loaders) == 2
    os.killpg(process.pid, signal.SIGINT)  # as the terminal does: to all of them
    _, errors = process.communicate(timeout=20)
    assert errors.count("Traceback") == 1 and "KeyboardInterrupt" in errors
    assert not [loader for loader in loaders if loader.is_running()]


def test_results_come_in_order_however_long_each_takes():
    def task(number):
        time.sleep(0.05 if number % 2 == 0 else 0)
        return np.array([number]), {"number": number}

    assert [(int(a[0]), extra) for a, extra in map_in_workers(task, 9, 3)] == [(i, {"number": i}) for i in range(9)]


def kill_worker():
    os.kill(os.getpid(), signal.SIGKILL)


def run_out_of_memory():
    raise MemoryError("no room")


def make_a_mistake():
    return [][1]


@pytest.mark.parametrize(
    ("accident", "error", "message"),
    [
        (run_out_of_memory, MemoryError, "no room"),
        (make_a_mistake, RuntimeError, "in make_a_mistake"),
        (kill_worker, TrainingError, r"was killed.*set fewer DataLoader\.num_workers"),
    ],
)
def test_accidents_of_workers_end_reading(accident, error, message, capfd, children):
    def task(number):
        if number == 3:
            accident()
        return np.array([number]), None

    results = map_in_workers(task, 9, 2)
    with pytest.raises(error, match=message):
        for _ in results:
            pass
    assert "Traceback" not in capfd.readouterr().err
    assert not children()


def test_a_worker_does_not_collect_what_earlier_reading_left():
    program = (
        "import gc, os, numpy as np\n"
        "from ppcls_lite.data.workers import map_in_workers\n"
        "def task(number):\n"
        "    if number == 3:\n"
        "        raise MemoryError('no room')\n"
        "    return np.zeros(10), None\n"
        "os.register_at_fork(after_in_child=gc.collect)\n"
        "gc.disable()\n"
        "for _ in range(4):\n"
        "    cycle = []\n"
        "    try:\n"
        "        list(map_in_workers(task, 9, 2))\n"
        "    except MemoryError as error:\n"
        "        cycle += [cycle, error]\n"  # its traceback holds the iterator
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], cwd=ROOT, check=True, timeout=60)


def test_names_take_little_memory():
    number = 20_000
    names = FileNames.pack("/data", (b"train/n%08d/n%08d_%d.JPEG" % (i % 100, i % 100, i) for i in range(number)))
    assert len(names.joined) + names.ends.nbytes < 50 * number
    assert names.path(12_345) == "/data/train/n00000045/n00000045_12345.JPEG"
    assert FileNames.pack("/data", [b"/elsewhere/x.png"]).path(0) == "/elsewhere/x.png"


def test_the_fingerprint_follows_names_sizes_labels_and_order(names, tmp_path):
    labels = np.arange(IMAGES) % 2
    spec, reading = DataSpec("x", {}), Reading(3, 8)

    def fingerprint(names=names, labels=labels, part="train"):
        return files_dataset(spec, {part: (names, labels)}, reading, "x").sha256

    listed = [names.name(i) for i in range(IMAGES)]
    assert fingerprint() == fingerprint(FileNames.pack(names.root, listed))
    changed = [
        fingerprint(labels=1 - labels),
        fingerprint(part="test"),
        fingerprint(FileNames.pack(names.root, listed[::-1])),
        fingerprint(FileNames.pack(names.root, listed[:-1]), labels[:-1]),
    ]
    assert len({fingerprint(), *changed}) == 5
    moved = tmp_path / "moved"
    moved.symlink_to(names.root)
    assert fingerprint(FileNames.pack(str(moved), listed)) == fingerprint()


def test_missing_files_are_told_before_the_first_batch(with_broken):
    parts = {"train": (with_broken, np.zeros(IMAGES + 2, np.int64))}
    with pytest.raises(UserError, match=r"1 file of 25 .* cannot be found, first .*gone\.png"):
        files_dataset(DataSpec("x", {}), parts, Reading(3, 8), "x")
    dataset = files_dataset(DataSpec("x", {}), parts, Reading(3, 8, skip=True), "x")
    assert len(dataset.parts["train"]) == IMAGES + 2 and dataset.official is None


def test_only_process_0_looks_at_all_files(names, monkeypatch):
    parts = {"train": (names, np.zeros(IMAGES, np.int64))}
    assert len(files_dataset(DataSpec("x", {}), parts, Reading(3, 8), "x").sha256) == 64
    monkeypatch.setenv("PADDLE_TRAINER_ID", "1")
    monkeypatch.setattr(FileNames, "sizes", lambda self: pytest.fail("process 1 did"))
    assert files_dataset(DataSpec("x", {}), parts, Reading(3, 8), "x").sha256 == ""


def test_shared_memory_that_is_too_small_is_told(monkeypatch):
    monkeypatch.setattr(workers.shutil, "disk_usage", lambda _place: type("Usage", (), {"free": 64 << 20}))
    check_shared_memory(batch_bytes=4 << 20, num_workers=2)
    check_shared_memory(batch_bytes=1 << 40, num_workers=0)
    with pytest.raises(
        UserError, match=r"170 MiB needed .* 8 loading workers, 64 MiB avail.*num_workers .*--shm-size=1g"
    ):
        check_shared_memory(batch_bytes=10 << 20, num_workers=8)
    with pytest.raises(UserError, match="4 loading workers"):
        check_shared_memory(batch_bytes=10 << 20, num_workers=2, processes=2)


def test_a_machine_without_shared_memory(monkeypatch):
    monkeypatch.setattr(workers, "SHARED_MEMORY", "/nowhere")
    with pytest.raises(UserError, match="0 MiB available"):
        check_shared_memory(1, 1)


def test_a_file_that_several_processes_skip_counts_once(monkeypatch):
    from ppcls_lite.engine import build

    loader = SimpleNamespace(split=SimpleNamespace(images=SimpleNamespace(skipped={"a.png", "b.png"})))
    monkeypatch.setattr(build.processes, "gather", lambda skipped: [skipped, {"b.png", "c.png"}])
    assert build.count_skipped(build.Loaders(loader, None, loader)) == 3
