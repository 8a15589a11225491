"""Reading a file from elsewhere: regular ones only, and never more than expected."""

import os

import pytest

from humalign_jax.data import files


def test_a_file_that_is_not_regular_or_too_long_is_refused(tmp_path):
    os.mkfifo(tmp_path / 'pipe')  # reading it would wait for ever
    for path in (tmp_path / 'pipe', tmp_path, tmp_path / 'absent'):
        with pytest.raises(ValueError, match='is not a regular file'):
            files.read_file(path, max_bytes=10)
    (tmp_path / 'long').write_bytes(bytes(11))
    with pytest.raises(ValueError, match='long holds more than the expected 10 bytes'):
        files.read_file(tmp_path / 'long', max_bytes=10)
