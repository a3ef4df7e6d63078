"""How well and how surely the default head classifies, beside plain classifiers on the same features.

    python -m benchmarks.heads [accuracy rejection beginnings coverage imbalance noise size times]
        [--encoder lite] [--seeds 10] [--sets NAME ...] [--save FILE] [--before FILE] [--pictures FOLDER]

Nothing here is measured on an image set that anything was tuned on: see `benchmarks.image_sets.catalogue`.
"""
