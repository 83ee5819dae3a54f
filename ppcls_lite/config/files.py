"""Reading configuration files: strict YAML, ``_BASE_``, overrides; ``schema`` says what the keys mean."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from ppcls_lite.utils.errors import UserError
from ppcls_lite.utils.text import show


class _StrictLoader(yaml.SafeLoader):
    """Safe YAML that refuses a key given twice, of which YAML would silently keep the last."""

    def construct_mapping(self, node, deep=False):
        self.flatten_mapping(node)  # merge keys (<<)
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, str) and key in seen:
                problem = f"the key '{key}' stands twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
            seen.add(key if isinstance(key, str) else str(key))
        return super().construct_mapping(node, deep)


MOST_BYTES, MOST_VALUES = 1 << 20, 10_000  # of a file, and of what it says when its aliases are written out


def parse_yaml(text: str, source: str) -> Any:
    """What a text in YAML says: plain values, no key twice, and not more than :data:`MOST_VALUES` of them.

    Raises:
        UserError: no such text; ``source`` is what the message calls it.
    """
    try:
        loader = _StrictLoader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        if _count_values(node, {}) > MOST_VALUES:
            raise ValueError(f"it has more than {MOST_VALUES} values, aliases written out")
        return loader.construct_document(node)
    except Exception as error:  # PyYAML's constructors raise what they meet: ValueError, IndexError, ...
        problem = getattr(error, "problem", None) or (str(error).splitlines() or [type(error).__name__])[0]
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise UserError(f"{source}{where}: not valid YAML ({problem})") from None


def _count_values(node: yaml.Node, counts: dict[yaml.Node, int]) -> int:
    """Values in a node with its aliases written out; a node within itself counts as too many."""
    if node not in counts:
        counts[node] = MOST_VALUES + 1
        parts = node.value if isinstance(node, yaml.CollectionNode) else []
        members = [part for pair in parts for part in pair] if isinstance(node, yaml.MappingNode) else parts
        counts[node] = 1 + sum(_count_values(member, counts) for member in members)
    return counts[node]


def read_with_bases(path: Path, children: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The mappings in a YAML file, over those of the files that its ``_BASE_`` names.

    Args:
        path: the file.
        children: files that led here.

    Raises:
        UserError: not readable, no YAML, no mappings, or a circle.
    """
    if "\0" in str(path):
        raise UserError(f"{str(path)!r} is no file name")
    if path.resolve() in children:
        raise UserError(f"{path}: _BASE_ leads back to itself")
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise UserError(f"{path}: the config cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: the config is not text in UTF-8") from None
    if len(text) > MOST_BYTES:
        raise UserError(f"{path}: it has more than {MOST_BYTES >> 20} MiB, which is no config")
    raw = parse_yaml(text, str(path))
    if not isinstance(raw, dict):
        raise UserError(f"{path}: expected sections such as Global and Arch, found {type(raw).__name__}")
    for key in raw:
        if not isinstance(key, str):
            raise UserError(f"{path}: the key {show(key)} is no text; put it in quotes")
    bases = raw.pop("_BASE_", [])
    bases = [bases] if isinstance(bases, str) else bases
    if not isinstance(bases, list) or not all(isinstance(base, str) for base in bases):
        raise UserError(f"{path}: _BASE_ is {show(bases)}, expected a file name or a list of them")
    result: dict[str, Any] = {}
    for base in bases:
        result = merge(result, read_with_bases(path.parent / base, (*children, path.resolve())))
    return merge(result, raw)


def merge(base: dict, over: dict) -> dict:
    """``base`` with the keys of ``over`` in their place, mapping by mapping."""
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(merged.get(key), dict) and isinstance(value, dict)
        merged[key] = merge(merged[key], value) if both else value
    return merged


def is_set(key: str, overrides: Iterable[str]) -> bool:
    """Whether one of the overrides sets ``key``."""
    return any(override.partition("=")[0].strip() == key for override in overrides)


def apply_override(raw: dict[str, Any], override: str) -> None:
    """Set what ``section.key=value`` says in nested mappings; the value is YAML.

    Raises:
        UserError: not of that form.
    """
    key, equals, text = override.partition("=")
    parts = key.strip().split(".")
    if not equals or len(parts) < 2 or not all(parts):
        raise UserError(f"-o {override}: expected SECTION.KEY=VALUE, such as Global.epochs=5")
    value = parse_yaml(text, f"-o {override}")
    node = raw
    for part in parts[:-1]:
        child = node.get(part)
        if child is None:
            child = node[part] = {}
        if not isinstance(child, dict):
            raise UserError(f"-o {override}: {part} has no keys of its own")
        node = child
    node[parts[-1]] = value
