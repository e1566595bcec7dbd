"""The palette: every key of the page and every `:` command, found by typing."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, cast

from textual.app import App
from textual.command import DiscoveryHit, Hit, Hits, Provider
from textual.types import IgnoreReturnCallbackType

from dynamo_tui.tui.commands import COMMANDS, run
from dynamo_tui.tui.screens.base import View

if TYPE_CHECKING:
    from dynamo_tui.tui.app import Dashboard


class Actions(Provider):
    """What can be done here."""

    def _offers(self) -> Iterator[tuple[str, str, IgnoreReturnCallbackType]]:
        app = cast("Dashboard", self.app)
        seen: set[str] = set()
        for active in self.screen.active_bindings.values():
            binding = active.binding
            # Moving about in a table needs no palette.
            named = bool(binding.description) and not binding.system and isinstance(active.node, (View, App))
            if named and active.enabled and binding.action not in seen:
                seen.add(binding.action)
                key = app.get_key_display(binding)
                action = partial(app.run_action, binding.action, active.node)
                yield binding.description, f"key {key}", action
        for command in COMMANDS.values():
            takes = command.usage.split()[1:]
            if not takes or takes[0].startswith("["):
                yield f":{command.name}", command.summary, partial(run, app, command.name)
            else:
                yield f":{command.name}", command.summary, partial(app.action_command, f"{command.name} ")

    async def discover(self) -> Hits:
        for title, hint, action in self._offers():
            yield DiscoveryHit(title, action, help=hint)

    async def search(self, query: str) -> Hits:
        matcher = self.matcher(query)
        for title, hint, action in self._offers():
            score = max(matcher.match(title), matcher.match(hint) * 0.8)
            if score > 0:
                yield Hit(score, matcher.highlight(title), action, help=hint)
