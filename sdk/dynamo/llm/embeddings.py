"""The answer to an embeddings request."""

from __future__ import annotations

import base64
import struct

import msgspec

from dynamo.llm.openai.requests import EmbeddingRequest
from dynamo.llm.openai.responses import Embedding, EmbeddingList, EmbeddingUsage
from dynamo.llm.pipeline import EmbedOutput


def encode_embeddings(request: EmbeddingRequest, vectors: EmbedOutput, tokens: int) -> bytes:
    """The JSON body; `tokens` is what the inputs took."""
    data = []
    for index, vector in enumerate(vectors.embeddings):
        shown: list[float] | str = vector
        if request.encoding_format == "base64":
            shown = base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
        data.append(Embedding(index=index, embedding=shown))
    usage = EmbeddingUsage(prompt_tokens=tokens, total_tokens=tokens)
    return msgspec.json.encode(EmbeddingList(data=data, model=request.model, usage=usage))
