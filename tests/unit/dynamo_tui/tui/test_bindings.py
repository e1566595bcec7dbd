"""Every key of the dashboard is pressed by a test, and every page says how it is tested.

A new binding fails here until its id stands beside the test that presses one of its keys.
"""

from __future__ import annotations

import ast
import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from textual.binding import Binding
from textual.dom import DOMNode

import dynamo_tui.tui

HERE = Path(__file__).parent

PRESSED: dict[str, str] = {
    # places
    "test_dashboard.py::test_drills_from_graphs_to_a_graph_to_logs_and_back": "app.back graphs.logs table.open",
    "test_dashboard.py::test_streams_run_only_while_their_page_is_shown": "app.graphs app.logs graphs.kv",
    "test_dashboard.py::test_filter_narrows_and_escape_clears": "app.filter",
    "test_places.py::test_a_page_that_is_on_the_stack_comes_back": "app.graph app.kv",
    "test_places.py::test_two_pages_side_by_side": "app.events app.split app.other-pane app.close",
    "test_contexts.py::test_each_tab_keeps_its_context": "app.new-tab app.next-tab app.previous-tab",
    "test_contexts.py::test_the_switcher_opens_a_context_here_or_in_a_new_tab": (
        "app.contexts contexts.close contexts.tab"
    ),
    "test_log_selection.py::test_marked_graphs_are_merged_by_time_and_followed": "graphs.mark",
    "test_log_selection.py::test_marked_services_and_replicas_of_a_graph_are_one_log": "graph.mark logs.only",
    "test_log_selection.py::test_a_range_of_time_is_asked_of_the_daemon": "logs.range",
    "test_pages.py::test_gpus_show_foreign_processes_and_leaks": "app.gpus",
    "test_pages.py::test_builds_are_listed_shown_and_removed_when_nothing_needs_them": "app.builds builds.remove",
    "test_jump.py::test_a_letter_goes_to_the_row_under_it": "app.jump",
    "test_jump.py::test_escape_jumps_nowhere": "jump.leave",
    "test_jump.py::test_two_letters_where_there_are_many_and_backspace_starts_anew": "jump.forget",
    "test_keys.py::test_it_is_left_by_q_and_from_anywhere": "app.quit app.quit-anywhere",
    "test_keys.py::test_the_prompt_recalls_completes_and_gives_up": (
        "app.command prompt.older prompt.newer prompt.complete prompt.cancel"
    ),
    "test_changes.py::test_help_lists_bindings_and_commands": "app.keys report.close",
    # tables, logs, charts
    "test_keys.py::test_a_table_by_every_key": (
        "table.up table.down table.first table.last table.page-up table.page-down"
    ),
    "test_keys.py::test_a_log_by_every_key": (
        "log.up log.down log.first log.last log.page-up log.page-down log.half-up log.half-down"
    ),
    "test_log_keys.py::test_long_lines_are_scrolled_to_the_side": "log.left log.right",
    "test_keys.py::test_matches_forth_and_back": "logs.find logs.next logs.previous",
    "test_dashboard.py::test_logs_pause_find_mark_and_follow": (
        "logs.mark logs.follow logs.next-mark logs.error logs.wrap"
    ),
    "test_dashboard.py::test_log_filter_is_the_daemons": "logs.level",
    "test_dashboard.py::test_logs_are_saved_to_a_file": "logs.save",
    "test_log_keys.py::test_times_are_shown_once_and_turned_off": "logs.times",
    "test_log_keys.py::test_lines_and_the_screen_are_copied": "logs.copy logs.copy-screen",
    "test_log_keys.py::test_the_first_error_since_a_revision_is_fetched_and_shown": "logs.error-since",
    "test_pages.py::test_metrics_compare_zoom_and_cursor": (
        "app.metrics metrics.compare metrics.zoom-in metrics.replicas"
    ),
    "test_keys.py::test_the_chart_s_cursor_and_range": "metrics.cursor-left metrics.cursor-right metrics.zoom-out",
    "test_keys.py::test_the_router_page_by_every_key": "kv.zoom-in kv.zoom-out kv.kind kv.next kv.logs",
    "test_keys.py::test_the_graph_page_leads_on": "graph.switch graph.all graph.logs graph.kv",
    "test_keys.py::test_the_replica_page_leads_on": "replica.switch replica.logs",
    "test_pages.py::test_replica_page_explains_and_hides_secrets": "replica.env",
    "test_rate_history.py::test_the_replica_page_begins_with_what_is_retained": "replica.zoom-in replica.zoom-out",
    # time
    "test_time_travel.py::test_escape_and_t_go_back_to_live": "time.travel time.live",
    "test_time_travel.py::test_the_arrows_step_and_the_page_shows_what_was": (
        "time.back-60 time.on-10 time.back-600 time.on-600 time.on-60 time.start time.end"
    ),
    "test_time_travel.py::test_what_failed_is_found_from_the_time_bar": (
        "time.back-10 app.trouble-back app.trouble-on"
    ),
    "test_time_travel.py::test_a_key_of_the_bar_enters_the_past_and_a_command_names_a_time": (
        "app.back-10 app.on-10 app.back-60 app.on-60 app.back-600 app.on-600"
    ),
    # changes
    "test_changes.py::test_keys_change_the_graph_under_the_cursor": (
        "app.restart app.stop app.remove app.rollback confirm.yes confirm.enter"
    ),
    "test_changes.py::test_scale_asks_confirms_and_applies_the_plan": "app.scale confirm.no",
    "test_changes.py::test_a_replica_or_a_service_is_drained": "app.drain",
    "test_plans.py::test_a_confirmation_leads_to_the_whole_plan_which_can_be_applied": (
        "confirm.plan plan.switch plan.again plan.apply"
    ),
    "test_keys.py::test_the_builds_page_has_two_parts": "builds.switch",
    "test_jobs.py::test_builds_are_deployed_and_made_into_images": "builds.deploy builds.image",
    "test_jobs.py::test_a_build_that_fails_says_why": "builds.build",
    "test_jobs.py::test_a_command_runs_on_behind_other_pages_and_is_cancelled": "app.jobs jobs.cancel jobs.switch",
    "test_submit.py::test_a_build_is_submitted_from_its_page": "builds.submit",
    "test_submit.py::test_a_picked_module_is_inspected_overridden_and_planned": (
        "app.submit submit.clear submit.common-variable submit.config-key submit.driver submit.gpus submit.name "
        "submit.plan submit.replicas submit.variable"
    ),
    "test_submit.py::test_the_target_and_the_configuration_are_typed_with_completion": (
        "submit.config-file submit.switch submit.target submit.working-dir"
    ),
}
"""By test: the ids of the bindings whose keys it presses, and of whose effect it makes sure."""


def bindings() -> Iterator[tuple[type[DOMNode], Binding]]:
    """Those of every class of the dashboard."""
    for module in pkgutil.walk_packages(dynamo_tui.tui.__path__, "dynamo_tui.tui."):
        if module.name.endswith("__main__"):
            continue
        for found in vars(importlib.import_module(module.name)).values():
            if isinstance(found, type) and issubclass(found, DOMNode) and found.__module__ == module.name:
                for binding in found.__dict__.get("BINDINGS", ()):
                    assert isinstance(binding, Binding), f"{found.__name__}: {binding}"
                    yield found, binding


def source_of(test: str) -> str:
    """The text of a test with its parameters."""
    file, _, name = test.partition("::")
    text = (HERE / file).read_text(encoding="utf-8")
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name:
            first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            return "\n".join(text.split("\n")[first - 1 : node.end_lineno])
    pytest.fail(f"there is no test {test}")


def test_every_binding_has_an_id_and_a_test() -> None:
    by_id = {binding.id: (owner, binding) for owner, binding in bindings()}
    assert None not in by_id, f"a binding of {by_id[None][0].__name__} has no id: nobody can give it another key"
    tested = {id: test for test, ids in PRESSED.items() for id in ids.split()}
    assert set(by_id) - set(tested) == set(), "no test presses these"
    assert set(tested) - set(by_id) == set(), "there are no such bindings"


@pytest.mark.parametrize("test", PRESSED, ids=str)
def test_it_presses_the_keys_that_it_is_named_for(test: str) -> None:
    source = source_of(test)
    by_id = {binding.id: binding for _, binding in bindings()}
    for id in PRESSED[test].split():
        keys = by_id[id].key.split(",")
        assert any(f'"{key}"' in source for key in keys), f"{test} presses none of {keys} ({id})"
