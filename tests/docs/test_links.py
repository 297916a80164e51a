"""What the pages point at is there: files, headings, commands, options, make targets."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import click
import pytest

from intu_fhir.cli.main import COMMANDS, cli
from tests.docs.commands import Call, calls, complaint
from tests.docs.pages import REPOSITORY, anchors, blocks, links, name, pages, prose, read

PAGES = pytest.mark.parametrize("page", pages(), ids=name)
_FROM_AN_INDEX = re.compile(r"""pip install [^`\n]*?['"]?intu[-_]fhir\b(?!/)[^`\n]*""")
_EXTRA = re.compile(r"""(?:pip install [^`\n]*?'\.\[|install\(["'])([a-z0-9]+)""")
_MAKE = re.compile(r"(?:^|`)make ([a-z-]+)\b", re.MULTILINE)


@PAGES
def test_links_lead_to_something(page: Path) -> None:
    """Every relative link leads to a file, and its anchor to a heading of that file."""
    assert [link for link in links(read(page)) if not _leads_somewhere(page, link)] == []


def _leads_somewhere(page: Path, link: str) -> bool:
    if re.match(r"[a-z]+:", link):
        return True
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    if not target.exists() or not target.is_relative_to(REPOSITORY):
        return False
    return not anchor or (target.suffix == ".md" and anchor in anchors(read(target)))


@PAGES
def test_commands_can_be_typed(page: Path) -> None:
    """Every `intu-fhir ...` that a page shows is a command with options that exist."""
    wrong = {" ".join(call.arguments): complaint(cli, call) for call in calls(read(page))}
    assert {call: why for call, why in wrong.items() if why} == {}


@PAGES
def test_make_targets_exist(page: Path) -> None:
    """Every `make ...` that a page shows is a target of the Makefile."""
    text = read(page)
    shown = {target for block in blocks(text) for target in _MAKE.findall(block.text)}
    shown |= set(re.findall(r"`make ([a-z-]+)", prose(text)))
    targets = re.findall(r"^([a-z-]+):", read(REPOSITORY / "Makefile"), re.MULTILINE)
    assert shown - set(targets) == set()


def test_every_page_can_be_reached() -> None:
    """From the README or the index of the docs, links lead to every page."""
    waiting = [REPOSITORY / "README.md", REPOSITORY / "docs" / "index.md"]
    reached: set[Path] = set()
    while waiting:
        page = waiting.pop()
        if page in reached:
            continue
        reached.add(page)
        for link in links(read(page)):
            target = (page.parent / link.partition("#")[0]).resolve()
            if target.suffix == ".md" and target.is_file():
                waiting.append(target)
    assert [name(page) for page in pages() if page not in reached] == []


def test_every_command_is_shown_somewhere() -> None:
    """Each command stands at least once on a page that a person wrote."""
    written = [page for page in pages() if "reference" not in page.parts]
    shown = {call.arguments[:1] for page in written for call in calls(read(page))}
    assert [command for command in COMMANDS if (command,) not in shown] == []


@pytest.mark.parametrize(
    "call",
    [
        ["studyes"],
        ["studies", "--patientid", "1"],
        ["studies", "--limit", "many"],
        ["deliveries", "--state", "lost"],
        ["study"],
        ["study", "1.2", "1.3"],
        ["holds", "free"],
        ["db", "upgrade", "--force"],
    ],
    ids=" ".join,
)
def test_a_wrong_call_is_found(call: list[str]) -> None:
    """A command, option, value or argument that does not exist is complained of."""
    assert complaint(cli, Call(tuple(call)))


def test_calls_are_found_wherever_they_stand() -> None:
    """Code spans, scripts, continued lines, units of systemd and output are all looked at."""
    text = (
        "Type `intu-fhir check`.\n\n```bash\ncd site && intu-fhir sql 'SELECT 1; --' \\\n"
        "  --format csv > out.csv\n.venv/bin/intu-fhir demo | head\n```\n\n"
        "```ini\nExecStart=/opt/intu/bin/intu-fhir serve\n```\n\n"
        "```text\nintu-fhir: wrong; run `intu-fhir db upgrade`\n```\n"
    )
    assert sorted(call.arguments for call in calls(text)) == [
        ("check",),
        ("db", "upgrade"),
        ("demo",),
        ("serve",),
        ("sql", "SELECT 1; --", "--format", "csv"),
    ]


def test_a_name_in_a_sentence_is_no_call() -> None:
    """In a sentence `study` alone names the command; in a script its UID would be missing."""
    assert not complaint(cli, Call(("study",), spoken=True))
    assert complaint(cli, Call(("study", "--jsn"), spoken=True))
    assert complaint(cli, Call(("study",)))


def test_commands_load() -> None:
    """Every command of the table can be loaded, so that no call goes unjudged."""
    ctx = click.Context(cli)
    assert [command for command in COMMANDS if cli.get_command(ctx, command) is None] == []


def test_what_is_installed_besides_comes_with_the_checkout() -> None:
    """No page and no message asks an index for this package; each extra that one names is there."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    texts = {path: read(path) for path in [*pages(), *(REPOSITORY / "intu_fhir").rglob("*.py")]}
    asked = {name(path): _FROM_AN_INDEX.findall(text) for path, text in texts.items()}
    assert {page: found for page, found in asked.items() if found} == {}
    extras = {extra for text in texts.values() for extra in _EXTRA.findall(text)}
    assert {"parquet", "s3", "transcode"} <= extras <= {*project["optional-dependencies"]}


def test_git_leaves_out_the_sites_that_pages_make() -> None:
    """A site that a page has made in the checkout is not committed by mistake: it has patients."""
    made = {
        call.arguments[1]
        for page in [REPOSITORY / "README.md", *(REPOSITORY / "docs" / "tutorials").glob("*.md")]
        for call in calls(read(page))
        if call.arguments[:1] == ("init",)
    }
    ignored = (REPOSITORY / ".gitignore").read_text().split()
    assert made
    assert {f"/{folder}/" for folder in made} <= {*ignored}
