"""The command `humalign-sweep`, from a checkout: see humalign_jax/cli/sweep.py."""

from humalign_jax.cli.sweep import main

if __name__ == '__main__':
    main()
