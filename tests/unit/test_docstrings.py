"""Public docstrings begin with at most 20 words. That these are a command is up to ruff (D401)."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

_SPEC = importlib.util.spec_from_file_location("docstrings", Path(__file__).parents[2] / "scripts" / "docstrings.py")


@pytest.fixture(scope="module")
def docstrings():
    assert _SPEC is not None
    assert _SPEC.loader is not None
    module = importlib.util.module_from_spec(_SPEC)
    sys.modules[_SPEC.name] = module
    _SPEC.loader.exec_module(module)
    return module


def test_the_summary_is_the_first_sentence(docstrings):
    assert docstrings.summary("Return it. And more.") == "Return it."
    assert docstrings.summary("Return it\n\nArgs:\n    x: y") == "Return it"
    assert docstrings.summary("Return what\nis there. More.") == "Return what\nis there."


def test_public_functions_say_in_at_most_20_words_what_they_do(docstrings):
    assert [f"{one.path}:{one.line}: {one.what}" for one in docstrings.long()] == []
