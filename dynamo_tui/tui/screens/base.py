"""What every page has in common: a place in the store, feeds that run while it is shown, and a filter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, cast

from textual.widget import Widget
from textual.worker import WorkType

from dynamo_tui.tui.connection import Connection
from dynamo_tui.tui.session import Session
from dynamo_tui.tui.store import GraphKey, Store, Topic

if TYPE_CHECKING:
    from dynamo_tui.tui.app import Dashboard

FEEDS = "feeds"

Feed = WorkType[None]
"""A coroutine function that runs while its page is shown; it is called only when its worker runs."""


class View(Widget):
    """A page. `listens` names the topics that it draws from."""

    DEFAULT_CSS = """
    View { layout: vertical; width: 1fr; height: 1fr; }
    """
    listens: ClassVar[frozenset[Topic]] = frozenset()
    filter_hint: ClassVar[str] = "words to match, !word to exclude, ~regular expression"

    def __init__(self) -> None:
        super().__init__()
        self.filter = ""
        self.is_shown = False
        self._session: Session | None = None

    # -- what a page says of itself -------------------------------------------------------------------------

    @property
    def crumbs(self) -> Sequence[str]:
        """The way to this page, outermost first."""
        return ()

    @property
    def identity(self) -> tuple[object, ...]:
        """What makes this page this one: two of one identity show the same thing."""
        return (type(self),)

    @property
    def graph_key(self) -> GraphKey | None:
        """The graph that this page is about: actions and number keys take it from here."""
        return None

    @property
    def service(self) -> str | None:
        """The service that is selected on this page."""
        return None

    @property
    def replica_id(self) -> str | None:
        """The replica that is selected on this page."""
        return None

    def feeds(self) -> Sequence[Feed]:
        """What has to run while this page is on screen."""
        return ()

    def update_view(self, changed: frozenset[Topic]) -> None:
        """Draw again what depends on these topics."""

    def apply_filter(self, text: str) -> None:
        """Show only what matches. Called at every letter."""

    def submit_filter(self, text: str) -> None:
        """The filter is complete."""

    # -- called by the pane ---------------------------------------------------------------------------------

    @property
    def dashboard(self) -> Dashboard:
        return cast("Dashboard", self.app)

    @property
    def session(self) -> Session:
        """What it shows: its pane gives it that, or the page that it is a part of."""
        if self._session is not None:
            return self._session
        return next(a.session for a in self.ancestors if isinstance(a, View))

    @session.setter
    def session(self, session: Session) -> None:
        self._session = session

    @property
    def store(self) -> Store:
        return self.session.store

    @property
    def connection(self) -> Connection:
        return self.session.connection

    def now(self) -> float:
        """The time that this page shows, seconds since the epoch."""
        return self.session.now()

    def shown(self) -> None:
        """The page is on screen now: start its feeds and bring it up to date."""
        if self.is_shown:
            return
        self.is_shown = True
        for feed in self.feeds():
            self.run_worker(feed, group=FEEDS, exit_on_error=True)
        self.update_view(frozenset(Topic))

    def hidden(self) -> None:
        """The page is covered: what is not shown is not asked for."""
        self.is_shown = False
        self.workers.cancel_node(self)

    def forget(self) -> None:
        """Drop what is held beside the store: the clock was set to another time."""

    def set_filter(self, text: str) -> None:
        self.filter = text
        self.apply_filter(text)

    def focus_main(self) -> None:
        """Put the keyboard where this page is driven from."""
        for widget in self.query("*"):
            if widget.can_focus and widget.display:
                self.screen.set_focus(widget)
                return
