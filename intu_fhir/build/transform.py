"""Runs the site's Python hook over a resource before it is validated and published."""

from __future__ import annotations

import copy
import importlib.util
import inspect
import re
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Timer
from types import ModuleType
from typing import Any

import structlog

from intu_fhir.errors import ConfigurationError, PermanentError
from intu_fhir.model.study import Series, Study

FUNCTION = "transform"
SLOW_SECONDS = 30.0
_log = structlog.get_logger("intu_fhir.build")
_WORD = re.compile(r"\w+")
# What Python itself says, beside the words of the hook's own text.
_SAID = """
    a an and any argument arguments as attribute be but by call callable can cannot concatenate
    convert dict dictionary division does empty exist expected first float for from got has have
    in index indices int integer integers invalid is item iterable it key keyword line list
    literal local maximum missing module more must name no NoneType None not object of only
    operand or out positional range referenced required sequence set slices split str string
    subscript subscriptable support supported than that the to tuple type types unexpected
    unhashable unknown unpack unsupported value values variable where with without zero
"""
_PYTHON_WORDS = frozenset(_SAID.split())


@dataclass
class Message:
    """What a hook gets and gives back.

    Args:
        payload: the ImagingStudy about to be published, as plain JSON; a copy, free to change.
        study: the staged metadata by DICOM keyword; ``series`` below it, ``instances`` below each
            of those. ``file`` of an instance refers to its object in the file store.
    """

    payload: dict[str, Any]
    study: dict[str, Any]

    @classmethod
    def of(cls, resource: dict[str, Any], study: Study) -> Message:
        """Return the message for a resource and the study it was built of."""
        return cls(copy.deepcopy(resource), _metadata(study))


def _metadata(study: Study) -> dict[str, Any]:
    values: dict[str, Any] = dict(copy.deepcopy(study.values))
    return values | {
        "StudyInstanceUID": study.uid,
        "calling_ae_titles": list(study.calling_ae_titles),
        "generation": study.generation,
        "series": [_series_metadata(series) for series in study.series],
    }


def _series_metadata(series: Series) -> dict[str, Any]:
    values: dict[str, Any] = dict(copy.deepcopy(series.values))
    instances = [
        {
            **copy.deepcopy(instance.values),
            "SOPInstanceUID": instance.uid,
            "SOPClassUID": instance.sop_class_uid,
            "TransferSyntaxUID": instance.transfer_syntax_uid,
            "file": instance.file,
        }
        for instance in series.instances
    ]
    return values | {"SeriesInstanceUID": series.uid, "instances": instances}


@dataclass(frozen=True)
class Transformer:
    """A site's hook, loaded."""

    path: Path
    function: Callable[[Message], Any]
    words: frozenset[str]
    slow_seconds: float = SLOW_SECONDS
    """A hook that has not ended after this is named in the log: every study waits for it."""

    def __call__(self, message: Message) -> dict[str, Any] | None:
        """Return what the hook makes of a message; None = the study is not to be published.

        Raises:
            PermanentError: the hook raised, or gave back something else; the text names the line
                and holds no values.
        """
        slow = Timer(self.slow_seconds, self._is_slow, [message.study.get("StudyInstanceUID", "")])
        slow.daemon = True
        slow.start()
        try:
            result = self.function(message)
        except (Exception, SystemExit) as error:  # noqa: BLE001  (a site's code may raise anything)
            raise PermanentError(self._failure(error)) from None
        finally:
            slow.cancel()
        if result is None:
            return None
        if isinstance(result, Message) and isinstance(result.payload, dict):
            return result.payload
        raise PermanentError(
            f"{self.path.name}: {FUNCTION}() gave back {type(result).__name__}; return the message "
            "(its payload a dict), or None to leave the study out"
        )

    def _is_slow(self, study: str) -> None:
        _log.warning(
            "transformer_slow",
            study=study,
            file=self.path.name,
            reason=f"it has not ended after {self.slow_seconds:g} s, and every study behind it "
            "waits; correct the transformer and restart",
        )

    def _failure(self, error: BaseException) -> str:
        """Say where and how the hook failed, without any value it worked on."""
        own = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == str(self.path)]
        line = own[-1].lineno if own else 0
        said = _WORD.sub(self._known_word, str(error).splitlines()[0] if str(error) else "")
        return (
            f"{self.path.name}:{line}: {type(error).__name__}{': ' if said else ''}{said[:200]}; "
            "correct the transformer, then `intu-fhir replay --rebuild`"
        )

    def _known_word(self, word: re.Match[str]) -> str:
        """Keep words of Python and of the hook's own text; anything else may be a patient's."""
        return word[0] if word[0] in self.words else "…"


def load_transformer(path: Path) -> Transformer:
    """Load a site's hook, once.

    Raises:
        ConfigurationError: it is not Python, cannot be loaded, or has no ``transform(message)``.
    """
    if path.suffix != ".py":
        language = "TypeScript" if path.suffix == ".ts" else "another language"
        raise ConfigurationError(
            f"is written in {language}, a transformer is a Python hook; port it to "
            f"{path.stem}.py with `def {FUNCTION}(message)` and name that",
            file=str(path),
            key="transformer",
        )
    module = _import(path)
    function = getattr(module, FUNCTION, None)
    if not callable(function) or not _takes_one(function):
        raise ConfigurationError(
            f"has no `def {FUNCTION}(message)`; write one that returns the message, or None to "
            "leave a study out",
            file=str(path),
            key="transformer",
        )
    words = frozenset(_WORD.findall(path.read_text(encoding="utf-8", errors="replace")))
    return Transformer(path, function, words | _PYTHON_WORDS)


def _takes_one(function: Callable[..., Any]) -> bool:
    try:
        inspect.signature(function).bind(object())
    except (TypeError, ValueError):
        return False
    return True


def _import(path: Path) -> ModuleType:
    """Run the file as a module of its own, seen by no other."""
    spec = importlib.util.spec_from_file_location(f"intu_fhir_transformer_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ConfigurationError("cannot be loaded", file=str(path), key="transformer")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise ConfigurationError(
            f"is not valid Python ({error.msg}); correct the line",
            file=str(path),
            line=error.lineno,
            key="transformer",
        ) from None
    except (Exception, SystemExit) as error:  # noqa: BLE001  (a site's code may raise anything)
        frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
        raise ConfigurationError(
            f"cannot be loaded ({type(error).__name__}: {error}); correct the line",
            file=str(path),
            line=frames[-1].lineno if frames else None,
            key="transformer",
        ) from None
    return module
