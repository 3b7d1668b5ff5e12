"""Command-line options that workloads share. Importing this is cheap: `--help` needs no torch."""

import argparse

PRECISIONS = ("bf16", "fp16", "fp32")
LOADERS = ("device", "host")
SYNTHETIC = "synthetic"


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Tells defaults, and leaves the lines of a description as they are."""


def workload_parser(description: str | None, *, batch_size: int) -> argparse.ArgumentParser:
    """Return a parser with the options every workload has; `batch_size` is the default."""
    parser = argparse.ArgumentParser(description=description, formatter_class=HelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="where to work")
    parser.add_argument("--seed", type=int, default=0, help="of the random weights and inputs")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long to work without a launcher")
    parser.add_argument("--batch-size", type=positive, default=batch_size, help="items a step")
    parser.add_argument("--precision", choices=PRECISIONS, default="bf16", help="of the arithmetic")
    parser.add_argument("--warmup-steps", type=positive, default=20, help="steps before the job is ready")
    return parser


def add_image_options(parser: argparse.ArgumentParser) -> None:
    """Add what describes an image model's input."""
    parser.add_argument("--image-size", type=positive, default=224, help="height and width in pixels")
    parser.add_argument(
        "--channels-last",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="keep channels innermost in memory, as tensor cores prefer",
    )


def add_text_options(parser: argparse.ArgumentParser, *, sequence_length: int = 128) -> None:
    """Add what describes a text model and its input; the defaults are BERT-base."""
    parser.add_argument("--sequence-length", type=positive, default=sequence_length, help="tokens a sequence")
    add_transformer_options(parser)


def add_transformer_options(parser: argparse.ArgumentParser) -> None:
    """Add the size of a transformer; the defaults are those of the base models (BERT, GPT-2, ViT-B)."""
    parser.add_argument("--layers", type=positive, default=12, help="transformer layers")
    parser.add_argument("--hidden-size", type=positive, default=768, help="width of a layer")
    parser.add_argument("--attention-heads", type=positive, default=12, help="heads a layer")


def add_training_options(parser: argparse.ArgumentParser) -> None:
    """Add what every training workload can vary; all but the data leave the arithmetic's meaning alone."""
    flag = argparse.BooleanOptionalAction
    parser.add_argument("--data", default=SYNTHETIC, help="where real samples are, in place of random ones")
    parser.add_argument("--loader", choices=LOADERS, default="device", help="batch resident, or from a DataLoader")
    parser.add_argument("--loader-workers", type=positive, default=2, help="processes of the host's loader")
    parser.add_argument("--accumulation", type=positive, default=1, help="parts that a batch is cut into")
    parser.add_argument("--fused-optimizer", action=flag, default=True, help="update all weights in one kernel")
    parser.add_argument("--compile", action=flag, default=False, help="compile the model (torch.compile)")
    parser.add_argument("--cuda-graphs", action=flag, default=False, help="capture a whole step, and replay it")
    parser.add_argument("--checkpoint-every", type=whole, default=0, help="steps between checkpoints; 0: none")
    parser.add_argument(
        "--checkpoint-dir", help="where they are kept, and resumed from (default: the job's folder)"
    )


def add_generation_options(parser: argparse.ArgumentParser) -> None:
    """Add the lengths of one generation."""
    parser.add_argument("--prompt-length", type=positive, default=128, help="tokens a prompt")
    parser.add_argument("--output-length", type=positive, default=64, help="tokens generated for each, at most")


def positive(text: str) -> int:
    """Convert an option's text to an integer of at least 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {value}")
    return value


def whole(text: str) -> int:
    """Convert an option's text to an integer of at least 0."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"must be at least 0, not {value}")
    return value
