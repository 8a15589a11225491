"""Files that PyTorch and safetensors themselves wrote, and networks that PyTorch computes."""

import io
import sys

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from humalign_jax import models

torch = pytest.importorskip('torch')

DTYPES = (
    *('float64', 'float32', 'float16', 'bfloat16', 'int64', 'int32', 'int16', 'int8', 'uint8', 'bool'),
    *('complex64', 'complex128', 'uint16', 'uint32', 'uint64', 'float8_e4m3fn', 'float8_e5m2'),
)


def save(path, value, is_zip, **kwargs):
    torch.save(value, path, _use_new_zipfile_serialization=is_zip, **kwargs)
    return models.read_state_dict(path)


def raw(tensor):
    return tensor.contiguous().view(torch.uint8).numpy() if tensor.ndim else tensor[None].view(torch.uint8).numpy()


@pytest.mark.parametrize('is_zip', [True, False])
@pytest.mark.parametrize('protocol', [2, 3, 4, 5])
def test_every_dtype_is_read_bit_by_bit(is_zip, protocol, tmp_path):
    generator = torch.Generator().manual_seed(0)
    state = {
        name: torch.randint(0, 2 if name == 'bool' else 100, (3, 5), generator=generator).to(getattr(torch, name))
        for name in DTYPES
    }
    found = save(tmp_path / 'file.pt', state, is_zip, pickle_protocol=protocol)
    assert list(found) == list(DTYPES)
    for name, tensor in state.items():
        assert found[name].dtype == np.dtype(getattr(ml_dtypes, name, name)) and found[name].shape == (3, 5)
        assert found[name].tobytes() == raw(tensor).tobytes()


@pytest.mark.parametrize('is_zip', [True, False])
def test_views_shared_storages_and_special_tensors_are_read(is_zip, tmp_path):
    base = torch.arange(24.0).reshape(2, 3, 4)
    state = {
        'base': base,
        'permuted': base.permute(2, 0, 1),
        'column': base[:, 1, 2],
        'strided': base[:, ::2, 1::2],
        'scalar': torch.tensor(2.5),
        'empty': torch.zeros(0, 3),
        'expanded': base[:1].expand(4, 3, 4),
        'parameter': torch.nn.Parameter(base[0].clone()),
        'channels last': torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
    }
    found = save(tmp_path / 'file.pt', state, is_zip)
    for name, tensor in state.items():
        np.testing.assert_array_equal(found[name], tensor.detach().numpy())
    assert np.shares_memory(found['base'], found['permuted'])


def test_older_files_are_little_endian_whatever_machine_they_name(tmp_path):
    """PyTorch reads them so, too: a file that says big-endian holds the same bytes."""
    buffer = io.BytesIO()
    torch.save({'w': torch.arange(4.0)}, buffer, _use_new_zipfile_serialization=False)
    content = buffer.getvalue().replace(b'little_endianq\x02\x88', b'little_endianq\x02\x89')
    assert content != buffer.getvalue()
    (tmp_path / 'file.pt').write_bytes(content)
    expected = torch.load(tmp_path / 'file.pt')['w'].numpy()
    np.testing.assert_array_equal(models.read_state_dict(tmp_path / 'file.pt')['w'], expected)


def test_zip_files_of_big_endian_machines_are_read_as_pytorch_reads_them(tmp_path, monkeypatch):
    swapped = {
        name: torch.arange(1, 7).to(getattr(torch, name)) for name in ('float32', 'bfloat16', 'complex64', 'int16')
    }
    with monkeypatch.context() as patch:
        patch.setattr(sys, 'byteorder', 'big')  # only the record in the file changes: its bytes read as swapped
        torch.save(swapped, tmp_path / 'file.pt')
    expected = torch.load(tmp_path / 'file.pt')
    for name, values in models.read_state_dict(tmp_path / 'file.pt').items():
        assert values.tobytes() == raw(expected[name]).tobytes() != raw(swapped[name]).tobytes()


@pytest.mark.parametrize('is_zip', [True, False])
def test_training_checkpoints_are_read(is_zip, tmp_path):
    net = torch.nn.Sequential(
        torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2), torch.nn.Flatten(), torch.nn.Linear(8, 3)
    )
    net(torch.randn(4, 1, 4, 4)).sum().backward()
    optimizer = torch.optim.Adam([{'params': net[0].parameters()}, {'params': net[3].parameters()}])
    optimizer.step()
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [1, 2])
    value = {
        'epoch': 3,
        'best': np.float64(0.5),
        'optimizer': optimizer.state_dict(),
        'scheduler': scheduler.state_dict(),
        'state_dict': torch.nn.DataParallel(net).state_dict(),
    }
    found = save(tmp_path / 'file.pt', value, is_zip)
    assert list(found) == list(net.state_dict())
    for name, tensor in net.state_dict().items():
        np.testing.assert_array_equal(found[name], tensor.numpy())


def test_whole_models_and_torchscript_are_refused_by_name(tmp_path):
    net = torch.nn.Sequential(torch.nn.Linear(2, 2))
    for is_zip in (True, False):
        torch.save(net, tmp_path / 'model.pt', _use_new_zipfile_serialization=is_zip)
        with pytest.raises(ValueError, match=r"asks for 'torch\.nn\.modules\.container\.Sequential', which is refused"):
            models.read_state_dict(tmp_path / 'model.pt')
    with pytest.warns(DeprecationWarning):
        torch.jit.script(net).save(str(tmp_path / 'script.pt'))
    with pytest.raises(ValueError, match='TorchScript'):
        models.read_state_dict(tmp_path / 'script.pt')


def test_the_digit_network_equals_the_courses(tmp_path):
    class Course(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.conv2 = torch.nn.Conv2d(1, 10, 5), torch.nn.Conv2d(10, 20, 5)
            self.fc1, self.fc2 = torch.nn.Linear(320, 50), torch.nn.Linear(50, 10)

        def forward(self, x):
            conv1 = self.conv1(x).relu()
            conv2 = self.conv2(torch.nn.functional.max_pool2d(conv1, 2)).relu()
            fc1 = self.fc1(torch.nn.functional.max_pool2d(conv2, 2).flatten(1)).relu()
            return {'conv1': conv1, 'conv2': conv2, 'fc1': fc1, 'logits': self.fc2(fc1)}

    torch.manual_seed(0)
    course, model = Course(), models.DigitNet()
    torch.save({'state_dict': course.state_dict(), 'test_acc': 10.0}, tmp_path / 'file.pt')
    template = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, 28, 28, 1))))
    variables = models.to_flax(models.read_state_dict(tmp_path / 'file.pt'), template, **model.from_torch)
    image = np.random.default_rng(0).normal(size=(5, 28, 28, 1)).astype(np.float32)
    with torch.no_grad():
        expected = course(torch.from_numpy(image.transpose(0, 3, 1, 2).copy()))
    found = models.capture(model, variables, image, list(expected))
    for name, values in expected.items():
        theirs = values.numpy().transpose(0, 2, 3, 1) if values.ndim == 4 else values.numpy()
        np.testing.assert_allclose(found[name], theirs, rtol=1e-5, atol=1e-5)


def test_safetensors_of_the_library_are_read(tmp_path):
    save_file = pytest.importorskip('safetensors.torch').save_file
    state = {name: torch.randint(0, 2, (3, 5)).to(getattr(torch, name)) for name in DTYPES if name != 'complex128'}
    save_file(state, tmp_path / 'file.safetensors', metadata={'format': 'pt'})
    found = models.read_state_dict(tmp_path / 'file.safetensors')
    assert set(found) == set(state)
    for name, tensor in state.items():
        assert found[name].dtype == np.dtype(getattr(ml_dtypes, name, name))
        assert found[name].tobytes() == raw(tensor).tobytes()
