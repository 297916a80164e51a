"""The command line: ``intu-fhir COMMAND``.

Exit codes: 0 done, 1 something needs a person, 2 wrong use or wrong configuration.
"""

from __future__ import annotations

import importlib
import io
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from importlib.metadata import version
from typing import NoReturn

import click

from intu_fhir.cli.program import Program, config_option, examples
from intu_fhir.cli.text import clean
from intu_fhir.errors import ConfigurationError, IntuError
from intu_fhir.receive.lean import leave_out_decoders

DONE, NEEDS_A_PERSON, WRONG_USE, INTERRUPTED = 0, 1, 2, 130

COMMANDS: Mapping[str, tuple[str, str]] = {
    "init": ("init", "Write a commented starter configuration."),
    "check": ("check", "Check configuration, database, file store, ports and destinations."),
    "serve": ("serve", "Run everything of the configuration until SIGTERM."),
    "receive": ("serve", "Run only the receiving half."),
    "worker": ("serve", "Run only the working half: settle, build and deliver."),
    "web": ("serve", "Run only the web page."),
    "airflow-dags": (
        "airflow_dags",
        "Write the file of DAGs by which Apache Airflow does the work.",
    ),
    "users": ("users", "Name the people who may log in to the web page."),
    "tokens": ("tokens", "Give out and revoke tokens with which programs use the API."),
    "demo": ("demo", "Show the whole way with a stand-in EHR and PACS."),
    "import": ("import_files", "Stage files, folders, DICOMDIR media and zip archives."),
    "studies": ("studies", "List studies."),
    "study": ("study", "Show one study: timeline, series, versions, deliveries."),
    "deliveries": ("deliveries", "List what waits, what failed, what is dead, and why."),
    "destinations": (
        "destinations",
        "List destinations: whether they answer, what waits for them, how fast it goes.",
    ),
    "replay": ("replay", "Put deliveries and failed steps back."),
    "settle": ("settle", "Count a study as complete now."),
    "holds": ("holds", "List and release studies that wait for a person."),
    "quarantine": (
        "quarantine",
        "List, compare and remove objects that were kept but are not published.",
    ),
    "commitments": (
        "commitments",
        "List requests for storage commitment, and tell results again.",
    ),
    "audit": ("audit", "Show who did what, check that nothing of it was changed, export it."),
    "preview": ("preview", "Show the ImagingStudy that would be published."),
    "uploads": ("uploads", "Show and move files on their way to the object store."),
    "sql": ("sql", "Ask the staging database, read-only."),
    "prune": ("prune", "Remove the image files of old studies that were delivered."),
    "prune-headers": (
        "prune_headers",
        "Remove the complete headers of old instances from the database.",
    ),
    "prune-attempts": ("prune_attempts", "Remove old tries to deliver from the database."),
    "prune-audit": ("prune_audit", "Remove old events of the audit trail from the database."),
    "files": ("files", "Hold the file store against the database."),
    "backup": ("backup", "Copy database and files to FOLDER while the site runs."),
    "sizing": ("sizing", "Simulate how many machines a site needs, with your own figures."),
    "db": ("database", "Upgrade or downgrade the schema of the staging database."),
}
"""Module and summary by command; a module is loaded only when its command runs."""


class Commands(click.Group):
    """The commands of the table, loaded one by one so that starting stays quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load a command."""
        if cmd_name not in COMMANDS:
            return None
        if cmd_name == "receive":
            leave_out_decoders()
        module = importlib.import_module(f"intu_fhir.cli.{COMMANDS[cmd_name][0]}")
        found: click.Command = getattr(module, f"{cmd_name.replace('-', '_')}_command")
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a command; where a name is mistyped, say which ones are like it."""
        name = args[0]
        if name not in COMMANDS and (alike := get_close_matches(name, COMMANDS)):
            ctx.fail(f"No such command {clean(name)!r}. Did you mean {' or '.join(alike)}?")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without loading them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


@click.command(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=examples("intu-fhir init my-site && cd my-site", "intu-fhir check", "intu-fhir serve"),
)
@config_option()
@click.option("--debug", is_flag=True, help="Show where an error comes from.")
@click.version_option(version("intu-fhir"), prog_name="intu-fhir")
@click.pass_context
def cli(ctx: click.Context, debug: bool) -> None:
    """Receive DICOM images, publish studies as FHIR, keep the truth in SQL."""
    ctx.ensure_object(Program).debug = debug


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command and exit with its code."""
    require_checks()
    _fit_output()
    arguments = sys.argv[1:] if arguments is None else arguments
    sys.exit(run(arguments))


def run(arguments: Sequence[str]) -> int:
    """Run a command and return its exit code; the one place that catches everything."""
    debug = "--debug" in arguments
    try:
        result = cli.main(list(arguments), prog_name="intu-fhir", standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return _complain("stopped", INTERRUPTED, debug=False)
    except ConfigurationError as error:
        return _complain(str(error), WRONG_USE, debug)
    except IntuError as error:
        return _complain("\n  ".join([str(error), *error.notes]), NEEDS_A_PERSON, debug)
    except BrokenPipeError:
        # The reader, such as `head`, has what it wanted; nothing may be flushed at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except OSError as error:
        return _complain(_refused(error), NEEDS_A_PERSON, debug)
    except Exception as error:  # noqa: BLE001  (one of the three places that catch everything)
        message = f"unexpected {type(error).__name__}; run again with --debug and report it"
        return _complain(message, NEEDS_A_PERSON, debug)
    return result if isinstance(result, int) else DONE


def require_checks() -> None:
    """End where Python's -O leaves out what the program makes sure of as it goes."""
    if not __debug__:
        sys.exit(_complain("start it without -O, which leaves out its checks", WRONG_USE, False))


def _fit_output() -> None:
    """Write letters that the terminal lacks as escapes, and nothing where output is closed."""
    if sys.stdout is None:
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8")
    elif isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _refused(error: OSError) -> str:
    """Say what the system refused: a file that cannot be written, a disk that is full."""
    reason = error.strerror or f"unexpected {type(error).__name__}"
    return f"{reason}: {clean(error.filename)}" if error.filename else reason


def _complain(message: str, code: int, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    for line in message.splitlines():
        click.echo(f"intu-fhir: {line}", err=True)
    return code
