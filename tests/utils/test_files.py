"""Files written whole or not at all."""

import pytest

from ppcls_lite.utils.files import replacing


def test_what_else_lies_in_the_folder_does_not_matter(tmp_path):
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    with replacing(tmp_path / "file") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "file").read_text() == "new"


def test_a_block_that_fails_leaves_what_was(tmp_path):
    (tmp_path / "file").write_text("old")
    with pytest.raises(ValueError), replacing(tmp_path / "file") as temporary:
        temporary.write_text("half")
        raise ValueError
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("file", "old")]
