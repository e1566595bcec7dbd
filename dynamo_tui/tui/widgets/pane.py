"""A pane: a stack of pages, the topmost on screen. What lies below keeps its state."""

from __future__ import annotations

from textual.containers import Container

from dynamo_tui.tui.screens.base import View


class Pane(Container):
    DEFAULT_CSS = """
    Pane { width: 1fr; height: 1fr; layout: vertical; }
    Pane > View { display: none; }
    Pane > View.-top { display: block; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.stack: list[View] = []

    @property
    def view(self) -> View:
        return self.stack[-1]

    async def push(self, view: View) -> None:
        """Put a page on top."""
        if self.stack:
            self._bury(self.view)
        self.stack.append(view)
        await self.mount(view)
        self._reveal(view)

    async def go(self, view: View) -> None:
        """Show that page: back to it where it lies in the stack, on top of the stack otherwise."""
        known = next((v for v in self.stack if v.identity == view.identity), None)
        if known is None:
            await self.push(view)
            return
        above = self.stack[self.stack.index(known) + 1 :]
        if not above:
            return
        self._bury(self.view)
        self.stack = self.stack[: len(self.stack) - len(above)]
        self._reveal(known)
        for old in above:
            await old.remove()

    async def pop(self) -> bool:
        """Back to the page below; False at the lowest."""
        if len(self.stack) < 2:
            return False
        top = self.stack.pop()
        self._bury(top)
        self._reveal(self.view)
        await top.remove()
        return True

    async def reset(self, *views: View) -> None:
        """Replace the whole stack."""
        old, self.stack = self.stack, []
        for view in old:
            self._bury(view)
        for view in views:
            await self.push(view)
        for view in old:
            await view.remove()

    def _bury(self, view: View) -> None:
        view.remove_class("-top")
        view.hidden()

    def _reveal(self, view: View) -> None:
        view.add_class("-top")
        view.shown()
        view.focus_main()

    def suspend(self) -> None:
        """Nothing of this pane is on screen."""
        self.view.hidden()

    def resume(self) -> None:
        self.view.shown()
        self.view.focus_main()
