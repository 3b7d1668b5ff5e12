"""What training workloads can vary: data, accumulation, checkpoints, ranks, and what they refuse."""

from __future__ import annotations

import importlib
import importlib.util
import os
import signal
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.launch.events import EventLog

LIBRARIES_MISSING = any(
    importlib.util.find_spec(name) is None for name in ("torch", "torchvision", "transformers")
)
needs_libraries = pytest.mark.skipif(
    LIBRARIES_MISSING and not os.environ.get("BENCH_REQUIRE_WORKLOADS"),
    reason="the extra `workloads` is not installed",
)
pytestmark = [pytest.mark.workloads, needs_libraries]

SMALL_TEXT = ("--batch-size", "4", "--sequence-length", "8", "--layers", "1", "--hidden-size", "16")
SMALL_TEXT += ("--attention-heads", "2", "--precision", "fp32")
SMALL_IMAGES = ("--batch-size", "4", "--image-size", "32", "--precision", "fp32")
PROGRAMS = {
    "bert_training": SMALL_TEXT,
    "gpt2_training": SMALL_TEXT,
    "resnet_training": ("--model", "resnet18", *SMALL_IMAGES),
}


def options_of(program: str, *words: str) -> Namespace:
    """Return the options of a small job on the CPU."""
    parser = importlib.import_module(f"workloads.training.{program}").option_parser()
    return parser.parse_args(["--device", "cpu", *PROGRAMS[program], *words])


@pytest.fixture
def trainer_of() -> Callable[..., Any]:
    """Give a function that builds the trainer of a small job on the CPU."""

    def build(program: str, *words: str, waits: list[float] | None = None) -> Any:
        from workloads.torch_device import TorchDevice
        from workloads.training.trainer import Trainer

        options = options_of(program, *words)
        device = TorchDevice(options)
        task = importlib.import_module(f"workloads.training.{program}").make_task(options, device)
        return Trainer(task, options, device, [].append if waits is None else waits.append)

    return build


def losses(trainer: Any, steps: int) -> list[float]:
    """Train, and return the loss of each step."""
    found = []
    for _ in range(steps):
        trainer()
        found.append(trainer.loss.item())
    return found


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("bert_training", ("--loader", "host", "--loader-workers", "1", "--task", "masked-lm")),
        ("gpt2_training", ("--accumulation", "2", "--precision", "bf16")),
        ("resnet_training", ("--no-fused-optimizer",)),
    ],
)
def test_a_resumed_job_goes_on_as_if_never_interrupted(
    trainer_of: Callable[..., Any], tmp_path: Path, program: str, words: tuple[str, ...]
) -> None:
    undisturbed = losses(trainer_of(program, *words), 6)
    kept = ("--checkpoint-every", "3", "--checkpoint-dir", str(tmp_path))
    assert losses(trainer_of(program, *words, *kept), 4) == undisturbed[:4]  # the fourth step is lost
    resumed = trainer_of(program, *words, *kept)
    assert resumed.steps == 3
    assert losses(resumed, 3) == undisturbed[3:]
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_a_checkpoint_of_another_job_is_refused(trainer_of: Callable[..., Any], tmp_path: Path) -> None:
    kept = ("--checkpoint-every", "1", "--checkpoint-dir", str(tmp_path))
    losses(trainer_of("bert_training", *kept), 1)
    with pytest.raises(SystemExit, match=r"checkpoint.pt was saved with task=classification; use these"):
        trainer_of("bert_training", *kept, "--task", "masked-lm")


def test_a_kill_while_a_checkpoint_is_written_leaves_the_one_before(
    trainer_of: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = ("--checkpoint-every", "1", "--checkpoint-dir", str(tmp_path))
    trainer = trainer_of("bert_training", *kept)
    trainer()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda _file: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            trainer()
    assert trainer_of("bert_training", *kept).steps == 1


def test_a_batch_in_parts_teaches_the_same(trainer_of: Callable[..., Any]) -> None:
    whole, parts = (trainer_of("gpt2_training", *words) for words in ((), ("--accumulation", "4")))
    for trainer in (whole, parts):
        trainer._task.model.eval()  # dropout draws anew for each part
    assert losses(parts, 3) == pytest.approx(losses(whole, 3), rel=1e-4)


def test_a_resident_batch_stays_and_a_loaded_one_changes(trainer_of: Callable[..., Any]) -> None:
    waits: list[float] = []
    resident = trainer_of("gpt2_training", waits=waits)._batches
    assert resident.take()[0][0].equal(resident.take()[0][0])
    assert waits == []
    loaded = trainer_of("gpt2_training", "--loader", "host", "--loader-workers", "1", waits=waits)._batches
    first, second = loaded.take()[0][0], loaded.take()[0][0]
    assert first.shape == second.shape == (4, 8)
    assert not first.equal(second)
    assert len(waits) == 2
    assert all(wait_s > 0 for wait_s in waits)


def test_ranks_see_every_sample_once() -> None:
    from workloads.training.data import Sampler

    shares = [[number for number, _ in zip(Sampler(8, 1, 0, rank, 2), range(4))] for rank in (0, 1)]  # noqa: B905
    assert sorted(shares[0] + shares[1]) == list(range(8))
    assert shares[0] != sorted(shares[0]), "in a random order"


def test_masked_tokens_are_the_ones_to_guess() -> None:
    import torch

    from workloads.training.bert_training import IGNORED, MASK_TOKEN, masked

    tokens = torch.arange(1000, 3000)
    inputs, labels = masked(tokens, torch.Generator().manual_seed(1))
    hidden = inputs == MASK_TOKEN
    assert 0.1 < hidden.float().mean() < 0.2
    assert labels[hidden].equal(tokens[hidden])
    assert (labels[~hidden] == IGNORED).all()


def test_real_tokens_and_images_can_be_given(trainer_of: Callable[..., Any], tmp_path: Path) -> None:
    from PIL import Image

    file = tmp_path / "tokens.bin"
    np.arange(8 * 10, dtype="<u2").tofile(file)
    (tokens,) = trainer_of("gpt2_training", "--data", str(file))._batches.take()[0]
    assert sorted(tokens[:, 0].tolist())[0] % 8 == 0
    assert (tokens.diff() == 1).all(), "sequences are cut from the file as they stand in it"
    for name in ("cat", "dog"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(2):
            Image.new("RGB", (40, 40), "red").save(tmp_path / "images" / name / f"{number}.png")
    images, classes = trainer_of("resnet_training", "--data", str(tmp_path / "images"))._batches.take()[0]
    assert images.shape == (4, 3, 32, 32)
    assert sorted(classes.tolist()) == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--cuda-graphs",), "--cuda-graphs: only a CUDA device records steps as graphs"),
        (("--accumulation", "3"), "--batch-size 4 is not a multiple of 3"),
    ],
)
def test_what_cannot_be_is_refused(trainer_of: Callable[..., Any], words: tuple[str, ...], message: str) -> None:
    with pytest.raises(SystemExit, match=message):
        trainer_of("resnet_training", *words)


def test_compiling_without_a_compiler_names_what_is_missing(
    trainer_of: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(SystemExit, match="--compile needs a C compiler on PATH"):
        trainer_of("resnet_training", "--compile")


def test_the_wait_for_data_reaches_the_runner(start_workload: Callable[..., Any]) -> None:
    tenant = start_workload(
        "bert-base-training", "cpu", warmup_steps=1, batch_size=2, sequence_length=8, layers=1, loader="host"
    )
    tenant.await_event("ready")
    tenant.release(in_s=0.0, for_s=0.3)
    assert tenant.finish() == 0
    events = EventLog(tenant.folder / "events.jsonl").read()
    assert events.problems == []
    for steps in (events.warmup, events.steps):
        assert ((steps.wait_s > 0) & (steps.wait_s < steps.duration_s)).all()


def test_two_ranks_are_one_job(start_workload: Callable[..., Any]) -> None:
    tenant = start_workload("ddp-resnet50-training", "cpu", warmup_steps=1, batch_size=4, image_size=64)
    tenant.await_event("ready")
    (other,) = children(tenant)
    tenant.release(in_s=0.0, for_s=0.5)
    assert tenant.finish() == 0
    assert tenant.names() == ["hello", "identity", "ready", "step", "done"]
    assert set(tenant.steps()[2]) == {4}
    assert EventLog(tenant.folder / "events.jsonl").read().problems == []
    assert not Path(f"/proc/{other}").exists(), "nothing of the job is left"


def test_a_rank_that_ends_too_early_is_named(start_workload: Callable[..., Any]) -> None:
    tenant = start_workload("ddp-resnet50-training", "cpu", warmup_steps=1, batch_size=4, image_size=64)
    tenant.await_event("ready")
    (other,) = children(tenant)
    os.kill(other, signal.SIGKILL)
    tenant.release(in_s=0.0, for_s=60.0)
    assert tenant.finish() == 1
    assert "rank 1 ended with status -9" in tenant.events()[-1]["message"]


def children(tenant: Any) -> list[int]:
    """Return the processes that a tenant has started."""
    pid = tenant.process.pid
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()]


@pytest.mark.gpu
@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize(
    "words", [("--cuda-graphs",), ("--compile",), ("--loader", "host", "--accumulation", "2")]
)
def test_on_a_gpu_it_learns_the_same_way(
    trainer_of: Callable[..., Any], program: str, words: tuple[str, ...]
) -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("torch sees no CUDA device")
    found = losses(trainer_of(program, "--device", "cuda", "--precision", "bf16", *words), 20)
    assert np.isfinite(found).all()
    if "host" not in words:
        assert found[-1] < found[0], "the same batch again and again is learned"
