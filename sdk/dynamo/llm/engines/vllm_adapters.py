"""LoRA adapters of a vLLM engine: loaded at its start, each served under a name of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from dynamo.llm.engines.base import InvalidRequest
from dynamo.llm.errors import ModelError
from dynamo.llm.tokenizer import read_json


class Adapters:
    """Adapters by name. vLLM keeps `max-loras` of them on the device at a time and swaps the others in."""

    def __init__(self, directories: Mapping[str, Path]) -> None:
        self._directories = dict(directories)
        self._requests: dict[str, Any] = {}

    @property
    def names(self) -> list[str]:
        return list(self._directories)

    def configure(self, arguments: Any) -> None:
        """Turn LoRA on in vLLM's arguments, with room for the highest rank.

        Raises:
            ModelError: a directory holds no adapter, or one of a rank that vLLM does not have.
        """
        if not self._directories:
            return
        from vllm.config.lora import MaxLoRARanks

        ranks = {name: _rank(name, path) for name, path in self._directories.items()}
        highest = max(ranks, key=lambda name: ranks[name])
        needed = max(ranks[highest], arguments.max_lora_rank)
        possible = sorted(rank for rank in get_args(MaxLoRARanks) if rank >= needed)
        if not possible:
            raise ModelError(f"lora-modules: {highest} has rank {ranks[highest]}, which vLLM does not serve")
        arguments.enable_lora = True
        arguments.max_lora_rank = possible[0]

    async def load(self, llm: Any) -> None:
        """Load each once, so that a broken one is found now and not by a client.

        Raises:
            ModelError: vLLM refuses one.
        """
        from vllm.lora.request import LoRARequest

        for number, (name, path) in enumerate(self._directories.items(), start=1):
            request = LoRARequest(lora_name=name, lora_int_id=number, lora_path=str(path.resolve()))
            try:
                await llm.add_lora(request)
            except Exception as error:
                raise ModelError(f"lora-modules: {name} ({path}) does not load: {error}") from error
            self._requests[name] = request

    def request(self, name: str | None) -> Any:
        """What vLLM is told of a request's adapter; None without one.

        Raises:
            InvalidRequest: there is none of that name.
        """
        if name is None:
            return None
        if name not in self._requests:
            raise InvalidRequest(
                "lora", f"this engine has no adapter {name!r}; it has {', '.join(self.names) or 'none'}"
            )
        return self._requests[name]


def _rank(name: str, path: Path) -> int:
    """The rank that PEFT wrote into `adapter_config.json`."""
    rank = read_json(path / "adapter_config.json").get("r")
    if not isinstance(rank, int):
        raise ModelError(f"lora-modules: {name}: {path}/adapter_config.json names no rank `r`; is it a LoRA adapter?")
    return rank
