"""Old names of `dynamo.llm` (ai-dynamo 0.2-0.3), for graphs that were written for them.

Their forms are those of the released wheels' stub files; behind them is this package's own routing. They are
imported from `dynamo.llm`, as ever.
"""
