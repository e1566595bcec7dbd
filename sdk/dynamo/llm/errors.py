"""The error tree of `dynamo.llm`.

LlmError
├── ModelError          a model directory, or options for one, that cannot be served
│   └── EngineFailed        the engine did not start with them, this time
├── RequestError        a request that no retry can save; `param` and `code` as OpenAI names them
│   ├── UnknownModel
│   └── ContextLengthExceeded
├── ServingError        the request was sound, the service was not able to answer it
│   ├── Busy            every worker is full; `retry_after` seconds
│   │   └── kv.scheduler.AllWorkersBusy    each is over the router's busy thresholds
│   ├── NoWorkers       no worker serves the model right now
│   │   └── kv.scheduler.NoCandidates      none that the request may go to
│   ├── GenerationFailed   the engine or its worker failed, perhaps after some tokens
│   └── engines.mocker.EngineStopped
└── (also ValueErrors)  kv.hashing.InvalidTokens · kv.options.InvalidOption · kv.wire.MalformedChange
"""

from __future__ import annotations


class LlmError(Exception):
    """Anything that goes wrong between an OpenAI request and its answer."""


class ModelError(LlmError):
    """A model directory that cannot be served. The message names the file and what to do."""


class EngineFailed(ModelError):
    """The engine did not start: what it was told may be wrong, or memory or a device that it needs is not free now."""


class RequestError(LlmError):
    """A bad request. `param` is the offending field, `code` OpenAI's machine-readable reason."""

    status = 400

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code


class UnknownModel(RequestError):
    """No model of that name is served here."""

    status = 404

    def __init__(self, model: str, served: list[str]) -> None:
        known = ", ".join(sorted(served)) or "none yet"
        super().__init__(
            f"The model '{model}' does not exist; served here: {known}.", param="model", code="model_not_found"
        )
        self.model = model


class ContextLengthExceeded(RequestError):
    """Prompt and answer together do not fit the model's context. All figures in tokens."""

    def __init__(self, *, limit: int, prompt: int, completion: int | None, param: str) -> None:
        asked = f"{prompt} in the prompt"
        if completion is not None:
            asked += f" and {completion} for the completion"
        super().__init__(
            f"This model's maximum context length is {limit} tokens, but the request asks for {asked}. "
            "Shorten the prompt or the completion.",
            param=param,
            code="context_length_exceeded",
        )
        self.limit = limit
        self.prompt = prompt


class ServingError(LlmError):
    """The request was sound, but could not be answered."""

    status = 500


class Busy(ServingError):
    """Every worker is full. Come back in `retry_after` seconds."""

    status = 429

    def __init__(self, message: str, *, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class NoWorkers(ServingError):
    """No worker serves the model at the moment; one may be starting."""

    status = 503

    def __init__(self, message: str, *, retry_after: float = 2.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class GenerationFailed(ServingError):
    """The engine or its worker failed. `begun` says whether tokens had already been delivered."""

    def __init__(self, message: str, *, begun: bool = False) -> None:
        super().__init__(message)
        self.begun = begun
