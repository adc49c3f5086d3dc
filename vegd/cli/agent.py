"""``vegd agent``: the gateway beside an engine that runs on its own."""

from vegd.cli.options import CONFIG, RUNTIME_DIR, Config, LogFormat, LogLevel, RuntimeDir


def agent(
    config: Config = CONFIG,
    runtime_dir: RuntimeDir = RUNTIME_DIR,
    log_level: LogLevel = "info",
    log_format: LogFormat = "auto",
) -> None:
    """Run the agent only; the BFD engine runs on its own (vegd bfd).

    It can be stopped, restarted and upgraded with the sessions Up: the engine keeps them.
    """
    from vegd.cli.daemon import serve  # noqa: PLC0415 - --help stays quick

    serve(config, runtime_dir, (log_level, log_format), with_engine=False)
