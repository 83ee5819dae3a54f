"""What an exported network needs to be fed and read: it travels with the file."""

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from ppcls_lite.errors import UserError
from ppcls_lite.files import parse_json
from ppcls_lite.options import Channels, Classes, Positive, PositiveFloat, Side, coerce


@dataclass(frozen=True)
class Metadata:
    """Input and output of a network.

    ``image_size`` is the side in pixels, ``mean`` and ``std`` are per channel, of pixels in [0, 1]; ``classes`` are
    names in the order of the outputs, or nothing where they are not known. ``weights`` tells where they came from,
    ``batch_size`` is the only one that the network takes, None for any.
    """

    name: str
    model: str
    num_classes: Classes
    image_size: Side
    channels: Channels
    mean: tuple[float, ...]
    std: tuple[PositiveFloat, ...]
    classes: tuple[str, ...]
    weights: str
    batch_size: Positive | None = None

    def normalize(self, images: np.ndarray) -> np.ndarray:
        """Images [N, C, H, W] of pixels in [0, 1] as the network takes them."""
        mean, std = (np.array(values, np.float32).reshape(1, -1, 1, 1) for values in (self.mean, self.std))
        return (images - mean) / std

    def class_name(self, index: int) -> str:
        """The name of a class, or its number."""
        return self.classes[index] if self.classes else str(index)

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
            types = {field.name: field.type for field in fields(cls)}
            result = cls(**{key: coerce(value, types[key], key) for key, value in raw.items()})
            counts = {len(result.mean), len(result.std)}
            if counts != {result.channels} or len(result.classes) not in (0, result.num_classes):
                raise ValueError("its fields contradict each other")
        except KeyError as error:
            raise UserError(f"{source}: the metadata have no field {error}; export the network again") from None
        except (ValueError, TypeError, AttributeError) as error:
            raise UserError(f"{source}: the metadata are damaged ({error}); export the network again") from None
        return result
