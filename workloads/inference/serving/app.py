"""The HTTP side of the server: paths, limits, and what each failure is called."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from fastapi import FastAPI, HTTPException, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel

from workloads.inference.serving.batching import Batcher, BatchError, QueueFullError
from workloads.inference.serving.metrics import CONTENT_TYPE, Metrics
from workloads.inference.serving.queries import Kind

BODY_BYTES = 65536  # the largest body that is read
RETRY_AFTER_S = "1"
PREDICT = "/predict"
ERRORS_TOLD = 8  # of all that is wrong with a body
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[Message, Receive, Send], Awaitable[None]]


class Status(BaseModel):
    """How the server is."""

    status: str


def make_app(kind: Kind, batcher: Batcher, metrics: Metrics) -> FastAPI:
    """Return the application; `batcher` answers the queries of this kind."""
    app = FastAPI(title="Inference server", docs_url=None, redoc_url=None)
    app.add_api_route(
        PREDICT,
        _predict(kind, batcher),
        methods=["POST"],
        response_model=kind.answer,
        responses=_failures(),
        summary=f"Predict, in {kind.unit}",
    )
    app.add_api_route("/healthz", _alive, response_model=Status, summary="Is the process there")
    app.add_api_route(
        "/readyz", _ready(batcher), response_model=Status, responses={503: {"description": "not yet"}}
    )
    app.add_api_route("/metrics", _metrics(metrics), response_class=Response, summary="For Prometheus")
    app.add_exception_handler(RequestValidationError, _refuse)
    app.add_middleware(BodyLimit, limit_bytes=BODY_BYTES)
    app.add_middleware(Admission, batcher=batcher)
    app.add_middleware(ReplyCounter, metrics=metrics)
    metrics.watch_queue(lambda: batcher.waiting)
    return app


def _predict(kind: Kind, batcher: Batcher) -> Callable[..., Awaitable[Any]]:
    async def predict(query: BaseModel) -> Any:
        try:
            return await batcher.answer(query)
        except QueueFullError as error:  # it has filled since the request was admitted
            raise _unavailable(str(error)) from None
        except BatchError as error:
            raise HTTPException(500, f"the batch failed: {error}") from error

    predict.__annotations__["query"] = kind.query  # where FastAPI reads what a body must be
    return predict


def _ready(batcher: Batcher) -> Callable[[], Awaitable[Status]]:
    async def ready() -> Status:
        if not batcher.is_ready:
            raise _unavailable(batcher.trouble)
        return Status(status="ready")

    return ready


async def _alive() -> Status:
    return Status(status="alive")


def _metrics(metrics: Metrics) -> Callable[[], Awaitable[Response]]:
    async def tell() -> Response:
        return Response(metrics.text(), media_type=CONTENT_TYPE)

    return tell


def _unavailable(why: str | None) -> HTTPException:
    return HTTPException(503, why, headers={"Retry-After": RETRY_AFTER_S})


async def _refuse(_request: object, error: Exception) -> Response:
    """Say what is wrong with a body, without echoing it: what was sent may not even be JSON again (NaN)."""
    assert isinstance(error, RequestValidationError)
    told = [{name: each[name] for name in ("loc", "msg", "type")} for each in error.errors()[:ERRORS_TOLD]]
    return Response(
        json.dumps({"detail": told}), 422, media_type="application/json"
    )  # ASCII: lone surrogates pass


def _failures() -> dict[int | str, dict[str, Any]]:
    reasons = {400: "not JSON text", 413: "too large a body", 503: "the queue is full, or the model is not loaded"}
    return {status: {"description": reason} for status, reason in reasons.items()}


class BodyLimit:
    """Reads no more of a body than is allowed, whatever length it claims, and answers 413 beyond."""

    def __init__(self, app: Asgi, limit_bytes: int) -> None:
        self._app = app
        self._limit_bytes = limit_bytes

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Hand a request on, its body counted."""
        left_bytes = self._limit_bytes

        async def counted() -> Message:
            nonlocal left_bytes
            message = await receive()
            left_bytes -= len(message.get("body", b""))
            if left_bytes < 0:
                raise HTTPException(413, f"a body has at most {self._limit_bytes} bytes")
            return message

        await self._app(scope, counted, send)


class Admission:
    """Refuses what cannot be served before anything is parsed: refusing must cost less than serving."""

    def __init__(self, app: Asgi, batcher: Batcher) -> None:
        self._app = app
        self._batcher = batcher

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Hand a request on, or refuse it."""
        trouble = self._batcher.trouble
        if trouble and scope.get("path") == PREDICT and scope.get("method") == "POST":
            refusal = json.dumps({"detail": trouble})
            headers = {"Retry-After": RETRY_AFTER_S}
            await Response(refusal, 503, headers, "application/json")(scope, receive, send)
        else:
            await self._app(scope, receive, send)


class ReplyCounter:
    """Counts the replies to /predict by status, those of other layers included."""

    def __init__(self, app: Asgi, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Hand a request on, and count its reply."""

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._metrics.count_reply(message["status"])
            await send(message)

        await self._app(scope, receive, counted if scope.get("path") == PREDICT else send)
