"""`python -m humalign_jax` is the command `humalign`."""

from humalign_jax.cli import command

if __name__ == '__main__':
    command.main()
