"""How fast tensorflow-resnet50-training is beside a plain loop: `python benchmarks/tensorflow_reference.py`.

A is the workload's own step, B that of TensorFlow's guide to training loops written from scratch (a `tf.function`
with a gradient tape), in the order A, B, B, A. Printed: the ratio of speeds with its 95 % interval over rounds;
below 0.95 the exit code is 1. Parameters are the catalog's. Needs what dockerfiles/requirements/tensorflow.txt
names, with scipy, pyyaml and pydantic; torch need not be there.
"""

import os
import sys
from argparse import Namespace
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # before TensorFlow is there, as the workload does

import tensorflow  # type: ignore[import-untyped]
from side_by_side import Step, arguments, compare, option_parser

from bench.plan.catalog import load_catalog
from workloads.models import IMAGE_CLASSES
from workloads.training import tensorflow_resnet

tf: Any = tensorflow
NAME = "tensorflow-resnet50-training"


def main() -> int:
    """Compare; 0 where the target is reached."""
    chosen = option_parser(__doc__).parse_args()
    given = arguments(load_catalog()[NAME], chosen.device)
    options = tensorflow_resnet.option_parser().parse_args(given)
    tensorflow_resnet.set_up(options)
    own, plain = tensorflow_resnet.training_step(options), plain_step(options)
    return 0 if compare(NAME, own, plain, chosen) else 1


def plain_step(options: Namespace) -> Step:
    """Return the guide's way, in the precision that was set up; it ends with the loss in the host's memory."""
    make = getattr(tf.keras.applications, tensorflow_resnet.KERAS_NAMES[options.model])
    shape = (options.image_size, options.image_size, 3)
    model = make(weights=None, classes=IMAGE_CLASSES, input_shape=shape)
    optimizer = tf.keras.optimizers.SGD(0.01, momentum=0.9)
    criterion = tf.keras.losses.SparseCategoricalCrossentropy()
    images = tf.random.normal((options.batch_size, *shape))
    labels = tf.random.uniform((options.batch_size,), maxval=IMAGE_CLASSES, dtype=tf.int32)

    def train_step(images: Any, labels: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = criterion(labels, model(images, training=True))
        gradients = tape.gradient(loss, model.trainable_weights)
        optimizer.apply_gradients(zip(gradients, model.trainable_weights, strict=True))
        return loss

    compiled = tf.function(train_step, jit_compile=options.compile)
    return lambda: float(compiled(images, labels))


if __name__ == "__main__":
    sys.exit(main())
