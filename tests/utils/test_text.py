"""Wording."""

import pytest

from ppcls_lite.utils.text import describe_bytes, escape, show


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 MiB"), (640 << 20, "640 MiB"), (1000 << 20, "1.0 GiB"), (3 << 41, "6.0 TiB")]
)
def test_bytes_in_words(size, text):
    assert describe_bytes(size) == text


def test_one_line_whatever_a_file_is_called():
    assert escape("a\nb\x1b[31m\u2028日本\udcff") == "a\\nb\\x1b[31m\\u2028日本\\udcff"


def test_values_are_shown_in_short_whatever_they_are():
    assert show([1, "a"]) == "[1, 'a']"
    assert show("x" * 1000) == "'" + "x" * 96 + "..."
    assert show(16**5000 - 1) == "0x" + "f" * 95 + "..."
    assert show([16**5000]) == "a list of numbers too long to write"
