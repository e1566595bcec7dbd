"""The application: which commands there are, in which order help shows them, and where each one lives.

Help texts stand here so that `--help` imports no command; a test holds that every entry loads.
"""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass

import click


@dataclass(frozen=True)
class Entry:
    """One command: the module that defines `command` (or the named attribute), and its line in the help."""

    module: str
    summary: str
    attribute: str = "command"


SECTIONS: dict[str, dict[str, Entry]] = {
    "Serve": {
        "serve": Entry("serve", "Run a graph in the foreground; Ctrl-C stops it."),
        "run": Entry("run", "Chat with a model that a graph serves, or ask once from stdin."),
        "demo": Entry("demo", "Run the KV-routing example with traffic and open the dashboard."),
        "tui": Entry("tui", "Open the dashboard."),
    },
    "Graphs": {
        "submit": Entry("submit", "Hand a graph to the daemon, or a new revision of it."),
        "plan": Entry("plan", "Show what a submit would change."),
        "apply": Entry("plan", "Carry out a plan.", "apply_command"),
        "graphs": Entry("ps", "List graphs.", "graphs_command"),
        "ps": Entry("ps", "List replicas: state, reason, pid."),
        "describe": Entry("describe", "Show a graph or a replica in full."),
        "scale": Entry("scale", "Set how many replicas services have."),
        "restart": Entry("lifecycle", "Restart a graph, a service or a replica.", "restart_command"),
        "drain": Entry(
            "lifecycle", "Replace a replica, or those of a service, once they have finished.", "drain_command"
        ),
        "stop": Entry("lifecycle", "Drain and stop graphs; they stay known.", "stop_command"),
        "start": Entry("lifecycle", "Start graphs that were stopped.", "start_command"),
        "rm": Entry("lifecycle", "Stop graphs and forget them.", "rm_command"),
        "rollback": Entry("rollout", "Go back to an earlier revision.", "rollback_command"),
        "rollout": Entry("rollout", "Status and history of a graph's revisions."),
        "export": Entry("export", "Write a graph's manifests for Kubernetes."),
        "kubernetes": Entry("kubernetes", "A graph on a Kubernetes cluster: apply, status, logs, delete."),
        "wait": Entry("wait", "Wait until a graph is ready, stopped or gone."),
    },
    "Builds": {
        "build": Entry("build", "Make a build: sources, locked packages and configuration in one archive."),
        "builds": Entry("builds", "List, show, remove, export and import builds."),
        "containerize": Entry("containerize", "Make a container image of a build."),
        "push": Entry("containerize", "Push an image of a build.", "push_command"),
        "deploy": Entry("deploy", "Build a graph and run the build.", "deploy_command"),
        "deployment": Entry("deploy", "Create, show, list, update and delete deployments."),
        "get": Entry("builds", "Show a build as JSON or YAML, or its path.", "get_command"),
    },
    "Look": {
        "logs": Entry("logs", "Print or follow the logs of a graph, merged by time."),
        "events": Entry("events", "Print or follow what happened, by whom and why."),
        "why": Entry("why", "Explain a replica: placement, death, waiting, next retry."),
        "top": Entry("top", "Rates, latencies, queues, CPU and memory, live."),
        "metrics": Entry("metrics", "Metrics over time, or in Prometheus' format."),
        "kv": Entry("kv", "KV routing: hit rates, load per worker, latest decisions."),
        "record": Entry("record", "Record a graph for `dynamo-tui --replay`."),
        "gpus": Entry("gpus", "GPUs: who claims, who holds, what is free."),
    },
    "Control plane": {
        "daemon": Entry("daemon", "Start, stop and inspect the local daemon."),
        "config": Entry("config", "Contexts: which daemon commands talk to."),
        "env": Entry("env", "Versions and the machine, for bug reports."),
        "completion": Entry("completion", "Print the completion script of a shell."),
    },
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are run, and not before."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click calls it by name
        return [name for section in SECTIONS.values() for name in section]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        for section in SECTIONS.values():
            if entry := section.get(cmd_name):
                _import_msgspec()
                module = importlib.import_module(f"dynamo_tui.cli.commands.{entry.module}")
                found: click.Command = getattr(module, entry.attribute)
                return found
        return None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        known = self.list_commands(ctx)
        if args and args[0] not in known and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], known, 1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; `{ctx.command_path} --help` lists them"
            raise click.UsageError(f"there is no command {args[0]!r}{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(len(name) for name in self.list_commands(ctx))
        for title, section in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(width), entry.summary) for name, entry in section.items()])


def _import_msgspec() -> None:
    """Import msgspec without typing_extensions, which it takes when it is there and does not need on our Pythons.

    That import alone takes 20 ms, a seventh of what `dynamoctl ps` may take.
    """
    if "msgspec" in sys.modules or "typing_extensions" in sys.modules:
        return
    sys.modules["typing_extensions"] = None  # type: ignore[assignment]
    try:
        importlib.import_module("msgspec")
    finally:
        del sys.modules["typing_extensions"]


def _print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from importlib.metadata import version

        click.echo(f"{ctx.info_name} {version('dynamod')}")
        ctx.exit()


application = LazyGroup(
    name="dynamoctl",
    help="Run inference graphs, and see what they do.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    params=[
        click.Option(
            ["--version"],
            is_flag=True,
            expose_value=False,
            is_eager=True,
            callback=_print_version,
            help="Print the version and exit.",
        )
    ],
)
