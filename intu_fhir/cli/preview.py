"""``intu-fhir preview``."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import click
import orjson

from intu_fhir.app.previewing import Preview, preview_files, preview_study, release_taken
from intu_fhir.app.wiring import App, open_app
from intu_fhir.cli.auditing import tell_audit
from intu_fhir.cli.program import Program, command, console, json_option, print_json, say
from intu_fhir.cli.text import as_json, clean
from intu_fhir.cli.uid import UID_OR_PATH, refuse_study
from intu_fhir.db.resources import VALID
from intu_fhir.mappings import Release
from intu_fhir.model.audit import Action
from intu_fhir.model.finding import beside
from intu_fhir.model.uid import is_uid
from intu_fhir.observe.logging import configure_logging

_SEVERITY_STYLES = {"error": "bold red", "warning": "yellow"}


@command(
    "preview",
    "intu-fhir preview study/ --release r5",
    "intu-fhir preview 1.2.840.113619.2.1.1 --mapping new_mapping.yaml --diff",
)
@click.argument("targets", nargs=-1, required=True, type=UID_OR_PATH, metavar="UID|PATH...")
@click.option(
    "--release",
    type=click.Choice(["r4", "r5"]),
    metavar="RELEASE",
    help="FHIR release: r4 or r5. Default: what all destinations take, r4 where they differ.",
)
@click.option(
    "--mapping",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Try this mapping instead of the channel's.",
)
@click.option("--diff", is_flag=True, help="Show what changes against what was built last.")
@json_option()
@click.pass_context
def preview_command(
    ctx: click.Context,
    program: Program,
    wants_json: bool,
    targets: tuple[str, ...],
    release: Release | None,
    mapping: Path | None,
    diff: bool,
) -> None:
    """Show the ImagingStudy that would be published.

    Of one staged study by its Study Instance UID, or of DICOM files, folders and archives that
    need not be staged. The resource goes to standard output, its findings to standard error.
    Nothing is sent. Ends with 1 where a resource is not valid.
    """
    configure_logging(level="WARNING")
    app = open_app(program.staging())
    try:
        wanted = release or release_taken(app.configuration)
        previews = _previews(app, targets, wanted, mapping)
    finally:
        app.close()
    if wants_json:
        print_json([_as_json(preview) for preview in previews])
    else:
        for preview in previews:
            _show(preview, diff=diff)
    ctx.exit(0 if all(preview.built.state == VALID for preview in previews) else 1)


def _previews(
    app: App, targets: tuple[str, ...], release: Release, mapping: Path | None
) -> list[Preview]:
    uids = [target for target in targets if is_uid(target) and not Path(target).exists()]
    paths = [Path(target) for target in targets if target not in uids]
    for path in paths:
        if not path.exists():
            raise click.BadParameter(
                f"{clean(path)} is neither a UID nor a path that exists", param_hint="UID|PATH"
            )
    found = [_staged(app, uid, release, mapping) for uid in uids]
    return found + (preview_files(app, paths, release=release, mapping=mapping) if paths else [])


def _staged(app: App, uid: str, release: Release, mapping: Path | None) -> Preview:
    preview = preview_study(app, uid, release=release, mapping=mapping)
    if preview is None:
        with app.database.read() as connection:
            refuse_study(connection, uid, "UID|PATH")
    tell_audit(app.database, Action.VIEWED, study=uid, reason="preview")
    return preview


def _as_json(preview: Preview) -> dict[str, Any]:
    return {
        "study_instance_uid": preview.study_instance_uid,
        "state": preview.built.state,
        "resource": preview.built.resource,
        "findings": [finding.as_dict() for finding in preview.built.findings],
        "published": preview.published,
    }


def _show(preview: Preview, *, diff: bool) -> None:
    if diff:
        _show_difference(preview)
    elif preview.built.resource is not None:
        click.echo(as_json(preview.built.resource))
    say(f"{preview.study_instance_uid}: {preview.built.state}", stderr=True)
    screen = console(stderr=True)
    for finding in preview.built.findings:
        where = " ".join(part for part in (finding.level, finding.attribute) if part)
        message = beside(finding.message, finding.attribute)
        screen.print(
            clean(f"  {finding.severity} {finding.code} at {where}: {message}"),
            style=_SEVERITY_STYLES.get(finding.severity),
        )


def _show_difference(preview: Preview) -> None:
    if preview.published is None:
        say("Nothing was built for this release yet; all of it is new.", stderr=True)
    before, after = _lines(preview.published), _lines(preview.built.resource)
    lines = list(difflib.unified_diff(before, after, "built last", "preview", lineterm="", n=3))
    screen = console()
    for line in lines:
        style = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1])
        screen.print(clean(line), style=style)
    if not lines:
        say("No difference.", stderr=True)


def _lines(resource: dict[str, Any] | None) -> list[str]:
    """Return a resource as sorted lines, so that only content makes a difference."""
    if resource is None:
        return []
    options = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS
    return orjson.dumps(resource, option=options).decode().splitlines()
