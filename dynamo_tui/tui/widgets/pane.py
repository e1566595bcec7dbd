"""A pane: a stack of pages, the topmost on screen. What lies below keeps its state."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from textual.containers import Container

from dynamo_tui.tui.figures import clock
from dynamo_tui.tui.screens.base import View
from dynamo_tui.tui.session import Session


class Pane(Container):
    DEFAULT_CSS = """
    Pane { width: 1fr; height: 1fr; layout: vertical; }
    Pane > View { display: none; }
    Pane > View.-top { display: block; }
    Pane.-past { border-top: dashed $warning; border-title-color: $text-warning; }
    """

    def __init__(self, session: Callable[[], Session]) -> None:
        super().__init__()
        self._session = session
        self.stack: list[View] = []
        self._on_screen = True
        # One step at a time: two keys in quick succession must not leave two pages on top.
        self._turn = asyncio.Lock()

    @property
    def view(self) -> View:
        return self.stack[-1]

    async def go(self, view: View) -> None:
        """Show that page: back to it where it lies in the stack, on top of the stack otherwise."""
        async with self._turn:
            known = next((i for i, v in enumerate(self.stack) if v.identity == view.identity), None)
            if known is None:
                await self._push(view)
            else:
                await self._cut(known + 1)

    async def pop(self) -> bool:
        """Back to the page below; False at the lowest."""
        async with self._turn:
            if len(self.stack) < 2:
                return False
            await self._cut(len(self.stack) - 1)
            return True

    async def reset(self, *views: View) -> None:
        """Replace the whole stack."""
        async with self._turn:
            for view in views:
                view.session = self._session()
            await self.mount_all(views)
            old, self.stack = self.stack, list(views)
            for view in old:
                self._bury(view)
            self._reveal(self.view)
            await self.remove_children(old)

    async def _push(self, view: View) -> None:
        view.session = self._session()
        # It joins the stack when its widgets are there, for whatever is on the stack is drawn at every change.
        await self.mount(view)
        if self.stack:
            self._bury(self.view)
        self.stack.append(view)
        self._reveal(view)

    async def _cut(self, length: int) -> None:
        """Drop the pages above the lowest `length`."""
        above = self.stack[length:]
        if not above:
            return
        self._bury(self.view)
        del self.stack[length:]
        self._reveal(self.view)
        await self.remove_children(above)

    def _bury(self, view: View) -> None:
        view.remove_class("-top")
        view.hidden()

    def _reveal(self, view: View) -> None:
        view.add_class("-top")
        if self._on_screen:
            view.shown()
            view.focus_main()

    def show_time(self, t: float | None) -> None:
        """Say above the page which past it shows; None for the present."""
        self.border_title = None if t is None else f"as it was at {clock(t)}"
        self.set_class(t is not None, "-past")

    def suspend(self) -> None:
        """Nothing of this pane is on screen."""
        self._on_screen = False
        if self.stack:
            self.view.hidden()

    def resume(self) -> None:
        self._on_screen = True
        if self.stack:
            self.view.shown()
            self.view.focus_main()
