"""Packaging of humalign_jax; tool settings are in pyproject.toml."""

import pathlib
import re
import shutil

import setuptools
from setuptools.command.build_py import build_py

HERE = pathlib.Path(__file__).parent
VERSION = re.search(r"__version__ = '(.+)'", (HERE / 'humalign_jax' / '__init__.py').read_text()).group(1)

REPORT = ['Jinja2>=3.1', 'matplotlib', 'Pillow']  # Jinja2 escapes every name by itself
TRAIN = [
    *REPORT,
    'clu>=0.0.12',
    'flax>=0.12',
    'optax>=0.2.8',
    'orbax-checkpoint>=0.12',
    'scikit-learn',  # t-SNE maps, ICA, k-means
    'tensorboard>=2.18',  # its event writer needs no TensorFlow
]


class BuildWithConfigs(build_py):
    """Copies configs/ into the wheel, as humalign_jax/configs; an editable installation reads them where they are."""

    def run(self) -> None:
        """Builds, then copies."""
        super().run()
        if not self.editable_mode:
            inside = pathlib.Path(self.build_lib) / 'humalign_jax' / 'configs'
            ignored = shutil.ignore_patterns('__pycache__')
            shutil.copytree(HERE / 'configs', inside, ignore=ignored, dirs_exist_ok=True)


setuptools.setup(
    name='humalign_jax',
    version=VERSION,
    description="How human-like are a network's representations? Training, large-N RSA and human alignment in JAX.",
    long_description=(HERE / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    python_requires='>=3.11',
    classifiers=[
        'Intended Audience :: Science/Research',
        'Programming Language :: Python :: 3',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
        'Typing :: Typed',
    ],
    package_data={
        'humalign_jax': ['py.typed'],
        'humalign_jax.data': ['downloads.json'],
        'humalign_jax.human': ['templates/*'],
        'humalign_jax.report': ['templates/*.j2'],
    },
    packages=setuptools.find_packages(include=['humalign_jax', 'humalign_jax.*']),
    cmdclass={'build_py': BuildWithConfigs},
    entry_points={
        'console_scripts': ['humalign=humalign_jax.cli.command:main', 'humalign-sweep=humalign_jax.cli.sweep:main']
    },
    install_requires=[  # what RSA needs
        'absl-py',
        'h5py',  # feature and RDM files of other toolboxes
        'jax>=0.10',
        'ml-collections>=1.1',
        'numpy>=2.0',
        'psutil',  # how much memory the machine has left
        'scipy>=1.14',
        'tqdm',
    ],
    extras_require={
        'report': REPORT,
        'train': TRAIN,
        'all': TRAIN,
        'wandb': ['wandb>=0.20'],  # config.train.logger='wandb'
        'cuda12': ['jax[cuda12]>=0.10'],
        'cuda13': ['jax[cuda13]>=0.10'],
        # importlib_resources: used by tensorflow-datasets but not declared by it.
        'tfds': ['tensorflow-datasets>=4.9.10', 'importlib_resources', "tensorflow-cpu; python_version < '3.14'"],
        # Checkers are pinned: a new release of one must not turn an old commit red.
        'test': [
            *TRAIN,
            'hypothesis',
            'importlib_resources',
            'pyright[nodejs]==1.1.414',
            'pytest>=8',
            'pytest-xdist',
            'ruff==0.17.6',
            'scikit-image',  # its SSIM is the reference
            'scikit-learn>=1.8',  # ClassicalMDS is a reference
            'tensorflow-datasets>=4.9.10',  # prepared copies are read without TensorFlow
        ],
        'docs': ['mkdocs>=1.6,<2', 'mkdocs-material>=9.7', 'mkdocstrings[python]>=1.0'],
        'bench': ['himalaya==0.4.11', 'rsatoolbox==0.3.2', 'scikit-learn', 'torch==2.13.0'],
    },
)
