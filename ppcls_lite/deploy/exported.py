"""The files of exported networks: an .onnx file, or a Paddle model with its metadata; damaged files are refused."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ppcls_lite.deploy.runtimes import ONNX, PARAMETERS, PROGRAM, import_extra
from ppcls_lite.tasks.metadata import Metadata
from ppcls_lite.utils.errors import UserError
from ppcls_lite.utils.files import digest, parse_json

KEY = "ppcls_lite"  # of the metadata in an ONNX file
SIDECAR = ".meta.json"


def paddle_files(prefix: Path) -> tuple[Path, Path, Path]:
    """The files of a Paddle model: program, parameters, metadata."""
    program, parameters, sidecar = (Path(f"{prefix}{suffix}") for suffix in (PROGRAM, PARAMETERS, SIDECAR))
    return program, parameters, sidecar


def write_sidecar(prefix: Path, metadata: Metadata) -> None:
    """Write the metadata of the Paddle model PREFIX and checksums of its files: Paddle crashes on damaged files."""
    *files, sidecar = paddle_files(prefix)
    sums = {file.suffix: digest(file) for file in files}
    sidecar.write_text(json.dumps({"metadata": metadata.to_dict(), "sha256": sums}, indent=1) + "\n")


def write_onnx_metadata(model, metadata: Metadata) -> None:
    """Write the metadata into an ``onnx.ModelProto``."""
    import_extra("onnx").helper.set_model_props(model, {KEY: json.dumps(metadata.to_dict())})


def is_exported(path: Path) -> bool:
    """Whether ``path`` names an exported network."""
    return path.suffix == ONNX or prefix_of(path) is not None


def prefix_of(path: Path) -> Path | None:
    """The prefix of a Paddle model, from the prefix itself or one of the model's files; None if there is no model."""
    for suffix in ("", PROGRAM, PARAMETERS, SIDECAR):
        if path.name.endswith(suffix) and path.name != suffix:
            prefix = path.with_name(path.name[: len(path.name) - len(suffix)])
            if all(file.is_file() for file in paddle_files(prefix)[:2]):
                return prefix
    return None


def read_metadata(path: Path) -> Metadata:
    """Read the metadata of an exported network; checks the files of a Paddle model against their checksums.

    Args:
        path: an .onnx file, or the prefix of a Paddle model.

    Raises:
        UserError: the files are missing, damaged or not exported by this project.
    """
    return _read_onnx(path) if path.suffix == ONNX else _read_paddle(path)


def _read_onnx(path: Path) -> Metadata:
    onnx = import_extra("onnx")
    try:
        model = onnx.load(str(path), load_external_data=False)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    except Exception as error:  # protobuf's error; protobuf is not a dependency
        raise UserError(f"{path} is not a readable ONNX file ({type(error).__name__})") from None
    tensors = (message for message in _messages(model) if isinstance(message, onnx.TensorProto))
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in tensors):
        raise UserError(f"{path} stores weights in other files, which is not supported; use tools/export.py")
    texts = {entry.key: entry.value for entry in model.metadata_props}
    if KEY not in texts:
        raise UserError(f"{path} has no metadata of ppcls_lite; export the network with tools/export.py")
    return Metadata.from_json(texts[KEY], path)


def _messages(message) -> Iterator[Any]:
    """A protobuf message and all messages inside it."""
    yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in [value] if hasattr(value, "ListFields") else value:  # one message, or a list of them
                yield from _messages(inner)


def _read_paddle(prefix: Path) -> Metadata:
    *files, sidecar = paddle_files(prefix)
    try:
        raw = parse_json(sidecar.read_text())
        metadata, sums = json.dumps(raw["metadata"]), raw["sha256"]
    except OSError:
        raise UserError(f"{prefix}: {sidecar.name} is missing; export the network with tools/export.py") from None
    except (ValueError, TypeError, KeyError):
        raise UserError(f"{sidecar} is damaged; export the network again") from None
    for file in files:
        if not isinstance(sums, dict) or sums.get(file.suffix) != digest(file):
            raise UserError(f"{file} does not match its checksum in {sidecar.name}; export the network again")
    return Metadata.from_json(metadata, sidecar)
