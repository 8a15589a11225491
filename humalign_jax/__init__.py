"""humalign_jax: how human-like are a network's representations?"""

__version__ = '0.1.0'
