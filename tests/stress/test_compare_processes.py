"""Two processes do what one does."""

import re

from tests.tools.helpers import SMALL, call

SCRIPT = "tests/stress/compare_processes.py"


def test_two_processes_make_the_steps_of_one_and_score_alike():
    # 63 images: the last step does not divide evenly, and a mean of means would not do.
    odd = ["DataLoader.train_subset=63", "DataLoader.drop_last=false", "DataLoader.eval_batch_size=6"]
    done = call(SCRIPT, "--steps", 8, "-o", *SMALL, *odd, "Optimizer.lr.learning_rate=0.02")
    assert done.returncode == 0, done.stdout + done.stderr
    frozen, live = (float(gap) for gap in re.findall(r"differ by at most (\S+)", done.stdout))
    assert frozen < 1e-4 < live
    assert "scores of 40 images equal to the last digit" in done.stdout
