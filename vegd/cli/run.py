"""``vegd run``: the gateway in one command."""

from vegd.cli.options import CONFIG, RUNTIME_DIR, Config, LogFormat, LogLevel, RuntimeDir


def run(
    config: Config = CONFIG,
    runtime_dir: RuntimeDir = RUNTIME_DIR,
    log_level: LogLevel = "info",
    log_format: LogFormat = "auto",
) -> None:
    """Run the gateway: the agent, and the BFD engine as its child.

    SIGTERM drains (AdminDown first, forwarding goes on), a second one ends at once. SIGHUP or a
    change of the file reloads the configuration without touching what did not change.
    """
    from vegd.cli.daemon import serve  # noqa: PLC0415 - --help stays quick

    serve(config, runtime_dir, (log_level, log_format), with_engine=True)
