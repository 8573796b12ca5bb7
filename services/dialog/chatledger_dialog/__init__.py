"""The dialog worker: folds each conversation and publishes what its flow decided."""
