"""Editing ONNX graphs: nodes are found by their tensors, added in any order and sorted at the end."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from ppcls_lite.deploy.onnx_graph import name_batch


class Graph:
    """Nodes of a model by the tensors that they read and write; new nodes may stand in any order."""

    def __init__(self, model: onnx.ModelProto):
        self.model = model
        graph = model.graph
        self.constants = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
        self._shapes = {
            value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
            for value in (*graph.input, *graph.value_info, *graph.output)
        }
        self._producers = {name: node for node in graph.node for name in node.output}
        self._readers = defaultdict(list)
        for node in graph.node:
            for name in node.input:
                self._readers[name].append(node)
        self._outputs = {value.name for value in graph.output}
        self._names = {*self._shapes, *self.constants, *(node.name for node in graph.node)}
        self._replaced: dict[str, str] = {}
        self._added: list[onnx.NodeProto] = []

    def nodes(self, kind: str) -> list[onnx.NodeProto]:
        """The nodes of a kind that the model had at first."""
        return [node for node in self.model.graph.node if node.op_type == kind]

    def shape(self, tensor: str) -> list[int]:
        """Of a tensor of the model; 0 for a batch of any size."""
        return self._shapes.get(tensor, [])

    def producer(self, tensor: str) -> onnx.NodeProto | None:
        return self._producers.get(tensor)

    def readers(self, tensor: str) -> list[onnx.NodeProto]:
        return self._readers[tensor]

    def is_read_once(self, tensor: str) -> bool:
        return len(self._readers[tensor]) == 1 and tensor not in self._outputs

    def constant(self, values: np.ndarray) -> str:
        """Add a constant."""
        name = self._new_name("constant")
        self.constants[name] = values
        self.model.graph.initializer.append(numpy_helper.from_array(values, name))
        return name

    def add(self, kind: str, inputs: Iterable[str], **attributes: Any) -> str:
        """Add a node; its output."""
        name = self._new_name(kind)
        self._added.append(helper.make_node(kind, list(inputs), [name], name, **attributes))
        return name

    def reshape(self, tensor: str, shape: list[int]) -> str:
        """Add a Reshape; its output."""
        return self.add("Reshape", [tensor, self.constant(np.array(shape, np.int64))])

    def replace(self, tensor: str, by: str) -> None:
        """Let all readers of ``tensor`` read ``by``."""
        self._replaced[tensor] = by

    def _new_name(self, kind: str) -> str:
        number = len(self._names)
        while (name := f"{kind}_{number}") in self._names:
            number += 1
        self._names.add(name)
        return name

    def finish(self) -> onnx.ModelProto:
        """The model with sorted nodes, without unused ones, and with the shapes of all tensors."""
        graph = self.model.graph
        producers = {name: node for node in (*graph.node, *self._added) for name in node.output}
        for old, new in self._replaced.items():
            producers[new].output[0], producers[old].output[0] = old, new
            producers[old], producers[new] = producers[new], producers[old]
        ordered, done, todo = [], set(), [(value.name, False) for value in graph.output]
        while todo:
            name, ready = todo.pop()
            node = producers.get(name)
            if node is None or node.output[0] in done:
                continue
            if ready:
                done.add(node.output[0])
                ordered.append(node)
            else:
                todo += [(name, True), *((source, False) for source in node.input)]
        used = {name for node in ordered for name in node.input}
        ordered = [onnx.NodeProto.FromString(node.SerializeToString()) for node in ordered]
        constants = [
            onnx.TensorProto.FromString(one.SerializeToString()) for one in graph.initializer if one.name in used
        ]
        for field, values in ((graph.node, ordered), (graph.initializer, constants), (graph.value_info, ())):
            del field[:]
            field.extend(values)
        name_batch(self.model)
        return self.model


def attributes_of(node: onnx.NodeProto) -> dict[str, Any]:
    """The attributes of a node by name, as plain values."""
    return {one.name: helper.get_attribute_value(one) for one in node.attribute}
