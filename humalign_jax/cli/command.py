r"""The command `humalign`: runs configs by name, and RSA of the user's own files.

    humalign rsa net.h5 --reference 'subjects/*.csv' --out figures
    humalign list
    humalign show vae:tiny
    humalign run vae:tiny --workdir=runs/vae --config.train.epochs=2
    humalign doctor vae --config.data.root=DIR
    humalign fetch mnist --root=DIR

`humalign run CONFIG` is `python -m humalign_jax.main --config=CONFIG`, with the same exit status. The other commands
end with 0, with 2 and one message after a mistake, or with 130 after Ctrl-C.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from humalign_jax import __version__, interrupts, mistakes


def main(argv: Sequence[str] | None = None) -> None:
    """Carries out a command line; default that of the process."""
    interrupts.end_at_once()  # before the other imports, in whose first second Ctrl-C may come
    arguments, rest = _parser().parse_known_args(argv)
    passed_on = {'run': '--', 'show': '--config.', 'doctor': '--config.'}.get(arguments.command)
    wrong = [text for text in rest if passed_on is None or not text.startswith(passed_on)]
    if wrong:
        _fail(f'what is {wrong[0]!r}? See humalign {arguments.command} --help.')
    try:
        _do(arguments, rest)
    except KeyboardInterrupt:
        print('\nInterrupted.', file=sys.stderr)
        raise SystemExit(interrupts.EXIT_INTERRUPTED) from None
    except BrokenPipeError:  # as of `humalign list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:
        if (message := mistakes.message_of(error)) is None:
            raise
        _fail(message)


def _do(arguments: argparse.Namespace, settings: Sequence[str]) -> None:
    if arguments.command == 'run':
        from humalign_jax import main as module
        from humalign_jax.cli import configs

        flags = [f'--config={configs.file_of(arguments.config)}', *settings]
        flags += [f'--workdir={arguments.workdir}'] if arguments.workdir else []
        sys.argv[1:] = [*flags, *(['--verbose'] if arguments.verbose else [])]
        module.start()
    elif arguments.command == 'rsa':
        from humalign_jax.cli import own_files

        own_files.compare(arguments)
    elif arguments.command == 'doctor':
        from humalign_jax.cli import doctor

        raise SystemExit(doctor.examine(arguments.config, arguments.workdir, settings))
    elif arguments.command == 'fetch':
        from humalign_jax.cli import fetching

        if arguments.names:
            fetching.get(arguments.names, root=arguments.root, accepted=arguments.accept_licence)
        else:
            print(fetching.listed())
    else:
        from humalign_jax.cli import configs

        print(configs.listed() if arguments.command == 'list' else configs.shown(arguments.config, settings))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        'humalign', description="How human-like are a network's representations?", allow_abbrev=False
    )
    parser.add_argument('--version', action='version', version=f'humalign_jax {__version__}')
    commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')

    run = commands.add_parser('run', help='run a config in its folder; go on where it stopped', allow_abbrev=False)
    run.add_argument('config', help='name or file of a config, with ":tiny" for a small one; see humalign list')
    run.add_argument('--workdir', help='folder of the run; default: runs/<config name>')
    run.add_argument('-v', '--verbose', action='store_true', help='log lines with time and place')
    run.epilog = 'Settings are written as --config.section.key=value.'

    rsa = commands.add_parser(
        'rsa',
        help='compare features or RDMs in files with the RDMs of people or brains',
        description='Scores of models with a reference: 95 %% intervals, noise ceiling, tests.',
        epilog="Files: .npy, .npz, .h5, .mat, .csv; rsatoolbox's .h5. FILE.h5:ARRAY takes one array, otherwise all are "
        'taken. Patterns such as subjects/*.csv may be quoted.',
        allow_abbrev=False,
    )
    rsa.add_argument('features', nargs='+', metavar='FEATURES', help='features [n, ...] or model RDMs')
    rsa.add_argument(
        '--reference',
        nargs='+',
        required=True,
        metavar='FILE',
        help='RDMs: [p] or [n, n]; of k subjects [k, p] or [k, n, n]',
    )
    rsa.add_argument('--measure', default='correlation', help='distance between features (default: %(default)s)')
    rsa.add_argument('--index', default='spearman', help='similarity of RDMs (default: %(default)s)')
    rsa.add_argument(
        '--over',
        choices=('stimuli', 'subjects', 'both', 'none'),
        help='what would be new in another study; none: scores alone (default: both, of one subject stimuli)',
    )
    rsa.add_argument('--kind', default='auto', choices=('auto', 'features', 'rdm'), help='what FEATURES are')
    rsa.add_argument(
        '--reference-kind', default='rdm', choices=('rdm', 'features'), help='what the reference is (default: rdm)'
    )
    rsa.add_argument('--reference-measure', default='correlation', help='distance between features of the reference')
    rsa.add_argument(
        '--join',
        default='auto',
        choices=('auto', 'exact', 'shared', 'position'),
        help='stimuli: exact, the same ids everywhere; shared, those that all have; position, row k of all is the same '
        'stimulus (default: position where no file has ids, else exact)',
    )
    rsa.add_argument('--ids', metavar='FILE', help='text file with the ids of the rows of FEATURES, one a line')
    rsa.add_argument('--reference-ids', metavar='FILE', help='the same of the reference (default: --ids)')
    rsa.add_argument('--permutations', type=int, default=1000, help='of the test against zero (default: %(default)s)')
    rsa.add_argument('--seed', type=int, default=0, help='of permutations (default: %(default)s)')
    rsa.add_argument('--out', metavar='FOLDER', help='write scores.csv, scores.jsonl, result.npz and figures there')

    doctor = commands.add_parser('doctor', help='check whether a run can start here', allow_abbrev=False)
    doctor.add_argument('config', nargs='?', default='', help='name or file of a config; default: the machine alone')
    doctor.add_argument('--workdir', default='', help='folder of the run; default: runs/<config name>')
    doctor.epilog = 'Settings are written as --config.section.key=value. Exit status: 0 a run can start, 2 it cannot.'

    fetch = commands.add_parser('fetch', help='get published data, where there is internet', allow_abbrev=False)
    fetch.add_argument('names', nargs='*', metavar='NAME', help='what to get; default: lists what there is')
    fetch.add_argument('--root', default='', help='folder with datasets; default: $HUMALIGN_DATA')
    fetch.add_argument(
        '--accept-licence',
        action='append',
        default=[],
        metavar='NAME',
        help='acknowledge its licence without a question',
    )

    commands.add_parser('list', help='configs and what they do')
    show = commands.add_parser('show', help='all settings of a config', allow_abbrev=False)
    show.add_argument('config', help='name or file of a config; see humalign list')
    return parser


def _fail(message: str) -> NoReturn:
    print(f'error: {message}', file=sys.stderr)
    raise SystemExit(2)
