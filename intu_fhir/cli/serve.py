"""``intu-fhir serve``, ``receive`` and ``worker``."""

from __future__ import annotations

import signal
import threading
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import TypeAlias

import click
import structlog

from intu_fhir.app.serving import ALL_ROLES, RECEIVE, WORK, Site
from intu_fhir.app.wiring import open_app
from intu_fhir.cli.program import Program, command
from intu_fhir.errors import ConfigurationError
from intu_fhir.observe.logging import configure_logging
from intu_fhir.settings.schema import Configuration

log = structlog.get_logger("intu_fhir.serve")

WEB = "web"
Watched: TypeAlias = tuple[str, int] | None

_LEVEL = click.Choice(["DEBUG", "INFO", "WARNING", "ERROR"], case_sensitive=False)

log_level_option = click.option(
    "--log-level",
    type=_LEVEL,
    metavar="LEVEL",
    default="INFO",
    show_default=True,
    help="DEBUG, INFO, WARNING or ERROR.",
)


@command("serve", "intu-fhir serve --config /etc/intu-fhir")
@log_level_option
@click.pass_context
def serve_command(ctx: click.Context, program: Program, log_level: str) -> None:
    """Run everything of the configuration until SIGTERM.

    Listens for every enabled channel, settles, builds and delivers; shows the web page at
    http://127.0.0.1:8104 unless the configuration names another place. SIGTERM or Ctrl-C stops
    it: objects in hand are finished, the end of each is logged. Ends with 1 where an object was
    cut off; its sender got no answer and will send it again.
    """
    ctx.exit(_run(program, ALL_ROLES | {WEB}, log_level))


def _address(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> Watched:
    """Read ``host:port``, or a port of this machine alone; IPv6 stands in brackets."""
    if value is None:
        return None
    host, _, port = value.rpartition(":")
    if not (port.isascii() and port.isdecimal() and 0 < int(port) < 65_536):
        raise click.BadParameter(f"{value} names no port; write for example 127.0.0.1:8105")
    return host.removeprefix("[").removesuffix("]") or "127.0.0.1", int(port)


watch_option = click.option(
    "--watch",
    callback=_address,
    metavar="ADDRESS",
    envvar="INTU_WATCH",
    help="Answer /healthz, /readyz and /metrics there, such as 127.0.0.1:8105. Also INTU_WATCH.",
)


@command("receive", "intu-fhir receive --watch 127.0.0.1:8105")
@log_level_option
@watch_option
@click.pass_context
def receive_command(ctx: click.Context, program: Program, log_level: str, watch: Watched) -> None:
    """Run only the receiving half.

    For several machines on one PostgreSQL database: receivers here, `worker` there.
    """
    ctx.exit(_run(program, {RECEIVE}, log_level, watch))


@command("worker", "intu-fhir worker --watch 127.0.0.1:8106")
@log_level_option
@watch_option
@click.pass_context
def worker_command(ctx: click.Context, program: Program, log_level: str, watch: Watched) -> None:
    """Run only the working half: settle, build and deliver.

    Any number of workers may share one database; none of them takes another's work.
    """
    ctx.exit(_run(program, {WORK}, log_level, watch))


def _run(program: Program, roles: Collection[str], log_level: str, watch: Watched = None) -> int:
    """Serve until a signal comes; return the exit code."""
    configuration = program.configuration()
    if RECEIVE in roles and not configuration.enabled_channels():
        raise ConfigurationError(
            "no channel is enabled, so there is nothing to receive; add "
            "channels/NAME/channel.yaml or run `intu-fhir worker`",
            file=str(configuration.folder),
        )
    if roles == {WEB} and not configuration.site.web.enabled:
        raise ConfigurationError(
            "the web page is switched off; set web.enabled: true", file=str(configuration.folder)
        )
    configure_logging(level=log_level.upper())
    stop = threading.Event()
    # Who watches is answered until the last object is finished: not ready, but alive.
    with _stopping(stop), ExitStack() as watching:
        site = Site(open_app(configuration), roles, log_level=log_level.upper())
        try:
            with _told_who_listens(configuration):
                site.start()
            watching.enter_context(_watch_page(site, watch))
            with _told_who_listens(configuration), _web_page(site, roles):
                log.info("ready")
                stop.wait()
                log.info("stopping")
        finally:
            reports = site.stop()
    return 1 if any(report.cut or report.stuck for report in reports) else 0


@contextmanager
def _told_who_listens(configuration: Configuration) -> Iterator[None]:
    """Say so where a port is taken by an intu_fhir: mostly the one that is running already."""
    try:
        yield
    except ConfigurationError as error:
        if error.key not in {"source.port", "web.port"} or not _listens(configuration, error.key):
            raise
        raise ConfigurationError(
            f"{error.reason}. An intu-fhir answers there: perhaps this site runs already; "
            "`intu-fhir check` says more",
            file=error.file,
            line=error.line,
            key=error.key,
        ) from error


def _listens(configuration: Configuration, key: str) -> bool:
    # Imported here, since a process that starts does without.
    from intu_fhir.check.ports import held_by_us, is_our_page

    if key == "web.port":
        return is_our_page(configuration.site.web)
    return any(held_by_us(channel.source) for channel in configuration.enabled_channels())


@contextmanager
def _web_page(site: Site, roles: Collection[str]) -> Iterator[None]:
    """Have the web page while the site runs, where it is wanted here."""
    configured = site.app.configuration.site.web
    if WEB not in roles or not configured.enabled:
        yield
        return
    # Imported here, since a process without it does without what it needs.
    from intu_fhir.web.running import WebPage

    page = WebPage(site.app, site.is_receiving if RECEIVE in roles else None)
    page.start()
    try:
        yield
    finally:
        page.stop()


@contextmanager
def _watch_page(site: Site, address: Watched) -> Iterator[None]:
    """Answer those who watch this process, where that is wanted."""
    if not address:
        yield
        return
    # Imported here, since a process that nobody watches does without.
    from intu_fhir.web.watching import WatchPage

    is_receiving = site.is_receiving if RECEIVE in site.roles else None
    page = WatchPage(site.app, *address, is_receiving, lambda: site.stopping)
    page.start()
    try:
        yield
    finally:
        page.stop()


@command("web", "intu-fhir web")
@log_level_option
@click.pass_context
def web_command(ctx: click.Context, program: Program, log_level: str) -> None:
    """Run only the web page.

    `serve` has it already. This is for several machines on one PostgreSQL database.
    """
    ctx.exit(_run(program, {WEB}, log_level))


@contextmanager
def _stopping(stop: threading.Event) -> Iterator[None]:
    """Let SIGTERM and SIGINT set ``stop``; a second SIGINT ends at once."""

    def on_signal(number: int, _frame: FrameType | None) -> None:
        if stop.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, on_signal) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


_SIGNALS = (signal.SIGTERM, signal.SIGINT)
