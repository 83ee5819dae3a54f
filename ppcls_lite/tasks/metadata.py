"""Metadata of a network's input and output, stored in run folders and exported files."""

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from ppcls_lite.config.options import Channels, Positive, PositiveFloat, Side, coerce
from ppcls_lite.data.fields import Fields
from ppcls_lite.data.transforms import Normalization
from ppcls_lite.tasks.task import Task, restore_task
from ppcls_lite.utils.errors import UserError
from ppcls_lite.utils.files import parse_json


@dataclass(frozen=True)
class Metadata:
    """Description of a network's input and output.

    Args:
        name: name of the run or export.
        model: name of the network.
        image_size: side of the images in pixels.
        channels: channels of the images.
        mean, std: per channel, of pixels in [0, 1].
        task: description for :func:`~ppcls_lite.tasks.task.restore_task`.
        weights: origin of the weights.
        batch_size: the only batch size that the network takes; None for any.
        resize: the shorter side in pixels that image files are resized to before the central crop of ``image_size``;
            None for ``image_size``.
        fields: the columns of a table that are the input, as ``Fields.to_dict`` returns them; None for one image alone.

    For a table without images, ``image_size`` is None and ``channels`` 0.
    """

    name: str
    model: str
    image_size: Side | None
    channels: Channels | Literal[0]
    mean: tuple[float, ...]
    std: tuple[PositiveFloat, ...]
    task: dict[str, Any]
    weights: str
    batch_size: Positive | None = None
    resize: Side | None = None
    fields: dict | None = None

    @property
    def columns(self) -> Fields | None:
        """The columns of a table that are the input; None for one image alone."""
        return None if self.fields is None else Fields.from_dict(self.fields)

    @property
    def input_shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of one sample of each input by name."""
        columns, shapes = self.columns, {}
        if self.image_size:
            shapes["images"] = (self.channels, self.image_size, self.image_size)
        if columns is not None and columns.width:
            shapes["table"] = (columns.width,)
        return shapes

    @property
    def normalization(self) -> Normalization:
        """The normalization of the network's input."""
        return Normalization(self.mean, self.std)

    def restore_task(self) -> Task:
        """Restore the task, to decode the network's outputs."""
        return restore_task(self.task)

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, text: str, source: str | Path) -> "Metadata":
        """Parse JSON of :meth:`to_dict`; ``source`` names it in error messages.

        Raises:
            UserError: the text is damaged or not metadata of this program.
        """
        try:
            raw = parse_json(text)
            if "num_classes" in raw:  # format from before there were other tasks
                outputs = {"classes": raw.pop("classes"), "num_classes": raw.pop("num_classes")}
                raw["task"] = {"task": "classification", "kind": "class", **outputs}
            types = {field.name: field.type for field in fields(cls) if field.name != "task"}
            result = cls(task=raw.pop("task"), **{key: coerce(value, types[key], key) for key, value in raw.items()})
            if {len(result.mean), len(result.std)} != {result.channels} or not result.input_shapes:
                raise ValueError("its fields contradict each other")
            result.restore_task()
        except KeyError as error:
            raise UserError(f"{source}: the metadata lack the field {error}; export the network again") from None
        except (ValueError, TypeError, AttributeError) as error:
            raise UserError(f"{source}: the metadata are damaged ({error}); export the network again") from None
        return result
