r"""Report of a study: one self-contained HTML page, figures as PDF and PNG, tables as Markdown, LaTeX and CSV.

    python -m humalign_jax.main --config=configs/report.py --config.study=runs/study --workdir=runs/study/report
    python -m humalign_jax.main --config=configs/report.py:tiny    # makes runs/rsa-tiny first
    python -m humalign_jax.main --config=configs/report.py --config.study=runs/rsa --workdir=runs/rsa/report

A study is the workdir of configs/quickstart.py, or of one run, such as configs/rsa.py.

Reads files only: no network runs and no data set is loaded, so a report can be made again on another machine.
"""

import ml_collections


def get_config(size: str = 'full') -> ml_collections.ConfigDict:
    c = ml_collections.ConfigDict()
    c.experiment = 'report'  # humalign_jax/experiments/report.py
    c.seed = 0  # nothing is drawn at random
    c.study = ''  # folder of the study; '': the workdir itself
    c.title = ''  # '': one that names the models
    c.layers = ('penultimate', 'mu', 'probs')  # the first that a model has stands for it in the headline table
    c.human_measure = 'cosine'  # between people's labels, where the study has scores with several
    c.n_images = 12  # most human-unlike images of each model
    # Claims that the page judges, of models whose names begin so; kinds of claims: humalign_jax/report/claims.py.
    c.claims = (('philnet', 'is above', 'resnet50'), ('vae', 'keeps category structure'))
    # Epochs of the full recipe by config.model.name; a shorter training is called reduced in the report.
    c.recipe_epochs = dict(
        philnet=50.0, vae=20.0, resnet18=150.0, resnet34=150.0, resnet50=150.0, metalearner=100.0, static_linear=100.0
    )
    if size == 'tiny':
        c.study = 'runs/rsa-tiny'
        c.n_images = 2
    elif size != 'full':
        raise ValueError(f'configs/report.py has no variant {size!r}: full or tiny.')
    return c
