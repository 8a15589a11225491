"""A small study with made-up numbers, in the layout that the stages leave, for tests of the report."""

import pathlib

import numpy as np
from PIL import Image

from humalign_jax import storage
from humalign_jax.records import Score, stimulus_ids

CLASSES = ('airplane', 'automobile', 'bird', 'cat')
PARTS = ('networks', 'features', 'alignment', 'human_rsa', 'latents', 'soft_labels')
CLASSIFIERS = ('philnet', 'resnet50')
N, K = 40, len(CLASSES)
NAN = float('nan')


def write_study(folder, *, parts=PARTS, simulated=True, classifiers=CLASSIFIERS, vae='vae', seed=0):
    """Writes the parts of a study below `folder`; returns every score written."""
    folder, np_rng, written = pathlib.Path(folder), np.random.default_rng(seed), []
    labels = np.arange(N) % K
    data = 'synthetic/test' if simulated else 'cifar10/test'
    ids = stimulus_ids(data.split('/')[0], 'test', np.arange(N))
    said = {
        'data': data,
        'human': 'simulated observers' if simulated else 'cifar10h',
        'simulated': simulated,
        'seed': 0,
        'stimuli_sha256': 'ab' * 32,
        'checkpoint_step': 120,
    }
    study = Writer(folder, said, written)
    people = np_rng.dirichlet(np.ones(K) * 0.4, N) * 0.4 + 0.6 * np.eye(K)[labels]
    probs = {name: np_rng.dirichlet(np.ones(K) * 0.3, N) * 0.5 + 0.5 * np.eye(K)[labels] for name in classifiers}
    if 'networks' in parts:
        for name in [*classifiers, vae]:
            write_network(study, name, is_vae=name == vae, np_rng=np_rng)
    if 'features' in parts:
        for name in classifiers:
            where = folder / 'features' / name / 'test'
            about = {'ids': ids, 'model': name, 'simulated': simulated}
            storage.write_array(where / 'labels.npy', labels.astype(np.int32), {**about, 'class_names': CLASSES})
            storage.write_array(where / 'probs.npy', probs[name].astype(np.float32), {**about, 'layer': 'probs'})
            pixels = np_rng.uniform(size=(N, 8 * 8 * 3)).astype(np.float32)
            storage.write_array(where / 'pixels.npy', pixels, {**about, 'layer': 'pixels'})
    if 'alignment' in parts:
        for name in classifiers:
            write_alignment(study, name, ids, people, probs[name], labels, np_rng)
    if 'human_rsa' in parts:
        write_rsa(study, [*classifiers, vae], vae, np_rng)
    if 'latents' in parts:
        write_latents(study, vae, np_rng)
    if 'soft_labels' in parts:
        write_arms(study, np_rng)
    return written


class Writer:
    """Writes runs of one study and remembers their scores."""

    def __init__(self, folder, said, written):
        self.folder, self.said, self.written = folder, said, written

    def score(
        self, name, value, spread, *, n=N, interval='bootstrap over images, 100 draws', ceiling=(NAN, NAN), **more
    ):
        return Score(name, value, value - spread, value + spread, n, interval, *ceiling, {**self.said, **more})

    def run(self, name, experiment, scores, **config):
        where = self.folder / name
        storage.write_json(where / 'config.json', {'experiment': experiment, 'seed': 0, **config})
        start = {
            'started': '2026-01-31T12:00:00+00:00',
            'command': ['main.py'],
            'git_commit': '0123456789abcdef0123456789abcdef01234567',
            'git_dirty': False,
            'versions': {'humalign_jax': '0.1.0', 'jax': '0.10.2', 'flax': None},
            'devices': ['cpu', 'cpu'],
        }
        storage.write_json(where / 'provenance.json', [start])
        storage.write_jsonl(where / 'scores.jsonl', [score.to_json() for score in scores])
        self.written += scores


def write_network(study, name, *, is_vae, np_rng):
    metrics = ('loss', 'l1', 'kl') if is_vae else ('loss', 'accuracy')
    rows = []
    for epoch in range(1, 5):
        for split in ('train', 'validation'):
            row = {'step': 30 * epoch, 'epoch': float(epoch), 'split': split}
            row |= {metric: float(1 / epoch + 0.1 * np_rng.uniform()) for metric in metrics}
            if split == 'validation' and not is_vae:
                row |= {'alignment/rsa': 0.1 * epoch, 'alignment/cross_entropy': 1.0 / epoch}
                row |= {'alignment/rsa_ceiling_lower': 0.6, 'alignment/rsa_ceiling_upper': 0.7}
            rows.append(row)
    scores = [study.score('loss', 12.0 if is_vae else 0.5, 0.03, model=name, unit='nats')]
    if not is_vae:
        scores.append(study.score('accuracy', 0.91, 0.012, interval='wilson', model=name))
    config = {'model': {'name': name}, 'data': {'name': study.said['data'].split('/')[0]}, 'train': {'epochs': 4.0}}
    study.run(f'networks/{name}', 'train_vae' if is_vae else 'train_classifier', scores, **config)
    storage.write_jsonl(study.folder / 'networks' / name / 'metrics.jsonl', rows)


def write_alignment(study, name, ids, people, probs, labels, np_rng):
    worse = 0.1 * (name != 'philnet')
    one = {'model': name, 'layer': 'probs'}
    nats = {'unit': 'nats', 'better': 'smaller'}
    scores = [
        study.score('soft_labels/cross_entropy', 0.43 + worse, 0.0234, **one, **nats),
        study.score('soft_labels/cross_entropy_scaled', 0.31 + worse, 0.02, **one, **nats),
        study.score('soft_labels/kl', 0.28 + worse, 0.0234, **one, **nats),
        study.score('soft_labels/js', 0.07 + worse, 0.0021, ceiling=(0.01, 0.02), **one, **nats),
        study.score('soft_labels/temperature', 1.85, 0.1, **one, better='none'),
        study.score('soft_labels/entropy_spearman', 0.41, 0.02, ceiling=(0.776, 0.874), **one, better='larger'),
        study.score('soft_labels/accuracy', 0.91 - worse, 0.012, **one, better='larger'),
        study.score('soft_labels/human_top1', 0.92 - worse, 0.012, **one, better='larger'),
        study.score('soft_labels/second_best', 0.35 - worse, 0.02, ceiling=(0.58, 0.58), **one, better='larger'),
        study.score('errors/confusion_spearman', 0.62, 0.05, ceiling=(0.977, 0.988), **one, better='larger'),
        study.score('errors/kappa', 0.21 - worse, 0.04, ceiling=(0.5, 0.6), **one, better='larger'),
    ]
    for i, place in enumerate(('unanimous', 'low', 'middle', 'high')):
        place = f'errors/accuracy_by_uncertainty/{place}'
        scores.append(study.score(place, 0.99 - 0.1 * i - worse, 0.02, **one, better='larger'))
    for baseline, value in (
        ('class-mean human label', 0.2566),
        ('uniform', 2.3026),
        ('human soft label itself', 0.1545),
    ):
        scores.append(
            study.score('soft_labels/cross_entropy', value, 0.01, model=baseline, baseline=True, layer='probs', **nats)
        )
    study.run(f'alignment/{name}', 'alignment', scores)
    where, about = study.folder / 'alignment' / name, {**study.said, 'class_names': CLASSES}
    for stem, rows in (('confusion', probs), ('human_confusion', people)):
        matrix = np.stack([rows[labels == k].mean(axis=0) for k in range(K)])
        storage.write_array(where / f'{stem}.npy', matrix, about)
        off = matrix * (1 - np.eye(K))
        storage.write_array(where / f'{stem.replace("confusion", "errors")}.npy', off, about)
    kl = (people * np.log(people / probs)).sum(axis=1)
    columns = ['kl', *(f'human/{c}' for c in CLASSES)]
    storage.write_array(where / 'per_image.npy', np.c_[kl, people], {**about, 'ids': ids, 'columns': columns})


def write_rsa(study, models, vae, np_rng):
    common = {'measure': 'correlation', 'human_measure': 'cosine', 'better': 'larger'}
    scores = []
    for level in ('image', 'class'):
        for pairs, base in (('all', 0.5), ('within', 0.2), ('partial', 0.25)):
            if level == 'class' and pairs != 'all':
                continue
            where = {**common, 'level': level, 'pairs': pairs}
            ceiling = {'all': (0.72, 0.84), 'within': (0.6, 0.75), 'partial': (0.43, 0.6)}[pairs]
            for i, model in enumerate(models):
                layers = ('mu',) if model == vae else ('block1', 'block2', 'penultimate', 'probs')
                for j, layer in enumerate(layers):
                    value = base - 0.08 * i + 0.02 * j - 0.2 * (model == vae)
                    scores.append(
                        study.score('rsa/spearman', value, 0.0312, ceiling=ceiling, **where, model=model, layer=layer)
                    )
            baselines = (('same category', 0.633), ('pixels', 0.05)) if pairs == 'all' else (('pixels', 0.04),)
            for model, value in baselines:
                scores.append(
                    study.score('rsa/spearman', value, 0.01, ceiling=ceiling, **where, model=model, baseline=True)
                )
            if level == 'image':
                first, second = models[0], models[1]
                more = {'p': 0.0004, 'p_fwer': 0.0011, 'p_fdr': 0.0008, 'other': second, 'other_layer': 'penultimate'}
                scores.append(
                    study.score(
                        'rsa/spearman/difference', 0.08, 0.03, **where, model=first, layer='penultimate', **more
                    )
                )
    # As the stage does, a difference names a baseline without calling it one.
    said = {**common, 'level': 'image', 'pairs': 'all', 'model': 'same category', 'layer': ''}
    more = {'other': 'pixels', 'other_layer': '', 'p': 0.001, 'p_fwer': 0.002, 'p_fdr': 0.001}
    scores.append(study.score('rsa/spearman/difference', 0.583, 0.02, **said, **more))
    study.run('human_rsa', 'human_rsa', scores)
    for name in ('human', *models):
        about = {'model': name, 'measure': 'cosine', 'class_names': CLASSES, 'simulated': study.said['simulated']}
        where = study.folder / 'human_rsa'
        storage.write_array(where / f'rdm_class_{name}.npy', np_rng.uniform(size=K * (K - 1) // 2), about)
        square = np_rng.uniform(size=(8, 8))
        classes = [CLASSES[i // 2] for i in range(8)]
        storage.write_array(where / f'rdm_image_{name}.npy', square + square.T, {**about, 'classes': classes, 'n': N})


def write_latents(study, vae, np_rng):
    scores = [
        study.score('vae/psnr', 21.3, 0.1, model=vae, unit='dB', better='larger'),
        study.score('vae/psnr', 18.1, 0.1, model='mean training image', unit='dB', better='larger', baseline=True),
        study.score(
            'vae/psnr/difference', 3.2, 0.1, model=vae, other='mean training image', unit='dB', better='larger'
        ),
        study.score('vae/linear_probe_accuracy', 0.42, 0.01, model=vae, layer='mu', better='larger'),
        Score('vae/active_units', 17.0, NAN, NAN, N, 'none: a count', provenance={**study.said, 'model': vae}),
    ]
    study.run('latents', 'latents', scores)
    where = study.folder / 'latents' / 'figures'
    where.mkdir(parents=True)
    for name in ('reconstructions', 'samples'):
        Image.fromarray(np_rng.integers(0, 256, (34, 170, 3), dtype=np.uint8)).save(where / f'{name}.png')
        storage.write_json(where / f'{name}.json', {'picture': name, 'rows': [], 'columns': list(CLASSES)})


def write_arms(study, np_rng):
    scores, name = [], 'soft_labels/cross_entropy'
    nats = {'unit': 'nats', 'better': 'smaller', 'model': 'philnet'}
    for arm, value in (('pretrained', 0.45), ('human', 0.21), ('hard', 0.39)):
        scores.append(study.score(name, value, 0.011, arm=arm, fold='all', **nats))
        for fold in range(3):
            drawn = value + 0.03 * np_rng.uniform(-1, 1)
            scores.append(study.score(name, drawn, 0.03, n=N // 3, arm=arm, fold=str(fold), **nats))
    for resampled in ('images', 'folds'):
        more = {'arm': 'human', 'other': 'hard', 'fold': 'all', 'resampled': resampled}
        scores.append(study.score(f'{name}/difference', -0.18, 0.02, **more, **nats))
    baseline = {**nats, 'model': 'class-mean human label', 'baseline': True, 'fold': 'all'}
    scores.append(study.score(name, 0.2566, 0.01, **baseline))
    study.run('soft_labels', 'train_soft_labels', scores)
