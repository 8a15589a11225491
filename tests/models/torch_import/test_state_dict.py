"""What checkpoints may hold: every form is read to the numbers that were written."""

import struct

import jax
import ml_dtypes
import numpy as np
import pytest

from humalign_jax.models import read_state_dict

from . import writers
from .writers import about, call, code, legacy_file, named, ordered, safetensors_file, storage, tensor, zip_file

MATRIX = np.arange(6, dtype=np.float32).reshape(2, 3)


def read(tmp_path, content, **kwargs):
    path = tmp_path / 'file'
    path.write_bytes(content)
    return read_state_dict(path, **kwargs)


def assert_reads(tmp_path, content, **expected):
    found = read(tmp_path, content)
    assert list(found) == list(expected)
    for name, values in expected.items():
        values = np.asarray(values)
        assert found[name].dtype == values.dtype and found[name].shape == values.shape
        assert not found[name].flags.writeable and found[name].dtype.isnative
        np.testing.assert_array_equal(found[name], values)


@pytest.mark.parametrize('write', [zip_file, legacy_file])
def test_both_formats_are_read(write, tmp_path):
    assert_reads(tmp_path, write(ordered(('w', tensor()))), w=MATRIX)


@pytest.mark.parametrize('write', [zip_file, legacy_file])
@pytest.mark.parametrize(
    ('shape', 'stride', 'offset', 'expected'),
    [
        ((3, 2), (1, 3), 0, MATRIX.T),
        ((2,), (3,), 1, MATRIX[:, 1]),
        ((2, 2), (3, 2), 0, MATRIX[:, ::2]),
        ((3,), (1,), 3, MATRIX[1]),
        ((), (), 5, MATRIX[1, 2]),
        ((4, 3), (0, 1), 0, np.stack([MATRIX[0]] * 4)),
        ((0, 3), (3, 1), 6, np.zeros((0, 3), np.float32)),
        ((1, 3), (1 << 40, 1), 0, MATRIX[:1]),
    ],
)
def test_views_keep_their_strides_and_offsets(write, shape, stride, offset, expected, tmp_path):
    assert_reads(tmp_path, write({'w': tensor(shape=shape, stride=stride, offset=offset)}), w=expected)


@pytest.mark.parametrize('write', [zip_file, legacy_file])
def test_tensors_that_share_a_storage_share_memory(write, tmp_path):
    found = read(tmp_path, write({'a': tensor(), 'b': tensor(), 'row': tensor(shape=(3,), offset=3)}))
    assert np.shares_memory(found['a'], found['b']) and np.shares_memory(found['a'], found['row'])


TYPES = {
    'Double': np.float64,
    'Half': np.float16,
    'BFloat16': ml_dtypes.bfloat16,
    'Long': np.int64,
    'Int': np.int32,
    'Short': np.int16,
    'Char': np.int8,
    'Byte': np.uint8,
    'Bool': np.bool_,
    'ComplexFloat': np.complex64,
    'ComplexDouble': np.complex128,
}


def typed(dtype):
    values = np.array([0, 1, 1, 0, 1, 0]) if dtype is np.bool_ else np.array([1, -2, 3, -100, 5, 6])
    return (values * 1.5j if np.dtype(dtype).kind == 'c' else values).astype(dtype)


@pytest.mark.parametrize('kind', TYPES)
def test_every_type_is_kept_in_every_byte_order(kind, tmp_path):
    values = typed(TYPES[kind])
    value = {'w': tensor(shape=(6,), kind=kind)}
    parts = values.view(np.float32 if kind == 'ComplexFloat' else np.float64) if values.dtype.kind == 'c' else values
    swapped = parts.view(f'u{parts.itemsize}').byteswap().tobytes()
    assert_reads(tmp_path, zip_file(value, {'0': values.tobytes()}), w=values)
    assert_reads(tmp_path, zip_file(value, {'0': values.tobytes()}, extra={'archive/byteorder': b'little'}), w=values)
    assert_reads(tmp_path, zip_file(value, {'0': swapped}, extra={'archive/byteorder': b'big'}), w=values)
    # The older format is little-endian on every machine, whatever the third pickle says.
    for little_endian in (True, False):
        content = legacy_file(value, [('0', 6, values.tobytes())], little_endian=little_endian)
        assert_reads(tmp_path, content, w=values)


@pytest.mark.parametrize('name', ['uint16', 'uint32', 'uint64', 'float8_e4m3fn', 'float8_e5m2'])
def test_new_types_are_those_of_the_tensor(name, tmp_path):
    values = np.array([1, 2, 3]).astype(getattr(ml_dtypes, name) if 'float8' in name else name)
    block = storage('0', values.nbytes, 'Untyped', 'torch.storage')
    made = call(
        named('torch._utils', '_rebuild_tensor_v3'), block, 0, (3,), (1,), False, ordered(), named('torch', name)
    )
    assert_reads(tmp_path, zip_file({'w': made}, {'0': values.tobytes()}), w=values)


def test_parameters_of_all_kinds_are_their_tensors(tmp_path):
    plain = call(named('torch._utils', '_rebuild_tensor'), storage(), 0, (2, 3), (3, 1))
    parameter = call(named('torch._utils', '_rebuild_parameter'), tensor(), True, ordered())
    kind, rebuild = named('torch.nn.parameter', 'Parameter'), named('torch._utils', '_rebuild_tensor_v2')
    arguments = (storage(), 0, (2, 3), (3, 1), False, ordered())
    typed = call(named('torch._tensor', '_rebuild_from_type_v2'), rebuild, kind, arguments, {'note': 1})
    assert_reads(tmp_path, zip_file({'a': plain, 'b': parameter, 'c': typed}), a=MATRIX, b=MATRIX, c=MATRIX)


def test_parts_of_storages_in_older_files_begin_where_they_say(tmp_path):
    part = storage('0', 6, 'Float', 'torch', ('view', 2, 4))
    made = tensor(shape=(3,), offset=1, block=part)
    assert_reads(tmp_path, legacy_file({'w': made}), w=np.array([3, 4, 5], np.float32))


def test_files_of_python_2_are_read(tmp_path):
    block = writers.Code(code((b'storage', named('torch', 'FloatStorage'), b'0', b'cpu', 6, None)) + b'Q')
    pairs = [[b'w', tensor(block=block)], [b'v', tensor(block=block, shape=(1,))]]
    value = call(named('collections', 'OrderedDict'), pairs)
    assert_reads(tmp_path, legacy_file(value, keys=[b'0']), w=MATRIX, v=MATRIX[0, :1])


def test_large_archives_have_their_directory_in_64_bits(tmp_path):
    assert_reads(tmp_path, writers.as_zip64(zip_file({'w': tensor()})), w=MATRIX)


@pytest.mark.parametrize('wrapper', ['state_dict', 'model_state_dict', 'model', 'net', 'weights'])
def test_the_network_is_found_beside_epochs_optimisers_and_arguments(wrapper, tmp_path):
    namespace = writers.Code(named('argparse', 'Namespace') + b')\x81' + code({'lr': 0.1}) + b'b')
    betas = code('betas')  # a tuple that two groups share
    groups = writers.Code(b'](}' + betas + code((0.9, 0.999)) + b'q\x63s}' + betas + b'h\x63se')
    value = {
        'epoch': 3,
        'args': namespace,
        'best': call(named('torch', 'device'), 'cpu'),
        'size': call(named('torch', 'Size'), (1, 2)),
        'dtype': named('torch', 'float32'),
        'optimizer': {'state': {0: {'exp_avg': tensor(shape=(1,))}}, 'param_groups': groups},
        'loss': tensor(shape=(), stride=()),
        wrapper: {'state_dict': ordered(('module.w', tensor()), ('module.n', 3))},
    }
    assert_reads(tmp_path, zip_file(value), w=MATRIX)


def test_attributes_of_a_state_dict_change_nothing(tmp_path):
    value = writers.Code(ordered(('w', tensor())) + code({'_metadata': ordered(('', {'version': 1}))}) + b'b')
    assert_reads(tmp_path, zip_file(value), w=MATRIX)


def test_only_prefixes_that_all_names_share_are_taken_off(tmp_path):
    assert list(read(tmp_path, zip_file({'module._orig_mod.a': tensor(), 'module._orig_mod.b': tensor()}))) == [
        'a',
        'b',
    ]
    assert list(read(tmp_path, zip_file({'module.a': tensor(), 'b': tensor()}))) == ['module.a', 'b']


def test_of_several_networks_one_is_named(tmp_path):
    content = zip_file({'G': {'g': tensor()}, 'D': {'d': tensor()}, 'model': {'x': 1}})
    with pytest.raises(ValueError, match="tensors lie within its entries 'G', 'D': name the entry"):
        read(tmp_path, content)
    assert list(read(tmp_path, content, key='D')) == ['d']
    with pytest.raises(ValueError, match=r"no entry 'g' in it\. Known: G, D, model"):
        read(tmp_path, content, key='g')


def test_containers_that_hold_each_other_beside_the_weights_cost_nothing(tmp_path):
    lists = b''.join(b'](h%ch%ceq%c0' % (k, k, k + 1) for k in range(200))
    loop = b'}q\xff\x8c\x01ah\xffs'  # a dict in itself
    content = b'\x80\x02]q\x000' + lists + b'}(' + code('list') + b'h\xc8' + code('loop') + loop
    assert_reads(tmp_path, zip_file(content + code('w') + tensor() + b'u.'), w=MATRIX)


SAFE = {
    'F32': np.float32,
    'F64': np.float64,
    'F16': np.float16,
    'BF16': ml_dtypes.bfloat16,
    'F8_E4M3': ml_dtypes.float8_e4m3fn,
    'F8_E5M2': ml_dtypes.float8_e5m2,
    'I64': np.int64,
    'I32': np.int32,
    'I16': np.int16,
    'I8': np.int8,
    'U64': np.uint64,
    'U32': np.uint32,
    'U16': np.uint16,
    'U8': np.uint8,
    'BOOL': np.bool_,
    'C64': np.complex64,
}


def test_safetensors_of_every_type_are_read_in_any_order(tmp_path):
    expected, header, values = {}, {'__metadata__': {'format': 'pt'}}, b''
    for name, dtype in SAFE.items():
        array = np.array([[1, 0, 1], [0, 1, 1]]).astype(dtype)
        header[f'model.{name}'] = about(name, [2, 3], len(values), len(values) + array.nbytes)
        values += array.tobytes()
        expected[name] = array
    header['model.empty'] = about('F32', [0, 4], len(values), len(values))
    header['model.scalar'] = about('F32', [], len(values), len(values) + 4)
    values += struct.pack('<f', 2.5)
    expected.update(empty=np.zeros((0, 4), np.float32), scalar=np.float32(2.5))
    header = dict(reversed(header.items()))
    assert_reads(tmp_path, safetensors_file(header, values), **dict(reversed(expected.items())))


def test_a_header_may_end_in_blanks(tmp_path):
    raw = b'{"w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}    '
    assert_reads(tmp_path, safetensors_file(raw, writers.floats()), w=MATRIX)


@pytest.mark.data
def test_the_course_checkpoint_equals_the_arrays_beside_it(real_data):
    found = read_state_dict(real_data / 'mnist' / 'convnet_mnist_pretrained.pt')
    with np.load(real_data / 'mnist' / 'convnet_mnist_pretrained.npz', allow_pickle=False) as file:
        assert set(found) == set(file.files)
        for name in file.files:
            np.testing.assert_array_equal(found[name], file[name])
            assert found[name].dtype == np.float32


@pytest.mark.data
@pytest.mark.parametrize(
    ('name', 'n_parameters', 'accuracy'), [('resnet20-12fca82f', 269_722, 91.96), ('resnet56-4bfd9763', 853_018, 93.62)]
)
def test_legacy_resnets_classify_the_original_images_as_well_as_published(name, n_parameters, accuracy, real_data):
    state = read_state_dict(real_data / 'cifar10_resnets' / f'{name}.th')
    counted = [array.size for key, array in state.items() if not key.endswith(('mean', 'var', 'num_batches_tracked'))]
    assert sum(counted) == n_parameters
    with np.load(real_data / 'cifar10' / 'lossless_sample.npz', allow_pickle=False) as file:
        index, pixels = file['test_index'], file['test_pixels']
    with np.load(real_data / 'cifar10' / 'test_jpeg.npz', allow_pickle=False) as file:
        labels = file['labels'][index]
    mean, std = np.array([[[0.485]], [[0.456]], [[0.406]]]), np.array([[[0.229]], [[0.224]], [[0.225]]])
    image = ((pixels.reshape(-1, 3, 32, 32) / 255 - mean) / std).astype(np.float32)
    right = _resnet(state, image).argmax(axis=1) == labels
    assert round(100 * right.mean(), 2) == accuracy


def _resnet(state, x):
    """He et al.'s CIFAR ResNet with option-A shortcuts, PyTorch's layout throughout: [b, c, h, w] -> [b, 10]."""
    conv = jax.jit(
        lambda x, kernel, stride: jax.lax.conv_general_dilated(x, kernel, (stride, stride), ((1, 1), (1, 1))),
        static_argnums=2,
    )

    def normalised(x, kernel, stride, norm):
        y = np.asarray(conv(x, state[f'{kernel}.weight'], stride))
        mean, var, scale, bias = (
            state[f'{norm}.{part}'][:, None, None] for part in ('running_mean', 'running_var', 'weight', 'bias')
        )
        return (y - mean) / np.sqrt(var + 1e-5) * scale + bias

    x = np.maximum(normalised(x, 'conv1', 1, 'bn1'), 0)
    for stage in (1, 2, 3):
        block = 0
        while f'layer{stage}.{block}.conv1.weight' in state:
            at = f'layer{stage}.{block}'
            stride = 2 if stage > 1 and block == 0 else 1
            y = np.maximum(normalised(x, f'{at}.conv1', stride, f'{at}.bn1'), 0)
            y = normalised(y, f'{at}.conv2', 1, f'{at}.bn2')
            if stride == 2:
                quarter = x.shape[1] // 2
                x = np.pad(x[:, :, ::2, ::2], ((0, 0), (quarter, quarter), (0, 0), (0, 0)))
            x = np.maximum(x + y, 0)
            block += 1
    return x.mean(axis=(2, 3)) @ state['linear.weight'].T + state['linear.bias']
