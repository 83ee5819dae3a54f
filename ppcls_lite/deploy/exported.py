"""Exported networks as files: an .onnx file, or a Paddle model with its metadata beside it; each whole or refused."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ppcls_lite.deploy.runtimes import ONNX, PARAMETERS, PROGRAM, import_extra
from ppcls_lite.tasks.metadata import Metadata
from ppcls_lite.utils.errors import UserError
from ppcls_lite.utils.files import digest, parse_json

KEY = "ppcls_lite"  # of the ONNX file's metadata
SIDECAR = ".meta.json"


def paddle_files(prefix: Path) -> tuple[Path, Path, Path]:
    """A Paddle model's files: program, parameters, metadata."""
    program, parameters, sidecar = (Path(f"{prefix}{suffix}") for suffix in (PROGRAM, PARAMETERS, SIDECAR))
    return program, parameters, sidecar


def write_sidecar(prefix: Path, metadata: Metadata) -> None:
    """Write the metadata of the Paddle model PREFIX, and checksums of its files: Paddle crashes on damaged ones."""
    *files, sidecar = paddle_files(prefix)
    sums = {file.suffix: digest(file) for file in files}
    sidecar.write_text(json.dumps({"metadata": metadata.to_dict(), "sha256": sums}, indent=1) + "\n")


def write_onnx_metadata(model, metadata: Metadata) -> None:
    """Put the metadata into an ``onnx.ModelProto``."""
    import_extra("onnx").helper.set_model_props(model, {KEY: json.dumps(metadata.to_dict())})


def is_exported(path: Path) -> bool:
    """Whether ``path`` means an exported network."""
    return path.suffix == ONNX or prefix_of(path) is not None


def prefix_of(path: Path) -> Path | None:
    """The prefix of the Paddle model that a prefix or one of its files means, or None."""
    for suffix in ("", PROGRAM, PARAMETERS, SIDECAR):
        if path.name.endswith(suffix) and path.name != suffix:
            prefix = path.with_name(path.name[: len(path.name) - len(suffix)])
            if all(file.is_file() for file in paddle_files(prefix)[:2]):
                return prefix
    return None


def read_metadata(path: Path) -> Metadata:
    """The metadata of an exported network; the files of a Paddle model are compared with their checksums.

    Args:
        path: an .onnx file, or the prefix of a Paddle model.

    Raises:
        UserError: missing, damaged, or not exported by this project.
    """
    return _read_onnx(path) if path.suffix == ONNX else _read_paddle(path)


def _read_onnx(path: Path) -> Metadata:
    onnx = import_extra("onnx")
    try:
        model = onnx.load(str(path), load_external_data=False)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    except Exception as error:  # protobuf's, which is not our dependency
        raise UserError(f"{path} is no ONNX file that can be read ({type(error).__name__})") from None
    tensors = itertools.chain(_weights(model.graph), *(_constants(function.node) for function in model.functions))
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in tensors):
        raise UserError(
            f"{path} takes weights from other files; export the network with tools/export.py, which does not"
        )
    texts = {entry.key: entry.value for entry in model.metadata_props}
    if KEY not in texts:
        raise UserError(f"{path} has no metadata of ppcls_lite; export the network with tools/export.py")
    return Metadata.from_json(texts[KEY], path)


def _weights(graph) -> Iterator[Any]:
    """All tensors that an ``onnx.GraphProto`` stores, the constants of its nodes among them."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _constants(graph.node)


def _constants(nodes) -> Iterator[Any]:
    for node in nodes:
        for attribute in node.attribute:
            sparse = (attribute.sparse_tensor, *attribute.sparse_tensors)
            yield from (
                attribute.t,
                *attribute.tensors,
                *(part for one in sparse for part in (one.values, one.indices)),
            )
            for inner in (attribute.g, *attribute.graphs):
                yield from _weights(inner)


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
            raise UserError(f"{file} is not the file that {sidecar.name} describes; export the network again")
    return Metadata.from_json(metadata, sidecar)
