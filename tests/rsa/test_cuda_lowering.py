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
            if hasattr(module, 'counts_in_bytes'):
                patched.setattr(module, 'counts_in_bytes', lambda *_: False)  # as for a GPU
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
    """Counts of a byte are for a CPU's caches, tables are arguments, and nothing goes through the host."""
    for program in programs(**options):
        assert 'ui8' not in program.text
        assert not re.search(r'dense<(\[|")|dense_resource', program.text)
        assert 'custom_call' not in program.text


def test_counts_of_a_byte_are_for_cpus_alone():
    cpu, gpu = (types.SimpleNamespace(platform=platform) for platform in ('cpu', 'gpu'))
    assert counting.counts_in_bytes([cpu], 10**6, counting.GRID_SIZE)
    assert not counting.counts_in_bytes([gpu], 10**6, counting.GRID_SIZE)


def test_products_of_ranks_are_summed_in_float64():
    """Of 5,000 million pairs; all matrix products are float32, which a GPU computes at twice the rate or more."""
    sums = [re.findall(r'stablehlo\.reduce\(.*-> tensor<(\S+)>', program.text) for program in programs()]
    assert ['f64'] in sums


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
