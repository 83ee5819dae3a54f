"""What a network needs to be fed and read: it lies in the run folder, and travels with an exported file."""

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ppcls_lite.config.options import Channels, Positive, PositiveFloat, Side, coerce
from ppcls_lite.data.transforms import Normalization
from ppcls_lite.tasks.task import Task, restore_task
from ppcls_lite.utils.errors import UserError
from ppcls_lite.utils.files import parse_json


@dataclass(frozen=True)
class Metadata:
    """Input and output of a network.

    ``image_size`` is the side in pixels, ``mean`` and ``std`` are per channel, of pixels in [0, 1]; ``task`` is what
    :func:`~ppcls_lite.tasks.task.restore_task` takes. ``weights`` tells their origin, ``batch_size`` is the only
    one that the network takes, None for any.
    """

    name: str
    model: str
    image_size: Side
    channels: Channels
    mean: tuple[float, ...]
    std: tuple[PositiveFloat, ...]
    task: dict[str, Any]
    weights: str
    batch_size: Positive | None = None

    @property
    def normalization(self) -> Normalization:
        """From pixels uint8 [N, C, H, W] to what the network takes."""
        return Normalization(self.mean, self.std)

    def restore_task(self) -> Task:
        """The task that decodes the network's outputs."""
        return restore_task(self.task)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, which JSON can hold."""
        return asdict(self)

    @classmethod
    def from_json(cls, text: str, source: str | Path) -> "Metadata":
        """Read :meth:`to_dict` as JSON.

        Raises:
            UserError: damaged, or another program's.
        """
        try:
            raw = parse_json(text)
            if "num_classes" in raw:  # written before there were other tasks
                outputs = {"classes": raw.pop("classes"), "num_classes": raw.pop("num_classes")}
                raw["task"] = {"task": "classification", "kind": "class", **outputs}
            types = {field.name: field.type for field in fields(cls)}
            result = cls(
                **{key: value if key == "task" else coerce(value, types[key], key) for key, value in raw.items()}
            )
            if {len(result.mean), len(result.std)} != {result.channels}:
                raise ValueError("its fields contradict each other")
            result.restore_task()
        except KeyError as error:
            raise UserError(f"{source}: the metadata have no field {error}; export the network again") from None
        except (ValueError, TypeError, AttributeError) as error:
            raise UserError(f"{source}: the metadata are damaged ({error}); export the network again") from None
        return result
