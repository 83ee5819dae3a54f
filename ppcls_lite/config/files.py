"""Reading configuration files: strict YAML, ``_BASE_``, overrides. ``ppcls_lite.config.load`` checks the keys."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from ppcls_lite.utils.errors import UserError
from ppcls_lite.utils.text import show

# Limits of a file's size, and of the values in it with aliases expanded.
MOST_BYTES, MOST_VALUES = 1 << 20, 10_000


class _StrictLoader(yaml.SafeLoader):
    """Safe YAML that refuses duplicate keys, of which PyYAML would silently keep the last."""

    def compose_mapping_node(self, anchor):
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.composer.ComposerError(None, None, f"duplicate key '{key.value}'", key.start_mark)
                seen.add(key.value)
        return node


def parse_yaml(text: str, source: str) -> Any:
    """Parse YAML into plain values: no duplicate keys, at most :data:`MOST_VALUES` values.

    Raises:
        UserError: the text is not such YAML; the message calls it ``source``.
    """
    try:
        loader = _StrictLoader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        if _count_values(node, {}) > MOST_VALUES:
            raise ValueError(f"it has more than {MOST_VALUES} values, aliases expanded")
        return loader.construct_document(node)
    except Exception as error:  # PyYAML's constructors raise anything: ValueError, IndexError, ...
        problem = getattr(error, "problem", None) or (str(error).splitlines() or [type(error).__name__])[0]
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise UserError(f"{source}{where}: not valid YAML ({problem})") from None


def _count_values(node: yaml.Node, counts: dict[yaml.Node, int]) -> int:
    """Number of values in a node with its aliases expanded; a node inside itself counts as too many."""
    if node not in counts:
        counts[node] = MOST_VALUES + 1
        parts = node.value if isinstance(node, yaml.CollectionNode) else []
        members = [part for pair in parts for part in pair] if isinstance(node, yaml.MappingNode) else parts
        counts[node] = 1 + sum(_count_values(member, counts) for member in members)
    return counts[node]


def read_with_bases(path: Path, children: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Read a YAML file, merged over the files that its ``_BASE_`` names.

    Args:
        path: the file.
        children: the files whose ``_BASE_`` led to ``path``.

    Raises:
        UserError: the file cannot be read, is not a YAML mapping, or inherits from itself.
    """
    if "\0" in str(path):
        raise UserError(f"{str(path)!r} is not a valid file name")
    if path.resolve() in children:
        raise UserError(f"{path}: _BASE_ leads back to itself")
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise UserError(f"{path}: the config cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: the config is not UTF-8 text") from None
    if len(text) > MOST_BYTES:
        raise UserError(f"{path}: the file has more than {MOST_BYTES >> 20} MiB, too much for a config")
    raw = parse_yaml(text, str(path))
    if not isinstance(raw, dict):
        raise UserError(f"{path}: expected sections such as Global and Arch, found {type(raw).__name__}")
    for key in raw:
        if not isinstance(key, str):
            raise UserError(f"{path}: the key {show(key)} is not text; put it in quotes")
    bases = raw.pop("_BASE_", [])
    bases = [bases] if isinstance(bases, str) else bases
    if not isinstance(bases, list) or not all(isinstance(base, str) for base in bases):
        raise UserError(f"{path}: _BASE_ is {show(bases)}, expected a file name or a list of them")
    result: dict[str, Any] = {}
    for base in bases:
        result = _merge(result, read_with_bases(path.parent / base, (*children, path.resolve())))
    return _merge(result, raw)


def _merge(base: dict, over: dict) -> dict:
    """``base`` with the values of ``over`` replaced or added, recursively."""
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(merged.get(key), dict) and isinstance(value, dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def is_set(key: str, overrides: Iterable[str]) -> bool:
    """Whether one of the overrides sets ``key``."""
    return any(override.partition("=")[0].strip() == key for override in overrides)


def apply_override(raw: dict[str, Any], override: str) -> None:
    """Apply ``section.key=value`` to nested dictionaries, in place; the value is YAML.

    Raises:
        UserError: the override has another form.
    """
    key, equals, text = override.partition("=")
    *sections, last = key.strip().split(".")
    if not equals or not sections or not all([*sections, last]):
        raise UserError(f"-o {override}: expected SECTION.KEY=VALUE, such as Global.epochs=5")
    value = parse_yaml(text, f"-o {override}")
    node = raw
    for section in sections:
        if node.get(section) is None:
            node[section] = {}
        node = node[section]
        if not isinstance(node, dict):
            raise UserError(f"-o {override}: {section} has no keys of its own")
    node[last] = value
