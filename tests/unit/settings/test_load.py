"""Loading a configuration folder: what works as it stands, and what a mistake looks like."""

from pathlib import Path

import pytest
import sqlalchemy as sa

from intu_fhir.errors import ConfigurationError
from intu_fhir.settings.load import load_configuration
from intu_fhir.settings.mistakes import each_mistake
from intu_fhir.settings.schema import Configuration, DicomDestination, FhirDestination
from intu_fhir.settings.starter import write_starter

SITE = """\
database: sqlite:///data/staging.db
files: data/files
destinations:
  ehr_fhir:
    type: fhir
    base_url: https://ehr.example.org/fhir
    release: r4
    auth: {type: smart_backend, token_url: https://x/t, client_id: c, private_key_file: k.pem,
      kid: 1a}
    subject: {strategy: search}
  pacs_archive:
    type: dicom
    host: pacs.example.org
    port: 11112
    ae_title: INTU_SCU
    called_ae_title: PACS_SCP
    tls: {ca_file: ca.crt, cert_file: c.crt, key_file: c.key}
    max_associations: 2
"""
CHANNEL = """\
id: radiology-ingest
enabled: true
group: imaging
source:
  type: dicom
  port: 4104
  ae_title: INTU_RAD                          # default INTU_SCP
  calling_ae_titles: [CT_SCANNER_1, MR_SCANNER_2, US_SCANNER_1]   # omitted = all callers
  tls: {cert_file: ./certs/dicom-server.crt, key_file: ./certs/dicom-server.key}
transformer: dicom_to_fhir.py
mapping: imaging_study.yaml
settle: {quiet_seconds: 30}
destinations: [pacs_archive, ehr_fhir]
"""
MINIMAL = "id: small\nsource: {type: dicom, port: 4105}\n"


def _site(folder: Path, site: str = "{}\n", **channels: str) -> Path:
    """Write a configuration; channels are given by folder name."""
    (folder / "intu.yaml").write_text(site)
    for name, text in channels.items():
        place = folder / "channels" / name
        place.mkdir(parents=True)
        (place / "channel.yaml").write_text(text)
    return folder


def _mistakes(folder: Path, environment: dict[str, str] | None = None) -> list[str]:
    """Return every mistake as ``line: key: message`` without the folder."""
    with pytest.raises(ConfigurationError) as caught:
        load_configuration(folder, environment or {})
    return [str(error).replace(f"{folder}/", "") for error in each_mistake(caught.value)]


def _only_mistake(folder: Path, environment: dict[str, str] | None = None) -> str:
    mistakes = _mistakes(folder, environment)
    assert len(mistakes) == 1, mistakes
    return mistakes[0]


def _touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


@pytest.fixture
def full(tmp_path: Path) -> Path:
    """Give the configuration that the documentation shows, with the files it names."""
    _site(tmp_path, SITE, radiology=CHANNEL)
    _touch(tmp_path, "k.pem", "ca.crt", "c.crt", "c.key")
    _touch(
        tmp_path / "channels/radiology",
        "certs/dicom-server.crt",
        "certs/dicom-server.key",
        "dicom_to_fhir.py",
        "imaging_study.yaml",
    )
    return tmp_path


class TestGoodConfigurations:
    def test_the_documented_files_load_as_they_stand(self, full: Path) -> None:
        """The documented root and channel file mean what the documentation says."""
        configuration = load_configuration(full)
        (channel,) = configuration.channels
        assert channel.source.port == 4104
        assert channel.source.calling_ae_titles == ("CT_SCANNER_1", "MR_SCANNER_2", "US_SCANNER_1")
        assert channel.destinations == ("pacs_archive", "ehr_fhir")
        pacs, ehr = (configuration.site.destinations[name] for name in channel.destinations)
        assert isinstance(pacs, DicomDestination)
        assert isinstance(ehr, FhirDestination)
        assert pacs.max_associations == 2

    def test_paths_are_relative_to_their_own_file(self, full: Path) -> None:
        """Channel paths start at the channel's folder, site paths at intu.yaml."""
        configuration = load_configuration(full / "intu.yaml")
        (channel,) = configuration.channels
        assert channel.source.tls is not None
        assert channel.source.tls.cert_file == full / "channels/radiology/certs/dicom-server.crt"
        assert channel.mapping == full / "channels/radiology/imaging_study.yaml"
        assert configuration.folder == full
        assert configuration.site.files == full / "data/files"
        assert configuration.site.database == f"sqlite:///{full}/data/staging.db"
        pacs = configuration.site.destinations["pacs_archive"]
        assert isinstance(pacs, DicomDestination)
        assert pacs.tls is not None
        assert pacs.tls.ca_file == full / "ca.crt"

    def test_relative_folder(self, full: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The folder itself may be given relative to where one stands."""
        monkeypatch.chdir(full.parent)
        assert load_configuration(Path(full.name)).folder == full

    def test_absent_keys(self, tmp_path: Path) -> None:
        """No AE title is INTU_SCP, no list of callers is everyone, no TLS is plain."""
        (channel,) = load_configuration(_site(tmp_path, small=MINIMAL)).channels
        assert channel.source.ae_title == "INTU_SCP"
        assert channel.source.calling_ae_titles is None
        assert channel.source.tls is None
        assert channel.enabled
        assert channel.destinations == ()

    def test_no_channel_is_fine(self, tmp_path: Path) -> None:
        """A site without channels loads: it may only import."""
        assert load_configuration(_site(tmp_path)).channels == ()

    @pytest.mark.parametrize(
        "url", ["postgresql+psycopg://u@h/n", "postgresql://u@h/n", "sqlite:////var/x.db"]
    )
    def test_absolute_databases_stay(self, tmp_path: Path, url: str) -> None:
        """PostgreSQL URLs and absolute SQLite files are taken as written."""
        assert load_configuration(_site(tmp_path, f"database: {url}\n")).site.database == url

    def test_a_link_to_a_secret_stays_a_link(self, full: Path) -> None:
        """Mounted secrets are links that are exchanged; the link is kept, not its target."""
        (full / "k.pem").unlink()
        (full / "real.pem").touch()
        (full / "k.pem").symlink_to("real.pem")
        destination = load_configuration(full).site.destinations["ehr_fhir"]
        assert "real.pem" not in repr(destination)

    def test_starter_loads(self, tmp_path: Path) -> None:
        """What init writes is good as it stands."""
        started = write_starter(tmp_path / "new")
        assert len(started.written) == 2
        configuration = load_configuration(tmp_path / "new")
        assert [channel.id for channel in configuration.channels] == ["radiology-ingest"]

    def test_starter_with_comments_removed_loads(self, tmp_path: Path) -> None:
        """The commented destinations of the starter are good too once uncommented."""
        write_starter(tmp_path)
        site = tmp_path / "intu.yaml"
        text = site.read_text().replace("destinations: {}", "destinations:")
        site.write_text(text.replace("\n#   ", "\n  "))
        channel = tmp_path / "channels/radiology-ingest/channel.yaml"
        text = channel.read_text().replace(": []", ": [pacs_archive, ehr_fhir]")
        text = text.replace("# calling", "calling").replace("# tls", "tls")
        channel.write_text(text)
        _touch(channel.parent / "certs", "dicom-server.crt", "dicom-server.key")
        configuration = load_configuration(tmp_path, {"EHR_TOKEN": "secret"})
        assert set(configuration.site.destinations) == {"ehr_fhir", "pacs_archive"}
        assert configuration.channels[0].source.calling_ae_titles == ("CT_SCANNER_1",)

    def test_starter_never_overwrites(self, tmp_path: Path) -> None:
        """Files that are there stay, and are named."""
        (tmp_path / "intu.yaml").write_text("mine")
        started = write_starter(tmp_path)
        assert (tmp_path / "intu.yaml").read_text() == "mine"
        assert started.kept == (tmp_path / "intu.yaml",)


class TestMistakes:
    """Each names file, line, key and what to write."""

    @pytest.mark.parametrize(
        ("site", "message"),
        [
            ("databse: x", "1: databse: unknown key; did you mean database? Allowed here: dat"),
            ("files: 3", "1: files: must be a path (it is 3)"),
            ("time_zone: Berlin", "1: time_zone: not an IANA time zone; write for example Europe"),
            ("receiver: {max_nesting: many}", "1: receiver.max_nesting: must be a whole number"),
            ("receiver: 5", "1: receiver: must be a section"),
            ("retry: {first_seconds: -1}", "1: retry.first_seconds: should be greater than 0"),
            ("database: mysql://x", "1: database: not a database we know; write sqlite:///"),
            ("database: 'sqlite:///:memory:'", "1: database: must outlive the process"),
            ("files: s3:/bucket/x", "1: files: not a bucket and prefix"),
            ("files: intu.yaml", "1: files: "),
            ("destinations: [a]", "1: destinations: must be a section"),
            ("destinations:\n a: {type: ftp}", "2: destinations.a: unknown type; use 'fhir', 'd"),
            ("destinations:\n a: {port: 1}", "2: destinations.a: missing; write for example `typ"),
            (
                "destinations:\n a:\n  type: fhir",
                "2: destinations.a.base_url: missing; write for example `base_url: https://ehr",
            ),
            (
                "destinations:\n a:\n  type: fhir\n  base_url: https://x\n  relase: r4",
                "5: destinations.a.relase: unknown key; did you mean release? Allowed here: after",
            ),
            (
                "destinations:\n a:\n  type: fhir\n  base_url: https://x\n"
                "  auth: {type: basic, username: x, password: y, pass: z}",
                "5: destinations.a.auth.pass: unknown key; did you mean password? Allowed here: p",
            ),
            (
                "destinations:\n a:\n  type: dicom\n  host: h\n  port: 1\n  called_ae_title: A\\B",
                "6: destinations.a.called_ae_title: an AE title has 1 to 16 printable ASCII",
            ),
            (
                "destinations:\n a:\n  type: dicom\n  host: h\n  port: 1\n  called_ae_title: A\n"
                "  tls: {ca_file: ./nowhere.crt}",
                "7: destinations.a.tls.ca_file: the file",
            ),
            (
                "destinations:\n 'a b': {type: fhir, base_url: 'https://x'}",
                "2: destinations.a b: must be 1 to 64 letters",
            ),
            (
                "destinations:\n a:\n  type: fhir\n  base_url: https://x\n"
                "  publish: {endpoint: true, wado_rs: 'https://pacs/dicom-web/'}",
                "5: destinations.a.publish.wado_rs: must be a URL without query",
            ),
            (
                "destinations:\n a:\n  type: fhir\n  base_url: https://x\n"
                "  publish: {wado_rs: 'https://pacs/dicom-web'}",
                "5: destinations.a.publish.wado_rs: nothing that is published names this address",
            ),
            (
                "web: {dicomweb: {allowed_origins: ['viewer.example.org']}}",
                "1: web.dicomweb.allowed_origins[0]: must be scheme and host alone",
            ),
            ("receiver: {idle_seconds: .inf}", "1: receiver.idle_seconds: must be a number"),
            (
                "receiver: {idle_seconds: 1.0e+12}",
                "1: receiver.idle_seconds: should be less than or equal to 31536000",
            ),
            (
                "destinations:\n a:\n  type: dicom\n  host: h\n  port: 1\n  called_ae_title: A\n"
                "  commitment: {max_instances: 40000}",
                "7: destinations.a.commitment.max_instances: should be less than or equal to 30000",
            ),
        ],
    )
    def test_in_the_site_file(self, tmp_path: Path, site: str, message: str) -> None:
        """A mistake in intu.yaml is one line with place and remedy."""
        assert _only_mistake(_site(tmp_path, site + "\n")).startswith(f"intu.yaml:{message}")

    @pytest.mark.parametrize(
        ("before", "after", "message"),
        [
            ("  port: 4104\n", "", "4: source.port: missing; write for example `port: 4104`"),
            ("port: 4104", "port: 0", "6: source.port: should be greater than or equal to 1"),
            ("port: 4104", "port: abc", "6: source.port: must be a whole number"),
            ("type: dicom", "type: hl7", "5: source.type: must be 'dicom' (it is 'hl7')"),
            ("ae_title: INTU_RAD", "ae_title: 12", "7: source.ae_title: must be text; put it in"),
            ("id: radiology-ingest\n", "", "1: id: missing; write for example `id: radiology-in"),
            ("enabled: true", "enabled: yes", None),
            ("enabled: true", "enabled: perhaps", "2: enabled: must be true or false"),
            ("group: imaging", "grup: imaging", "3: grup: unknown key; did you mean group?"),
            ("[CT_SCANNER_1, MR_SCANNER_2, US_SCANNER_1]", "[]", "8: source.calling_ae_titles: a"),
            ("[CT_SCANNER_1, MR", "[ABCDEFGHIJKLMNOPQ, MR", "8: source.calling_ae_titles[0]: an"),
            (
                "[CT_SCANNER_1, MR_SCANNER_2, US_SCANNER_1]",
                "CT_SCANNER_1",
                "8: source.calling_ae_titles: must be a list; write [ONE, TWO] (it is 'CT_SCA",
            ),
            ("dicom_to_fhir.py", "dicom_to_fhir.ts", "10: transformer: dicom_to_fhir.ts is writ"),
            ("dicom_to_fhir.py", "other.py", "10: transformer: the file "),
            ("mapping: imaging_study.yaml", "mapping: nope.yaml", "11: mapping: the file "),
            ("dicom-server.crt", "nope.crt", "9: source.tls.cert_file: the file "),
            ("pacs_archive, ehr_fhir", "ehr_fihr", "13: destinations[0]: ehr_fihr is not a dest"),
            ("pacs_archive, ehr_fhir", "ehr_fhir, ehr_fhir", "13: destinations[1]: ehr_fhir sta"),
            ("quiet_seconds: 30", "quiet_seconds: -3", "12: settle.quiet_seconds: should be gre"),
        ],
    )
    def test_in_a_channel_file(
        self, full: Path, before: str, after: str, message: str | None
    ) -> None:
        """A mistake in a channel file is one line with place and remedy."""
        file = full / "channels/radiology/channel.yaml"
        assert before in CHANNEL
        file.write_text(CHANNEL.replace(before, after))
        if message is None:
            load_configuration(full)
        else:
            assert _only_mistake(full).startswith(f"channels/radiology/channel.yaml:{message}")

    def test_all_mistakes_are_told_together(self, tmp_path: Path) -> None:
        """Mistakes of several files come at once, by file and line, one per line."""
        _site(tmp_path, "x: 1\ny: 2\n", b="id: b\n", a=MINIMAL.replace("4105", "x"))
        mistakes = _mistakes(tmp_path)
        assert [mistake.partition(": ")[0] for mistake in mistakes] == [
            "intu.yaml:1",
            "intu.yaml:2",
            "channels/a/channel.yaml:2",
            "channels/b/channel.yaml:1",
        ]
        with pytest.raises(ConfigurationError) as caught:
            load_configuration(tmp_path, {})
        assert str(caught.value).count("\n") == 3

    def test_a_port_used_twice(self, tmp_path: Path) -> None:
        """Two enabled channels on one port name each other."""
        _site(tmp_path, a=MINIMAL, b=MINIMAL.replace("small", "other"))
        mistake = _only_mistake(tmp_path)
        assert mistake.startswith("channels/b/channel.yaml:2: source.port: port 4105 is also used")
        assert "channel small" in mistake

    @pytest.mark.parametrize(
        ("one", "other", "collide"),
        [
            ("127.0.0.1", "127.0.0.2", False),
            ("127.0.0.1", "0.0.0.0", True),
            ("127.0.0.1", "127.0.0.1", True),
        ],
    )
    def test_ports_of_several_addresses(
        self, tmp_path: Path, one: str, other: str, collide: bool
    ) -> None:
        """The same port on two addresses is fine unless one of them is every address."""
        text = "id: {0}\nsource: {{type: dicom, port: 4105, host: {1}}}\n"
        _site(tmp_path, a=text.format("a", one), b=text.format("b", other))
        if collide:
            assert "also used" in _only_mistake(tmp_path)
        else:
            load_configuration(tmp_path)

    def test_a_disabled_channel_uses_no_port_and_no_files(self, tmp_path: Path) -> None:
        """A channel set aside may share a port and wait for its certificate."""
        off = MINIMAL.replace("small", "off") + "enabled: false\nmapping: later.yaml\n"
        assert len(load_configuration(_site(tmp_path, a=MINIMAL, b=off)).channels) == 2

    def test_one_id_twice(self, tmp_path: Path) -> None:
        """Two channels with one id name each other."""
        _site(tmp_path, a=MINIMAL, b=MINIMAL.replace("4105", "4106"))
        assert "small is also the id of" in _only_mistake(tmp_path)

    def test_no_configuration_here(self, tmp_path: Path) -> None:
        """Without intu.yaml the message says how to begin."""
        assert "run `intu-fhir init" in _only_mistake(tmp_path)

    @pytest.mark.parametrize("name", ["channels/a/channel.yml", "channels/a.yaml"])
    def test_a_file_that_would_be_ignored(self, tmp_path: Path, name: str) -> None:
        """A channel file under another name is a mistake, not silence."""
        _site(tmp_path)
        _touch(tmp_path, name)
        assert "would be ignored" in _only_mistake(tmp_path)


@pytest.mark.parametrize(
    "url",
    ["u:p@ss@h/x", "u:secret@h:port/x", "u@h:123456/x", "h:/x", "[::1/x"],
)
def test_an_address_of_a_database_that_none_can_have(tmp_path: Path, url: str) -> None:
    """It is a mistake that says how to write a password, and shows nothing of it."""
    mistake = _only_mistake(_site(tmp_path, f"database: 'postgresql+psycopg://{url}'\n"))
    assert mistake.startswith("intu.yaml:1: database: not an address of a database")
    assert "@ as %40" in mistake
    assert url not in mistake


@pytest.mark.parametrize(
    "url",
    ["/x", "h", "u@/x?host=/run/pg", "u@realm:p@h:5432/x", "u:p/:%40?#@[::1]:1/x?sslmode=require"],
)
def test_every_address_of_a_database_is_taken(tmp_path: Path, url: str) -> None:
    """Sockets, users with a realm, IPv6 and passwords of many characters, as SQLAlchemy does."""
    _site(tmp_path, f"database: 'postgresql://{url}'\n")
    assert load_configuration(tmp_path).site.database == f"postgresql://{url}"
    assert sa.make_url(f"postgresql://{url}")


@pytest.mark.parametrize(
    ("section", "key"),
    [
        ("retention: {after_days: true}", "retention.after_days"),
        ("receiver: {max_associations: true}", "receiver.max_associations"),
        ("lease_seconds: true", "lease_seconds"),
    ],
)
def test_true_is_no_number(tmp_path: Path, section: str, key: str) -> None:
    """It would count as 1, and files be removed after a day."""
    mistake = _only_mistake(_site(tmp_path, f"{section}\n"))
    assert f"{key}: must be a" in mistake
    assert "number" in mistake
    assert mistake.endswith("(it is 'true')")


def test_a_user_that_is_named_twice(tmp_path: Path) -> None:
    """Only one passcode of a user can count, so the other one is a mistake and not ignored."""
    users = "[{name: ct, passcode: a}, {name: mr}, {name: ct, passcode: b}]"
    _site(tmp_path, a=f"id: a\nsource: {{type: dicom, port: 4104, users: {users}}}\n")
    mistake = _only_mistake(tmp_path)
    assert "source.users[2].name: ct stands here twice; keep one" in mistake


class TestTheFileThatIsNamed:
    """``--config`` may name the file in place of its folder."""

    def test_one_of_another_name(self, tmp_path: Path) -> None:
        """Each process reads intu.yaml of the folder: another file would count for some of them."""
        _site(tmp_path).joinpath("test.yaml").write_text("{}\n")
        with pytest.raises(ConfigurationError, match="into a folder of its own"):
            load_configuration(tmp_path / "test.yaml")

    def test_a_link(self, tmp_path: Path) -> None:
        """A link, as Kubernetes mounts files, stands in its folder, not where it leads."""
        (tmp_path / "..2026").mkdir()
        (tmp_path / "site").mkdir()
        _site(tmp_path / "..2026")
        (tmp_path / "site" / "intu.yaml").symlink_to(tmp_path / "..2026" / "intu.yaml")
        loaded = [load_configuration(tmp_path / "site" / name) for name in ("", "intu.yaml")]
        assert [one.folder for one in loaded] == [tmp_path / "site"] * 2


class TestReferences:
    """Secrets come from elsewhere and show up nowhere."""

    def test_environment_and_file(self, tmp_path: Path) -> None:
        """Both kinds stand anywhere in a string; numbers are read from them too."""
        (tmp_path / "pw").write_text("s3cret\n")
        _site(
            tmp_path,
            "database: 'postgresql://u:${file:pw}@h/${env:NAME}'\n",
            a=("id: a\nsource: {type: dicom, port: '${env:PORT}', ae_title: 'A$${x}'}\n"),
        )
        configuration = load_configuration(tmp_path, {"NAME": "db", "PORT": "4106"})
        assert configuration.site.database == "postgresql://u:s3cret@h/db"
        assert configuration.channels[0].source.port == 4106
        assert configuration.channels[0].source.ae_title == "A${x}"

    @pytest.mark.parametrize(
        ("reference", "words"),
        [
            ("${env:NOT_SET}", "the environment variable NOT_SET is not set"),
            ("${file:not-there}", "cannot be read"),
            ("${vault:x}", "only ${env:NAME} and ${file:path} are known"),
            ("${env:}", "only ${env:NAME} and ${file:path} are known"),
        ],
    )
    def test_leading_nowhere(self, tmp_path: Path, reference: str, words: str) -> None:
        """A reference that leads nowhere is a mistake on its line."""
        mistake = _only_mistake(_site(tmp_path, f"\ndatabase: '{reference}'\n"))
        assert mistake.startswith("intu.yaml:2: database: ")
        assert words in mistake

    @pytest.mark.parametrize(
        "value", ["${env:EMPTY}", "${file:../../empty}", "${env:EMPTY}${env:EMPTY}"]
    )
    def test_leading_to_nothing(self, tmp_path: Path, value: str) -> None:
        """A value that is empty once its references are followed is a mistake, no empty secret."""
        (tmp_path / "empty").write_text("\n")
        channel = "id: a\nsource:\n  type: dicom\n  port: 4104\n  users:\n"
        _site(tmp_path, a=f"{channel}    - {{name: ct, passcode: '{value}'}}\n")
        mistake = _only_mistake(tmp_path, {"EMPTY": ""})
        assert mistake.startswith("channels/a/channel.yaml:6: source.users[0].passcode: ")
        assert f"{value} is empty; give it a value, or remove the key" in mistake

    def test_the_last_line_break_of_a_variable(self, tmp_path: Path) -> None:
        """A variable that was made of a file, as Kubernetes does, loses its last line break."""
        _site(tmp_path, "time_zone: '${env:ZONE}'\n")
        zone = "Europe/Berlin"
        assert load_configuration(tmp_path, {"ZONE": f"{zone}\r\n"}).site.time_zone == zone

    def test_a_variable_that_is_no_text(self, tmp_path: Path) -> None:
        """A variable that is not UTF-8 is a mistake as a file is, and is not shown."""
        _site(tmp_path, "database: 'postgresql://u:${env:PW}@h/x'\n")
        mistake = _only_mistake(tmp_path, {"PW": "p\udce4ss"})
        assert "the environment variable PW is not UTF-8 text" in mistake

    def test_secrets_that_are_not_needed(self, tmp_path: Path) -> None:
        """What is named as not needed may lead nowhere; all else may not."""
        site = (
            "database: '%s'\ndestinations: {a: {type: fhir, base_url: '%s', release: r4, "
            "auth: {type: bearer, token: '${env:NO}'}}}\n"
        )
        without = frozenset({"destinations"})
        _site(tmp_path, site % ("sqlite:///x.db", "https://x"))
        assert load_configuration(tmp_path, {}, without=without).site.destinations["a"]
        with pytest.raises(ConfigurationError, match="variable NO is not set"):
            load_configuration(tmp_path, {})
        for place in (("${env:NO}", "https://x"), ("sqlite:///x.db", "${env:NO}")):
            (tmp_path / "intu.yaml").write_text(site % place)
            with pytest.raises(ConfigurationError, match="variable NO is not set"):
                load_configuration(tmp_path, {}, without=without)

    def test_a_resolved_value_is_never_shown(self, tmp_path: Path) -> None:
        """A secret in a wrong place is not quoted in the message."""
        _site(tmp_path, "time_zone: ${env:SECRET}\n")
        assert "hunter2" not in _only_mistake(tmp_path, {"SECRET": "hunter2"})

    def test_a_secret_is_never_shown(self, tmp_path: Path) -> None:
        """A wrong value of a secret key is not quoted, and repr hides the right one."""
        auth = "destinations:\n a:\n  type: fhir\n  base_url: https://x\n  auth: {type: %s}\n"
        _site(tmp_path, auth % "basic, username: u, password: 4711")
        assert "4711" not in _only_mistake(tmp_path)
        for token in ("two words", "ends\\n", "schlüssel", ""):
            (tmp_path / "intu.yaml").write_text(auth % f'bearer, token: "{token}"')
            mistake = _only_mistake(tmp_path)
            assert "token: must be one word of ASCII letters, digits and signs" in mistake
            assert not token or token not in mistake
        (tmp_path / "intu.yaml").write_text("object_store: {secret_access_key: 4711}\n")
        assert "4711" not in _only_mistake(tmp_path)
        (tmp_path / "intu.yaml").write_text("tracing: {headers: {key: 4711}}\n")
        assert "4711" not in _only_mistake(tmp_path)
        (tmp_path / "intu.yaml").write_text(auth % "bearer, token: hunter2")
        assert "hunter2" not in repr(load_configuration(tmp_path))


def test_site_type(full: Path) -> None:
    """The result is the frozen configuration."""
    assert isinstance(load_configuration(full), Configuration)
