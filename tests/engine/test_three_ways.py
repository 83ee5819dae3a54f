"""The examples of docs/tasks.md that feed a paddle.Model in three ways."""

import re
from pathlib import Path

import numpy as np

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "tasks.md"


def test_equal_batches_make_equal_weights_whichever_way_they_are_fed():
    section = DOCUMENT.read_text().partition("## Three ways to feed a paddle.Model\n")[2].partition("\n## ")[0]
    examples = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    assert len(examples) == 4 and all(len(example.splitlines()) <= 15 for example in examples)
    names = {}
    exec("\n".join(examples), names)
    initial, *trained = (
        {name: value.numpy() for name, value in model.network.state_dict().items()}
        for model in (names["make_model"](), *(names[way] for way in ("by_arrays", "by_generator", "by_hand")))
    )
    assert any(np.any(value != initial[name]) for name, value in trained[0].items())
    for other in trained[1:]:
        assert {name: value.tobytes() for name, value in other.items()} == {
            name: value.tobytes() for name, value in trained[0].items()
        }
