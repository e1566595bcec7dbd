"""Engine requests as vLLM's sampling parameters, and vLLM's outputs as deltas."""

from __future__ import annotations

from typing import Any

from dynamo.llm.engines.base import EngineOutput, EngineRequest, FinishReason, TokenLogprob

_PLAIN = ("temperature", "top_p", "top_k", "min_p", "presence_penalty", "frequency_penalty", "repetition_penalty",
          "seed", "logit_bias")  # fmt: skip

_FINISH: dict[str, FinishReason] = {"stop": "stop", "length": "length", "abort": "cancelled"}


def sampling_params(request: EngineRequest, defaults: dict[str, Any], context_length: int) -> Any:
    """`defaults` are the model's own (from its generation config); the request's come first.

    Raises:
        ValueError: vLLM refuses a value.
    """
    from vllm.sampling_params import RequestOutputKind, SamplingParams, StructuredOutputsParams

    chosen = {name: value for name in _PLAIN if (value := getattr(request.sampling, name)) is not None}
    options = {**{k: v for k, v in defaults.items() if k in _PLAIN or k == "max_tokens"}, **chosen}
    room = context_length - len(request.token_ids)
    options["max_tokens"] = min(request.stop.max_tokens or options.get("max_tokens") or room, room)
    if request.sampling.guided:
        options["structured_outputs"] = StructuredOutputsParams(**request.sampling.guided)
    return SamplingParams(
        **options,
        min_tokens=request.stop.min_tokens,
        stop_token_ids=request.stop.stop_token_ids or None,
        ignore_eos=request.stop.ignore_eos,
        logprobs=request.sampling.logprobs,
        detokenize=False,
        output_kind=RequestOutputKind.DELTA,
    )


def output_of(answer: Any, *, first: bool) -> EngineOutput:
    """One delta of a `RequestOutput`; the first says what was cached."""
    completion = answer.outputs[0]
    finish = completion.finish_reason
    ids = list(completion.token_ids)
    return EngineOutput(
        token_ids=ids,
        finish_reason=None if finish is None else _FINISH.get(finish, "error"),
        stop_reason=completion.stop_reason,
        cached_tokens=(answer.num_cached_tokens or 0) if first else None,
        prompt_tokens=len(answer.prompt_token_ids or ()) if first else None,
        logprobs=_logprobs(ids, completion.logprobs) if completion.logprobs else None,
        error=f"vLLM ended the request: {finish}" if finish is not None and finish not in _FINISH else None,
    )


async def embedding(llm: Any, token_ids: list[int], dimensions: int | None, request_id: str) -> list[float]:
    """The vector of one input.

    Raises:
        VLLMClientError: vLLM refuses it.
    """
    from vllm.inputs import TokensPrompt
    from vllm.pooling_params import PoolingParams

    params = PoolingParams(task="embed", dimensions=dimensions)
    vector: list[float] = []
    async for answer in llm.encode(TokensPrompt(prompt_token_ids=token_ids), params, request_id):
        vector = answer.outputs.data.tolist()
    return vector


def _logprobs(ids: list[int], positions: Any) -> list[TokenLogprob]:
    """vLLM gives per position the alternatives by id, with the chosen one among them."""
    result = []
    for token_id, candidates in zip(ids, positions, strict=False):
        ranked = sorted(candidates.items(), key=lambda item: -item[1].logprob)
        chosen = candidates[token_id].logprob
        result.append(TokenLogprob(token_id=token_id, logprob=chosen, top=[(i, c.logprob) for i, c in ranked]))
    return result
