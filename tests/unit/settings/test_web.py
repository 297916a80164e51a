"""W-01: a web page that would be unsafe is a mistake of the configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from intu_fhir.errors import ConfigurationError
from intu_fhir.settings.dicomweb import DicomWeb
from intu_fhir.settings.load import load_configuration
from intu_fhir.settings.web import Web
from intu_fhir.settings.web_checks import PAGES
from intu_fhir.web.pages.table import routes
from intu_fhir.web.running import require_people
from tests.support.certificates import Authority
from tests.support.site_folder import write_site

_PROXY = {"addresses": ["10.0.0.5"], "ends_tls": True}
_OIDC = {
    "issuer": "https://id.example.org",
    "client_id": "intu",
    "client_secret": "s",
    "redirect_url": "https://intu.example.org/login/oidc/return",
    "roles": {"viewer": ["radiology"]},
}


def _load(folder: Path, **web: Any) -> Web:
    write_site(folder, database="sqlite:///staging.db", port=4104, web=web)
    return load_configuration(folder).site.web


def _mistake(folder: Path, **web: Any) -> str:
    with pytest.raises(ConfigurationError) as error:
        _load(folder, **web)
    return str(error.value)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "intu.example.org"])
def test_beyond_loopback_nothing_starts_without_people_and_tls(tmp_path: Path, host: str) -> None:
    """An address that others can reach needs a login and TLS; both are told at once."""
    text = _mistake(tmp_path, host=host)
    assert "nobody would have to log in" in text
    assert "in the clear" in text


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.9", "::1", "localhost"])
def test_loopback_needs_neither(tmp_path: Path, host: str) -> None:
    """An address of this machine alone needs no login and no TLS."""
    assert _load(tmp_path, host=host).is_loopback


def test_people_without_tls_are_not_enough(tmp_path: Path) -> None:
    """A login over plain HTTP beyond loopback is refused."""
    text = _mistake(tmp_path, host="0.0.0.0", users_file="people")
    assert "in the clear" in text
    assert "nobody would have to log in" not in text


def test_tls_without_people_is_not_enough(tmp_path: Path, authority: Authority) -> None:
    """TLS beyond loopback without a login is refused."""
    pair = authority.issue("127.0.0.1")
    tls = {"cert_file": str(pair.cert_file), "key_file": str(pair.key_file)}
    text = _mistake(tmp_path, host="0.0.0.0", tls=tls)
    assert "nobody would have to log in" in text
    assert "in the clear" not in text


def test_a_proxy_has_to_say_that_it_ends_tls(tmp_path: Path) -> None:
    """A proxy in front counts as TLS only where the configuration says so in words."""
    people = {"host": "0.0.0.0", "users_file": "people"}
    assert "ends_tls" in _mistake(tmp_path, **people, trusted_proxy={"addresses": ["10.0.0.5"]})
    assert _load(tmp_path, **people, trusted_proxy=_PROXY).trusted_proxy


def test_a_proxy_that_names_nobody_is_no_login(tmp_path: Path) -> None:
    """A proxy without a header for people leaves the question who they are."""
    assert "nobody would have to log in" in _mistake(tmp_path, host="0.0.0.0", trusted_proxy=_PROXY)
    named = {**_PROXY, "user_header": "X-Forwarded-User", "roles": {"default": "viewer"}}
    assert _load(tmp_path, host="0.0.0.0", trusted_proxy=named).names_people


def test_a_name_for_others_needs_a_login(tmp_path: Path) -> None:
    """On loopback behind a proxy that is not told of, a public name alone is refused."""
    assert "allowed_hosts" in _mistake(tmp_path, allowed_hosts=["intu.example.org"])


def test_a_proxy_of_no_address_is_a_mistake(tmp_path: Path) -> None:
    """Without addresses everybody could claim to be the proxy."""
    proxy = {**_PROXY, "addresses": []}
    assert "addresses" in _mistake(tmp_path, users_file="people", trusted_proxy=proxy)


def test_an_identity_provider_needs_roles_and_tls(tmp_path: Path) -> None:
    """Groups have to have roles, and tokens do not come over plain HTTP."""
    assert "nobody would have a role" in _mistake(tmp_path, oidc={**_OIDC, "roles": {}})
    http = {**_OIDC, "issuer": "http://id.example.org"}
    assert "in the clear" in _mistake(tmp_path, oidc=http)


def test_a_short_secret_is_refused(tmp_path: Path) -> None:
    """What signs sessions has at least 32 characters, and is never shown."""
    text = _mistake(tmp_path, session_secret="hunter2-hunter2")
    assert "session_secret" in text
    assert "hunter2" not in text


def test_the_port_of_a_channel_is_taken(tmp_path: Path) -> None:
    """The page and a channel do not share a port."""
    assert "also used by channel radiology" in _mistake(tmp_path, port=4104)


def test_a_file_that_names_nobody_lets_nobody_in(tmp_path: Path) -> None:
    """Nothing starts where the file of people is empty, and the message says what to run."""
    web = _load(tmp_path, users_file="people")
    with pytest.raises(ConfigurationError, match="intu-fhir users add"):
        require_people(web)


def test_there_is_no_default_password(tmp_path: Path) -> None:
    """A page that is switched on as it comes has no account at all."""
    assert _load(tmp_path).users_file is None
    assert not _load(tmp_path).names_people


@pytest.mark.parametrize("path", ["/studies", "/api/dicom", "/Static"])
def test_dicomweb_does_not_stand_where_a_page_is(tmp_path: Path, path: str) -> None:
    """An address that the page has itself is a mistake."""
    assert "the page itself is there" in _mistake(tmp_path, dicomweb={"path": path})
    assert _load(tmp_path, dicomweb={"path": "/images/dicom-web"}).dicomweb.enabled


def test_every_page_is_known_by_its_first_part() -> None:
    """The first parts of the addresses of all pages are kept from other services."""
    own = {route.path.split("/")[1] for route in routes(Web(dicomweb=DicomWeb(enabled=False)))}
    assert own - {""} <= PAGES


def test_foreign_pages_read_images_only_where_people_log_in(tmp_path: Path) -> None:
    """Another site's pages may read DICOMweb where a login stands before it; local ones always."""
    foreign = {"allowed_origins": ["https://viewer.example.org"]}
    assert "could read every patient" in _mistake(tmp_path, dicomweb=foreign)
    assert _load(tmp_path, dicomweb=foreign, users_file="people")
    assert _load(tmp_path, dicomweb={"allowed_origins": ["http://localhost:3000"]})


@pytest.mark.parametrize(
    ("database", "reader", "said"),
    [
        ("sqlite:///staging.db", "postgresql://reader@db/intu", "knows no roles"),
        ("postgresql+psycopg://intu:a@db/intu", "postgresql://intu:b@db/intu", "itself has"),
        ("postgresql+psycopg://intu@db/intu", "mysql://reader@db/intu", "not a database"),
    ],
)
def test_a_reader_is_a_role_of_its_own_on_postgresql(
    tmp_path: Path, database: str, reader: str, said: str
) -> None:
    """SQL of the page is asked as a role that is not the program's; only PostgreSQL has roles."""
    write_site(tmp_path, database=database, port=4104, web={"sql": {"database": reader}})
    with pytest.raises(ConfigurationError, match=said):
        load_configuration(tmp_path)
