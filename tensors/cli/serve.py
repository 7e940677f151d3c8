"""`tsr serve`."""

from __future__ import annotations

import click

from tensors.cli._app import App, json_option


@click.command()
@click.option("--host", metavar="ADDRESS", help="Address to bind; another than loopback needs an API key.")
@click.option("--port", type=click.IntRange(0, 65535), metavar="PORT", help="Port to bind; 0 takes a free one.")
@click.option("--model", "-m", metavar="NAME|FILE", help="Checkpoint to load.")
@click.option("--engine", metavar="FILE", help="The sd-server to use.")
@click.option("--threads", type=click.IntRange(0, 1024), metavar="N", help="CPU threads of the engine.")
@json_option
@click.pass_obj
def serve(
    app: App, host: str | None, port: int | None, model: str | None, engine: str | None, threads: int | None
) -> None:
    """Run the server.

    It runs until Ctrl-C; jobs that are not finished go on at the next start. With --json it prints one line
    once it answers: {"url": ...}.
    """
    import signal
    import sys

    # Also while it starts. uvicorn takes the signals over, and raises them again when it has shut down in good order.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit(0))
    from tensors.server.run import serve as run_server

    config = app.config.with_values(
        server__host=host, server__port=port, engine__model=model, engine__path=engine, engine__threads=threads
    )

    def ready(url: str) -> None:
        if app.json:
            app.data({"url": url})
        app.say(f"tsr serves {config.data_dir}    in a browser: {url}    API: {url}/docs    stop: Ctrl-C")

    run_server(config, ready)
