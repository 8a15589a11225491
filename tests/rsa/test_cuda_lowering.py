"""Programs of a comparison of feature sets as they are lowered for an NVIDIA GPU, read on a machine without one.

A small comparison runs on the CPU with the choices that the host makes for a GPU. Every compiled program that it calls
is recorded with its arguments and lowered once more, for the platform 'cuda'.
"""

import dataclasses
import functools
import inspect
import math
import re
import sys
import types

import jax
import numpy as np
import pytest

from humalign_jax import rsa
from humalign_jax.rsa.large import stream
from humalign_jax.rsa.ranks import counting

N, D, BLOCK = 50, 80, 32  # up to 64 features, distances are computed in float64
TABLE_BYTES = 4 * (counting.GRID_SIZE + 1)  # ranks of all distances on the grid; docs/rsa.md, section on memory
SIZES = {'f64': 8, 'i64': 8, 'ui64': 8, 'f32': 4, 'i32': 4, 'ui32': 4, 'ui16': 2, 'ui8': 1, 'i1': 1}


@dataclasses.dataclass(frozen=True)
class Program:
    """One compiled function as it was called."""

    name: str
    text: str

    def products(self):
        """Precision and types of every matrix product: [(precisions, types of the factors and of the result)]."""
        pattern = r'dot_general .*precision = \[(.*?)\].*: \(tensor<(\S+)>, tensor<(\S+)>\) -> tensor<(\S+)>'
        return [(found[0], found[1:]) for found in re.findall(pattern, self.text)]

    def largest_bytes(self):
        """Size of the largest array in it."""
        sizes = [1]
        for shape in re.findall(r'tensor<([0-9x]*x)?(\w+)>', self.text):
            numbers = [int(size) for size in shape[0].split('x') if size]
            sizes.append(math.prod(numbers) * SIZES[shape[1]])
        return max(sizes)


@functools.cache
def programs(**options):
    """Programs of a comparison with these options, lowered for 'cuda'."""
    found: dict[tuple[str, str], Program] = {}

    def recording(name, run):
        program = inspect.getclosurevars(run).nonlocals['program']

        def call(*args, **kwargs):
            text = program.trace(*args, **kwargs).lower(lowering_platforms=('cuda',)).as_text()
            found[name, text] = Program(name, text)
            return run(*args, **kwargs)

        return call

    np_rng = np.random.default_rng(0)
    x = np_rng.normal(size=(N, D)).astype(np.float32)
    y = (x + np_rng.normal(size=(N, D))).astype(np.float32)
    with pytest.MonkeyPatch.context() as patched:
        modules = [module for name, module in sys.modules.items() if name.startswith('humalign_jax.rsa')]
        for module in modules:
            for name, value in list(vars(module).items()):
                if hasattr(value, '__wrapped__') and 'program' in value.__code__.co_freevars:
                    patched.setattr(module, name, recording(name, value))
            if hasattr(module, 'count_dtype'):
                patched.setattr(module, 'count_dtype', lambda *_: np.dtype(np.int32))  # as for a GPU
        patched.setattr(stream, '_SORTED_PAIRS', 0)
        rsa.compare_features(x, y, block_size=BLOCK, devices=jax.devices()[:1], **options)
    return list(found.values())


@pytest.mark.parametrize('options', [{}, {'mode': 'binned'}, {'index': 'pearson'}, {'measure_x': 'euclidean'}])
def test_products_of_a_gpu_are_float32_throughout(options):
    """Precision HIGHEST: tensor cores would round the factors to 10 bits."""
    products = [product for program in programs(**options) for product in program.products()]
    assert products
    for precision, numbers in products:
        assert precision == 'HIGHEST, HIGHEST'
        assert all(type_.endswith('f32') for type_ in numbers)


@pytest.mark.parametrize('options', [{}, {'mode': 'binned'}])
def test_no_table_or_count_of_the_cpu_is_in_a_program_of_a_gpu(options):
    """Counts of one or two bytes are for a CPU's caches, tables are arguments, and nothing goes through the host."""
    for program in programs(**options):
        assert 'ui8' not in program.text
        assert 'ui16' not in program.text or options  # numbers of bins
        assert not re.search(r'dense<(\[|")|dense_resource', program.text)
        assert 'custom_call' not in program.text


def test_small_counts_are_for_cpus_alone():
    cpu, gpu = (types.SimpleNamespace(platform=platform) for platform in ('cpu', 'gpu'))
    assert counting.count_dtype([cpu], 10**6, counting.GRID_SIZE).itemsize == 1
    assert counting.count_dtype([gpu], 10**6, counting.GRID_SIZE) == np.int32


def test_float64_is_in_the_sum_of_products_of_ranks_alone():
    """A GPU computes float64 at half the rate of float32 at best, but a sum of 5,000 million products needs it."""
    with_float64 = [program for program in programs() if 'f64' in program.text]
    assert len(with_float64) == 1
    assert re.findall(r'stablehlo\.reduce\(.*-> tensor<(\S+)>', with_float64[0].text) == ['f64']
    assert not with_float64[0].products()


def test_counting_adds_to_the_counts_in_place():
    counted = [program for program in programs() if 'stablehlo.scatter' in program.text]
    assert counted
    for program in counted:
        assert program.text.count('tf.aliasing_output') == 1


@pytest.mark.parametrize('options', [{}, {'mode': 'binned'}])
def test_no_array_is_larger_than_the_table_of_ranks(options):
    """So that memory beyond features and tiles is what docs/rsa.md says, whatever the number of pairs."""
    sizes = [program.largest_bytes() for program in programs(**options)]
    assert max(sizes) <= TABLE_BYTES + 4
    assert pytest.approx(101e6, rel=0.01) == TABLE_BYTES
