"""What is wrong with a configuration, in words that say where and what to write instead."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from intu_fhir.errors import ConfigurationError
from intu_fhir.settings.yaml_lines import Document, Location

EXAMPLES = {
    "id": "radiology-ingest",
    "type": "dicom",
    "source": "{type: dicom, port: 4104}",
    "port": "4104",
    "host": "pacs.example.org",
    "called_ae_title": "PACS_SCP",
    "base_url": "https://ehr.example.org/fhir",
    "cert_file": "./certs/dicom-server.crt",
    "key_file": "./certs/dicom-server.key",
    "private_key_file": "./keys/client.pem",
    "password": "${env:NAME_OF_A_VARIABLE}",
    "token": "${env:NAME_OF_A_VARIABLE}",
    "client_secret": "${env:NAME_OF_A_VARIABLE}",
    "token_url": "https://ehr.example.org/token",
}
"""What may stand at a key that is missing."""

SECRET_KEYS = frozenset(
    {
        "client_secret",
        "database",
        "headers",
        "passcode",
        "password",
        "secret_access_key",
        "session_secret",
        "token",
    }
)
"""No value at or below these is quoted."""

_REMEDIES = {
    "string_type": "must be text; put it in quotes",
    "int_type": "must be a whole number without quotes",
    "int_parsing": "must be a whole number without quotes",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "tuple_type": "must be a list; write [ONE, TWO]",
    "path_type": "must be a path",
    "model_type": "must be a section with keys of its own",
    "model_attributes_type": "must be a section with keys of its own",
    "dict_type": "must be a section with keys of its own",
}


class ConfigurationErrors(ConfigurationError):
    """Several mistakes, told together; ``mistakes`` holds them one by one."""

    def __init__(self, mistakes: Sequence[ConfigurationError]) -> None:
        super().__init__("\n".join(str(mistake) for mistake in mistakes))
        self.mistakes = tuple(mistakes)


def raise_mistakes(mistakes: Sequence[ConfigurationError]) -> None:
    """Raise what was found: nothing, the one mistake, or all of them by file and line."""
    mistakes = sorted(mistakes, key=_place)
    if len(mistakes) == 1:
        raise mistakes[0]
    if mistakes:
        raise ConfigurationErrors(mistakes)


def _place(mistake: ConfigurationError) -> tuple[int, str, int]:
    file = mistake.file or ""
    return file.count("/"), file, mistake.line or 0


def each_mistake(error: ConfigurationError) -> tuple[ConfigurationError, ...]:
    """Return the single mistakes that ``error`` stands for."""
    return error.mistakes if isinstance(error, ConfigurationErrors) else (error,)


def validation_mistakes(
    error: ValidationError,
    model: type[BaseModel],
    document: Document,
    hidden: Iterable[Location] = (),
) -> list[ConfigurationError]:
    """Say in our words what the schema found; values at ``hidden`` are never shown."""
    hidden_places = frozenset(hidden)
    return [
        _mistake(details, model, document, hidden_places)
        for details in error.errors(include_url=False)
    ]


def _mistake(
    details: ErrorDetails,
    model: type[BaseModel],
    document: Document,
    hidden: frozenset[Location],
) -> ConfigurationError:
    location = file_location(details["loc"], document.value)
    message = _words(details, model, location)
    shown = _shown(details, location, hidden)
    return document.mistake(f"{message}{shown}", *location)


def _words(details: ErrorDetails, model: type[BaseModel], location: Location) -> str:
    kind, context = details["type"], details.get("ctx", {})
    key = str(location[-1]) if location else ""
    if kind == "extra_forbidden":
        return unknown_key(key, allowed_keys(model, details["loc"][:-1]))
    if kind in {"missing", "union_tag_not_found"}:
        key = "type" if kind == "union_tag_not_found" else key
        return f"missing; write for example `{key}: {EXAMPLES.get(key, '...')}`"
    if kind == "union_tag_invalid":
        return f"unknown type; use {context['expected_tags']}"
    if kind == "literal_error":
        return f"must be {context['expected']}"
    if kind == "value_error":
        return str(context["error"])
    if kind == "string_pattern_mismatch":
        return _pattern_words(*(str(part) for part in location if isinstance(part, str)))
    return _REMEDIES.get(kind) or details["msg"].removeprefix("Input ")


_PATTERNS = {
    "base_url": "must be a URL without query, such as https://ehr.example.org/fhir",
    "wado_rs": "must be a URL without query and without a slash at its end, such as "
    "https://pacs.example.org/dicom-web",
    "url": "must be an absolute URL without query and without a slash at its end, such as "
    "https://hospital.example.org/images",
    "endpoint": "must be a URL without query, such as http://127.0.0.1:4318/v1/traces or "
    "https://s3.example.org",
    "system": "must be accession, patient or a URI, such as urn:oid:1.2.3",
    "issuer": "must be a URL without query and without a slash at its end, such as "
    "https://login.example.org/realms/hospital",
    "redirect_url": "must be a URL that ends with /login/oidc/return",
    "path": "must be a path such as /dicom-web, without a slash at its end",
    "allowed_origins": "must be scheme and host alone, such as https://viewer.example.org",
    "allowed_hosts": "must be the name of a host, such as intu.example.org",
    "user_header": "must be the name of a header, such as X-Forwarded-User",
    "groups_header": "must be the name of a header, such as X-Forwarded-Groups",
}
"""What a text has to look like, by its key."""


def _pattern_words(*keys: str) -> str:
    return _PATTERNS.get(
        keys[-1] if keys else "",
        "must be 1 to 64 letters, digits, dots, dashes or underscores, a letter or digit first",
    )


def _shown(details: ErrorDetails, location: Location, hidden: frozenset[Location]) -> str:
    """Quote a harmless wrong value, so that it can be found."""
    value = details["input"]
    if location in hidden or not SECRET_KEYS.isdisjoint(location):
        return ""
    if details["type"] in {"missing", "extra_forbidden", "union_tag_not_found"}:
        return ""
    if isinstance(value, (str, int, float, bool)) and len(str(value)) <= 60:
        return f" (it is {value!r})"
    return ""


def unknown_key(key: str, allowed: Sequence[str]) -> str:
    """Say that ``key`` is unknown, what was probably meant and what may stand there."""
    close = difflib.get_close_matches(key, allowed, n=1)
    guess = f"; did you mean {close[0]}?" if close else ";"
    return f"unknown key{guess} Allowed here: {', '.join(allowed) or 'nothing'}"


def file_location(loc: tuple[int | str, ...], value: Any) -> Location:
    """Turn a schema location into a place of the file.

    The schema names the chosen kind of a destination (``destinations.ehr.fhir.base_url``) and
    marks keys (``[key]``); neither stands in the file.
    """
    location: list[str | int] = []
    for part in loc:
        if part == "[key]":
            continue
        if isinstance(value, dict) and part not in value and value.get("type") == part:
            continue
        location.append(part)
        value = _inside(value, part)
    return tuple(location)


def _inside(value: Any, part: str | int) -> Any:
    if isinstance(value, dict):
        return value.get(part)
    if isinstance(value, list) and isinstance(part, int) and part < len(value):
        return value[part]
    return None


def allowed_keys(model: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    """Return the keys that the schema knows at ``loc``."""
    kinds: list[Any] = [model]
    for part in loc:
        kinds = [inner for kind in kinds for inner in _step(kind, part)]
    models = [kind for kind in kinds if _is_model(kind)]
    return sorted({f.alias or name for model in models for name, f in model.model_fields.items()})


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _step(kind: Any, part: str | int) -> list[Any]:
    """Return what the schema has below ``kind`` at ``part``; a kind's tag stays on the kind."""
    if _is_model(kind):
        field = kind.model_fields.get(part)
        if field is not None:
            return _alternatives(field.annotation)
        tag = kind.model_fields.get("type")
        return [kind] if tag is not None and part in get_args(tag.annotation) else []
    if get_origin(kind) is dict:
        return _alternatives(get_args(kind)[1])
    return []


def _alternatives(annotation: Any) -> list[Any]:
    """Take optional, union and annotated types apart."""
    if get_origin(annotation) is Annotated:
        return _alternatives(get_args(annotation)[0])
    if get_origin(annotation) is dict or isinstance(annotation, type):
        return [annotation]
    return [inner for part in get_args(annotation) for inner in _alternatives(part)]
