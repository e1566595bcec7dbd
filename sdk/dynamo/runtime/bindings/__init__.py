"""The API of ai-dynamo 0.1-0.3's bindings, for programs written against it: a thin corner over the runtime.

`bind(runtime)` gives a runtime whose clients answer with `Annotated` items, as those programs expect; the
rest are the names that they import. `dynamo._core` re-exports them.
"""
