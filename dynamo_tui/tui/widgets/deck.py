"""Tabs and split panes: a deck holds the panes of one tab, side by side."""

from __future__ import annotations

from textual import on
from textual.containers import Horizontal
from textual.events import DescendantFocus
from textual.message import Message

from dynamo_tui.tui.screens.base import View
from dynamo_tui.tui.session import Session
from dynamo_tui.tui.widgets.pane import Pane


class Deck(Horizontal):
    """One tab, which looks at one session. One pane has the keyboard; all are on screen while the tab is."""

    DEFAULT_CSS = """
    Deck { height: 1fr; display: none; }
    Deck.-current { display: block; layout: horizontal; }
    Deck.-split > Pane { border-left: solid $panel; }
    Deck.-split > Pane.-active { border-left: solid $primary; }
    """

    class Switched(Message):
        """Another pane has the keyboard."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session
        self.panes: list[Pane] = []
        self.active = 0

    @property
    def pane(self) -> Pane:
        return self.panes[self.active]

    @property
    def views(self) -> list[View]:
        """What is on screen while this tab is."""
        return [pane.view for pane in self.panes if pane.stack]

    async def add(self, *views: View) -> None:
        """A further pane, with the keyboard."""
        pane = Pane(lambda: self.session)
        await self.mount(pane)
        await pane.reset(*views)
        self.panes.append(pane)
        self._activate(len(self.panes) - 1)

    async def close_pane(self) -> bool:
        """Close the active pane; False where it is the only one."""
        if len(self.panes) < 2:
            return False
        pane = self.panes.pop(self.active)
        pane.suspend()
        self._activate(max(0, self.active - 1))
        await pane.remove()
        self.pane.view.focus_main()
        return True

    def other_pane(self) -> None:
        self._activate((self.active + 1) % len(self.panes))
        self.pane.view.focus_main()

    def _activate(self, index: int) -> None:
        self.active = index
        self.set_class(len(self.panes) > 1, "-split")
        for i, pane in enumerate(self.panes):
            pane.set_class(i == index, "-active")

    @on(DescendantFocus)
    def _focused(self, event: DescendantFocus) -> None:
        for i, pane in enumerate(self.panes):
            if i != self.active and pane in event.widget.ancestors:
                self._activate(i)
                self.post_message(self.Switched())

    def show(self) -> None:
        """This tab comes on screen."""
        self.add_class("-current")
        for pane in self.panes:
            pane.resume()
        self.pane.view.focus_main()

    def hide(self) -> None:
        """Another tab is on screen: nothing of this one is asked for."""
        self.remove_class("-current")
        for pane in self.panes:
            pane.suspend()
