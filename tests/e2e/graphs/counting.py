"""Two services, the second of which logs a line for every request: to see that none is lost."""

from __future__ import annotations

import os
import sys

from pydantic import BaseModel

from dynamo.sdk import api, depends, endpoint, service


class Number(BaseModel):
    n: int


@service(dynamo={"namespace": "counting"})
class Back:
    @endpoint()
    async def count(self, number: Number):
        sys.stdout.write(f"counted {number.n}\n")
        sys.stdout.flush()
        yield f"{number.n} by {os.getpid()}"


@service(dynamo={"namespace": "counting"})
class Front:
    back = depends(Back)

    @api
    async def count(self, number: Number):
        return [item async for item in self.back.count(number)]
