"""A model behind HTTP as the docs of its libraries write it: what `server_reference.py` holds our server against.

FastAPI's way to do blocking work is an endpoint that is a plain `def`, which runs on a thread of its own pool; the
model is torchvision's or transformers', in eval mode, and each request is one forward pass, or one `generate`.
There are no batches, no queue, no limits. `--endpoint async` blocks the event loop instead, as many services do.

Options, weights, inputs, path and body (`{"sample": 7}`) are those of workloads/inference/inference_server.py
(what is about batches means nothing here), so that the same question has the same answer.
"""

import signal
import sys
from argparse import Namespace
from collections.abc import Callable
from typing import Any

import torch
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from transformers import GenerationConfig

from workloads import models
from workloads.inference import inference_server
from workloads.inference.generation import decoder
from workloads.inference.serving.queries import SAMPLES
from workloads.torch_device import TorchDevice

ENDPOINTS = ("def", "async")


class Query(BaseModel):
    """The number of an input in the library."""

    sample: int = 0


class Label(BaseModel):
    """What a classifier answers."""

    label: int


class Tokens(BaseModel):
    """What a language model answers."""

    tokens: list[int]


Answer = Label | Tokens
Predict = Callable[[Query], Answer]


def main() -> None:
    """Serve on a Unix socket until told to stop."""
    parser = inference_server.option_parser()
    parser.add_argument("--endpoint", choices=ENDPOINTS, default=ENDPOINTS[0], help="how it is declared")
    options = parser.parse_args()
    device = TorchDevice(options)
    is_image = options.model in models.RESNETS
    make = image_classifier if is_image else text_classifier if options.model in models.BERTS else generator
    app = application(make(options, device), Tokens if make is generator else Label, options.endpoint)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # uvicorn raises it again at its end
    uvicorn.run(
        app, uds=str(options.socket), log_level="warning", access_log=False,
        timeout_keep_alive=inference_server.IDLE_S,  # connections outlast the other server's turn
    )  # fmt: skip


def application(predict: Predict, answer: type[BaseModel], endpoint: str) -> FastAPI:
    """Return the whole service."""

    async def in_loop(query: Query) -> Answer:
        return predict(query)

    app = FastAPI()
    asked = in_loop if endpoint == "async" else predict
    app.add_api_route("/predict", asked, methods=["POST"], response_model=answer)
    return app


def image_classifier(options: Namespace, device: TorchDevice) -> Predict:
    """Return torchvision's way; the images lie on the device, as those of our server do."""
    model = models.resnet(options, device).to(device.dtype).eval()
    library = models.images(_library(options), device).to(device.dtype)

    def predict(query: Query) -> Answer:
        with torch.inference_mode():
            return Label(label=model(library[query.sample].unsqueeze(0)).argmax(-1).item())

    return predict


def text_classifier(options: Namespace, device: TorchDevice) -> Predict:
    """Return transformers' way; token ids come from the host, with a mask, as from a tokenizer."""
    model = models.bert(options, device).to(device.dtype).eval()
    library = models.token_ids(_library(options), device).tolist()

    def predict(query: Query) -> Answer:
        ids = torch.tensor([library[query.sample]], device=device.torch_device)
        with torch.inference_mode():
            logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
        return Label(label=logits.argmax(-1).item())

    return predict


def generator(options: Namespace, device: TorchDevice) -> Predict:
    """Return transformers' way: `generate`, greedily, as many tokens as our server gives."""
    model: Any = decoder(options, device)
    shape = (SAMPLES, options.prompt_length)
    library = models.integers(models.GPT2_VOCABULARY, shape, device).tolist()
    model.generation_config = GenerationConfig(  # the model's own would look for an end token
        do_sample=False, max_new_tokens=options.output_length, pad_token_id=0
    )

    def predict(query: Query) -> Answer:
        ids = torch.tensor([library[query.sample]], device=device.torch_device)
        tokens = model.generate(ids, attention_mask=torch.ones_like(ids))
        return Tokens(tokens=tokens[0, options.prompt_length :].tolist())

    return predict


def _library(options: Namespace) -> Namespace:
    return Namespace(**{**vars(options), "batch_size": SAMPLES})


if __name__ == "__main__":
    main()
