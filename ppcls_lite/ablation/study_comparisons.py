"""The comparisons that docs/study/plan.md names, as data."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Comparison:
    """A difference that plan.md names.

    Args:
        family: the part that has the arms; Holm's method adjusts within it.
        name: as in plan.md.
        arms: signed sum, ``"a - b - c + d"``.
        question: that the difference answers.
    """

    family: str
    name: str
    arms: str
    question: str

    @property
    def terms(self) -> list[tuple[int, str]]:
        """Sign, 1 or -1, and name of each arm."""
        words = f"+ {self.arms}".split()
        return [(1 if sign == "+" else -1, arm) for sign, arm in zip(words[::2], words[1::2], strict=True)]


PRIMARY = Comparison("A", "Oct .5 - pooled", "octresnet20 - resnet20_pooled", "the octave alone, since both pool")
INTERACTION = Comparison(
    "A",
    "(Oct .5 - pooled) - (Oct .5 strided - ResNet-20)",
    "octresnet20 - resnet20_pooled - octresnet20_strided + resnet20",
    "do pooling and octave interact?",
)
ARTICLE = Comparison(
    "B", "Oct .5 with biases - ResNet-20", "octresnet20_bias - resnet20", "the article's own comparison"
)
LENGTH = {
    5: Comparison("C", "Oct .5 - pooled, 5 epochs", "octresnet20_5ep - resnet20_pooled_5ep", "the octave, short"),
    20: PRIMARY,
    60: Comparison("C", "Oct .5 - pooled, 60 epochs", "octresnet20_60ep - resnet20_pooled_60ep", "the octave, long"),
}
POOLING = {
    5: Comparison("C", "pooled - strided, 5 epochs", "resnet20_pooled_5ep - resnet20_5ep", "the pooling, short"),
    20: Comparison(
        "A", "pooled - strided, plain", "resnet20_pooled - resnet20", "what does the pooling do to the plain network?"
    ),
    60: Comparison("C", "pooled - strided, 60 epochs", "resnet20_pooled_60ep - resnet20_60ep", "the pooling, long"),
}
SECONDARY = (
    POOLING[20],
    Comparison("A", "pooled - strided, Oct .5", "octresnet20 - octresnet20_strided", "and to the octave network?"),
    Comparison(
        "A",
        "Oct .5 strided - ResNet-20",
        "octresnet20_strided - resnet20",
        "what does the octave do without the pooling?",
    ),
    INTERACTION,
    Comparison(
        "A", "Oct .25 - pooled", "octresnet20_alpha0.25 - resnet20_pooled", "does a smaller low branch cost less?"
    ),
    Comparison(
        "A",
        "Oct .5 without exchange - Oct .5",
        "octresnet20_no_exchange - octresnet20",
        "what is the exchange worth, with the capacity that it brings?",
    ),
    Comparison(
        "A",
        "Oct .5 - narrow pooled",
        "octresnet20 - resnet20_pooled_narrow",
        "is the octave better than a narrower network of the same cost?",
    ),
    Comparison(
        "B",
        "pooled - ResNet-20, Paddle's initialisation",
        "resnet20_pooled - resnet20",
        "pooling by the article's recipe",
    ),
    Comparison("B", "Oct .5 - pooled, Paddle's", "octresnet20 - resnet20_pooled", "octave"),
    Comparison("B", "Oct .5 with biases - Oct .5", "octresnet20_bias - octresnet20", "biases before batch norm"),
    Comparison("B", "Oct .5: Kaiming's - Paddle's", "octresnet20_kaiming - octresnet20", "initialisation, octave"),
    Comparison(
        "B", "pooled: Kaiming's - Paddle's", "resnet20_pooled_kaiming - resnet20_pooled", "initialisation, plain"
    ),
    Comparison(
        "B",
        "Oct .5 - pooled, Kaiming's",
        "octresnet20_kaiming - resnet20_pooled_kaiming",
        "octave under the other initialisation",
    ),
    ARTICLE,
    Comparison("D", "pooled - strided", "mobilenetv1_pooled - mobilenetv1", "depthwise: pooling"),
    Comparison("D", "Oct .5 - pooled", "octmobilenetv1 - mobilenetv1_pooled", "depthwise: octave"),
    Comparison("D", "Oct .5 - strided", "octmobilenetv1 - mobilenetv1", "depthwise: octave and pooling"),
    Comparison(
        "D", "Oct .5 - narrow pooled", "octmobilenetv1 - mobilenetv1_pooled_narrow", "depthwise: octave at equal cost"
    ),
    LENGTH[5],
    LENGTH[60],
    Comparison(
        "C",
        "Oct .5 - pooled, 60 epochs - 5 epochs",
        "octresnet20_60ep - resnet20_pooled_60ep - octresnet20_5ep + resnet20_pooled_5ep",
        "does the loss shrink or grow with training?",
    ),
    POOLING[5],
    POOLING[60],
    Comparison("C", "Oct .5 - pooled, subset 1", "octresnet20_split1 - resnet20_pooled_split1", "on other images"),
    Comparison("C", "Oct .5 - pooled, subset 2", "octresnet20_split2 - resnet20_pooled_split2", "on other images"),
    Comparison("G", "Oct .5 - pooled at 64 px", "octresnet20 - resnet20_pooled", "the paper's octaves: maps of 56 px"),
)
