"""Train the focus model: ``python train.py DATASET --output RUN``, the same as ``cli.py train-cnn``."""

import sys

from cli import main

if __name__ == "__main__":
    sys.exit(main(["train-cnn", *sys.argv[1:]]))
