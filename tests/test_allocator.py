"""The allocator's settings."""

import platform
import subprocess
import sys

import pytest

CODE = """
import resource
from humalign_jax import allocator
import numpy as np
assert allocator.keep_freed_memory()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(10_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(faults(), faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='only glibc has these settings')
def test_a_freed_buffer_is_used_again_without_page_faults():
    result = subprocess.run([sys.executable, '-c', CODE], capture_output=True, text=True, check=True)
    first, second = map(int, result.stdout.split())
    assert first > 20 and second < 10  # 80 MB are 19,531 pages of 4 kB, or 38 of 2 MB
