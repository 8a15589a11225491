"""From config to run, for all experiments: training, opening runs, people, targets, watching, folds, stages."""
