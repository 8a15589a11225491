"""PhilNet, the VAE, the ResNets and Deconv once more in plain PyTorch: the independent reference for tests and timings.

Modules carry the names of their Flax twins, so `load_flax` can copy weights by name. Vectors made from maps are
flattened in h, w, c order, as in the Flax models; that is the only liberty taken.
"""

import itertools
from collections.abc import Mapping, Sequence

import flax.traverse_util
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

# The order in which torch takes the axes of a Flax kernel.
_CONV, _CONV_TRANSPOSE, _DENSE = (3, 2, 0, 1), (2, 3, 0, 1), (1, 0)


class TorchPhilNet(nn.Module):
    def __init__(
        self,
        widths: Sequence[Sequence[int]] = ((32, 64), (128, 256), (256, 512)),
        n_classes: int = 10,
        dropout_rate: float = 0.4,
        head: str = 'gap',
        image_shape: tuple[int, int, int] = (32, 32, 3),
    ) -> None:
        super().__init__()
        self.widths, self.head = widths, head
        h, w, c = image_shape
        for i, block in enumerate(widths, start=1):
            for j, width in enumerate(block, start=1):
                self.add_module(f'block{i}_conv{j}', nn.Conv2d(c, width, 3, padding=1, bias=False))
                self.add_module(f'block{i}_norm{j}', nn.BatchNorm2d(width))
                c = width
            h, w = h // 2, w // 2
        n_features = c
        if head != 'gap':
            n_in, n_features = (h * w * c, 512) if head == 'flatten' else (c, 256)
            self.hidden = nn.Linear(n_in, n_features)
        self.dropout = nn.Dropout(dropout_rate)
        self.classifier = nn.Linear(n_features, n_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for i, block in enumerate(self.widths, start=1):
            for j in range(1, len(block) + 1):
                x = self.get_submodule(f'block{i}_conv{j}')(x)
                x = F.relu(self.get_submodule(f'block{i}_norm{j}')(x))
            x = F.max_pool2d(x, 2)
        x = x.permute(0, 2, 3, 1).flatten(1) if self.head == 'flatten' else x.mean(dim=(2, 3))
        if self.head != 'gap':
            x = F.relu(self.hidden(x))
        return self.classifier(self.dropout(x))


class TorchVAE(nn.Module):
    def __init__(
        self,
        image_shape: tuple[int, int, int] = (32, 32, 3),
        widths: Sequence[int] = (32, 64, 128, 256),
        latent_dim: int = 256,
    ) -> None:
        super().__init__()
        h, w, c = image_shape
        self.n_scales = len(widths)
        self.map_shape = (h // 2**self.n_scales, w // 2**self.n_scales, widths[-1])
        n_features = int(np.prod(self.map_shape))
        for i, (before, after) in enumerate(zip((c, *widths[:-1]), widths)):
            self.add_module(f'encoder_conv_{i}', nn.Conv2d(before, after, 4, stride=2, padding=1, bias=False))
            self.add_module(f'encoder_norm_{i}', nn.BatchNorm2d(after))
        self.mean_head = nn.Linear(n_features, latent_dim)
        self.logvar_head = nn.Linear(n_features, latent_dim)
        self.projection = nn.Linear(latent_dim, n_features)
        down = widths[::-1]
        for i, (before, after) in enumerate(itertools.pairwise(down)):
            self.add_module(f'decoder_conv_{i}', nn.ConvTranspose2d(before, after, 4, stride=2, padding=1, bias=False))
            self.add_module(f'decoder_norm_{i}', nn.BatchNorm2d(after))
        self.output_conv = nn.ConvTranspose2d(widths[0], c, 4, stride=2, padding=1)

    def forward(
        self, x: torch.Tensor, eps: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        for i in range(self.n_scales):
            x = self.get_submodule(f'encoder_norm_{i}')(self.get_submodule(f'encoder_conv_{i}')(x))
            x = F.leaky_relu(x, 0.2)
        x = x.permute(0, 2, 3, 1).flatten(1)
        mean, logvar = self.mean_head(x), self.logvar_head(x)
        z = mean
        if self.training:
            z = mean + torch.exp(0.5 * logvar) * (torch.randn_like(mean) if eps is None else eps)
        x = self.projection(z).view(-1, *self.map_shape).permute(0, 3, 1, 2)
        for i in range(self.n_scales - 1):
            x = self.get_submodule(f'decoder_norm_{i}')(self.get_submodule(f'decoder_conv_{i}')(x))
            x = F.leaky_relu(x, 0.2)
        return torch.sigmoid(self.output_conv(x)), mean, logvar


class _TorchBlock(nn.Module):
    def __init__(self, n_in: int, width: int, stride: int, bottleneck: bool) -> None:
        super().__init__()
        out = width * 4 if bottleneck else width
        if bottleneck:
            layers = [(n_in, width, 1, 1), (width, width, 3, stride), (width, out, 1, 1)]
        else:
            layers = [(n_in, width, 3, stride), (width, out, 3, 1)]
        self.n_layers = len(layers)
        for i, (before, after, size, step) in enumerate(layers, start=1):
            self.add_module(f'conv{i}', nn.Conv2d(before, after, size, step, size // 2, bias=False))
            self.add_module(f'norm{i}', nn.BatchNorm2d(after))
        self.has_projection = stride != 1 or n_in != out
        if self.has_projection:
            self.conv_shortcut = nn.Conv2d(n_in, out, 1, stride, bias=False)
            self.norm_shortcut = nn.BatchNorm2d(out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x
        for i in range(1, self.n_layers + 1):
            y = self.get_submodule(f'norm{i}')(self.get_submodule(f'conv{i}')(y))
            if i < self.n_layers:
                y = F.relu(y)
        if self.has_projection:
            x = self.norm_shortcut(self.conv_shortcut(x))
        return F.relu(x + y)


class TorchResNet(nn.Module):
    def __init__(
        self,
        stage_sizes: Sequence[int] = (2, 2, 2, 2),
        bottleneck: bool = False,
        keep_maxpool: bool = True,
        n_classes: int = 10,
    ) -> None:
        super().__init__()
        self.keep_maxpool = keep_maxpool
        self.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(64)
        n_in = 64
        self.block_names = []
        for i, (width, n_blocks) in enumerate(zip((64, 128, 256, 512), stage_sizes), start=1):
            for j in range(n_blocks):
                self.block_names.append(f'layer{i}_block{j}')
                block = _TorchBlock(n_in, width, 2 if i > 1 and j == 0 else 1, bottleneck)
                self.add_module(self.block_names[-1], block)
                n_in = width * (4 if bottleneck else 1)
        self.classifier = nn.Linear(n_in, n_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.norm1(self.conv1(x)))
        if self.keep_maxpool:
            x = F.max_pool2d(x, 3, 2, 1)
        for name in self.block_names:
            x = self.get_submodule(name)(x)
        return self.classifier(x.mean(dim=(2, 3)))


class TorchDeconv(nn.Module):
    """The published network: its module names and its NCHW flattening, so its state_dict is that of a checkpoint."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 6, 5), nn.Conv2d(6, 16, 5)
        self.deconv1, self.deconv2 = nn.ConvTranspose2d(6, 3, 5), nn.ConvTranspose2d(16, 6, 5)
        self.fc1, self.fc2, self.fc3 = nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, 10)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        z1, where1 = F.max_pool2d(F.relu(self.conv1(x)), 2, return_indices=True)
        z2, where2 = F.max_pool2d(F.relu(self.conv2(z1)), 2, return_indices=True)
        logits = self.fc3(F.relu(self.fc2(F.relu(self.fc1(z2.flatten(1))))))
        x = self.deconv2(F.relu(F.max_unpool2d(z2, where2, 2)))
        return logits, self.deconv1(F.relu(F.max_unpool2d(x, where1, 2)))


def load_flax(module: nn.Module, variables: Mapping) -> None:
    """Copies Flax `params` and `batch_stats` into the twin of the same names; every weight must find its place."""
    state = {}
    for collection in ('params', 'batch_stats'):
        for path, leaf in flax.traverse_util.flatten_dict(variables[collection]).items():
            name, axes = _torch_name(module, path, np.ndim(leaf))
            state[name] = torch.from_numpy(np.array(np.transpose(leaf, axes)))
    missing, _ = module.load_state_dict(state, strict=False)
    missing = [name for name in missing if not name.endswith('num_batches_tracked')]
    if missing:
        raise ValueError(f'these torch weights have no Flax twin: {missing}')


def in_flax_layout(module: nn.Module, like: Mapping, *, gradients: bool = False) -> dict:
    """Torch parameters and statistics, or gradients of the parameters, as a tree of NumPy arrays shaped as `like`."""
    tensors = dict(module.named_parameters()) if gradients else module.state_dict()
    tree = {}
    for path, leaf in flax.traverse_util.flatten_dict(like).items():
        name, axes = _torch_name(module, path, np.ndim(leaf))
        tensor = tensors[name].grad if gradients else tensors[name]
        tree[path] = tensor.detach().numpy().transpose(np.argsort(axes))
    return flax.traverse_util.unflatten_dict(tree)


def _torch_name(module: nn.Module, path: tuple[str, ...], n_axes: int) -> tuple[str, tuple[int, ...]]:
    """Name in the torch state of a Flax leaf, and the order in which its axes are taken."""
    *parents, leaf = path
    owner = module.get_submodule('.'.join(parents))
    name = {'kernel': 'weight', 'scale': 'weight', 'mean': 'running_mean', 'var': 'running_var'}.get(leaf, leaf)
    if n_axes == 4:
        axes = _CONV_TRANSPOSE if isinstance(owner, nn.ConvTranspose2d) else _CONV
    else:
        axes = _DENSE if n_axes == 2 else (0,)
    return '.'.join([*parents, name]), axes
