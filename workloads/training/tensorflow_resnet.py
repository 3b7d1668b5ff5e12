"""Train a ResNet of Keras with TensorFlow on random images; one item is one image.

The batch is made once and stays on the device, so no data loading is measured. Weights start random. TensorFlow
has an image of its own, and takes the GPU's memory as it needs it, not all at once.
"""

# ruff: noqa: PLC0415  (late imports: --help is instant, and a missing library is reported as an event)
from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, BooleanOptionalAction, Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from workloads import cuda_driver
from workloads.job import Job
from workloads.models import IMAGE_CLASSES
from workloads.options import positive, workload_parser
from workloads.torch_device import MIB, cpu_identity, peak_resident_mib

KERAS_NAMES = {"resnet50": "ResNet50", "resnet101": "ResNet101", "resnet152": "ResNet152"}
POLICIES = {"bf16": "mixed_bfloat16", "fp16": "mixed_float16", "fp32": "float32"}
REQUIREMENTS = "dockerfiles/requirements/tensorflow.txt"


def option_parser() -> ArgumentParser:
    """Return the program's command line."""
    parser = workload_parser(__doc__, batch_size=64)
    parser.add_argument("--model", choices=tuple(KERAS_NAMES), default="resnet50", help="depth of the network")
    parser.add_argument("--image-size", type=positive, default=224, help="height and width in pixels, from 32 on")
    parser.add_argument("--compile", action=BooleanOptionalAction, default=False, help="compile the step with XLA")
    return parser


def set_up(options: Namespace) -> None:
    """Choose device, threads, precision and seed; exits where TensorFlow sees no GPU though one was asked for."""
    tf = _tensorflow()
    gpus = tf.config.list_physical_devices("GPU")
    if options.device == "cuda":
        if not gpus:
            sys.exit("TensorFlow sees no CUDA device: check nvidia-smi and CUDA_VISIBLE_DEVICES, or --device cpu")
        tf.config.experimental.set_memory_growth(gpus[0], True)  # else it takes nearly all that is free
    else:
        tf.config.set_visible_devices([], "GPU")
        tf.config.threading.set_intra_op_parallelism_threads(len(os.sched_getaffinity(0)))
    tf.keras.utils.set_random_seed(options.seed)
    tf.keras.mixed_precision.set_global_policy(POLICIES[options.precision])


def training_step(options: Namespace) -> Callable[[], float]:
    """Build model, data and optimizer; return the step, which ends with the loss in the host's memory."""
    tf = _tensorflow()
    make = getattr(tf.keras.applications, KERAS_NAMES[options.model])
    model = make(weights=None, classes=IMAGE_CLASSES, input_shape=(options.image_size, options.image_size, 3))
    model.compile(
        optimizer=tf.keras.optimizers.SGD(0.01, momentum=0.9),
        loss="sparse_categorical_crossentropy",
        jit_compile=options.compile,
    )
    images = tf.random.normal((options.batch_size, options.image_size, options.image_size, 3))
    labels = tf.random.uniform((options.batch_size,), maxval=IMAGE_CLASSES, dtype=tf.int32)
    return lambda: float(model.train_on_batch(images, labels))


def identity(options: Namespace) -> dict[str, Any]:
    """Return the device as this process sees it."""
    return cpu_identity() if options.device == "cpu" else cuda_driver.identity()


def peak_memory_mib(options: Namespace) -> float:
    """Return the most TensorFlow had allocated on the GPU; on a CPU, the process's largest resident set."""
    tf = _tensorflow()
    if options.device == "cpu":
        return peak_resident_mib()
    return float(tf.config.experimental.get_memory_info("GPU:0")["peak"] / MIB)


def _tensorflow() -> Any:
    import tensorflow  # type: ignore[import-untyped]

    return tensorflow


@contextmanager
def tensorflow_installed() -> Iterator[None]:
    """Turn a missing TensorFlow into the command that installs it, without a trace."""
    try:
        yield
    except ModuleNotFoundError as missing:
        sys.exit(f"{missing}; install TensorFlow: pip install -r {REQUIREMENTS}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the job."""
    options = option_parser().parse_args(arguments)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # errors only: its greetings would fill the log
    with Job.open(["tensorflow", "keras"], options.seconds) as job, tensorflow_installed():
        set_up(options)
        job.identity(**identity(options))
        step = training_step(options)
        for _ in job.warmup(options.warmup_steps, options.batch_size, autotune=options.device == "cuda"):
            step()
        for _ in job.steps(options.batch_size):
            step()
        job.peak_memory_mib = peak_memory_mib(options)


if __name__ == "__main__":
    main()
