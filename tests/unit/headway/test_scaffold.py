"""New projects: what a name may be, and what is written where."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest
import yaml

from headway import scaffold
from headway.bus.errors import UsageError
from headway.config import json_schema, loads


@pytest.mark.parametrize("name", ["Shop", "1shop", "my shop", "class", "headway", "tests", "../up", ""])
def test_a_name_that_cannot_be_a_package_is_refused(name):
    with pytest.raises(UsageError, match="cannot be a project's name"):
        scaffold.files(name, "minimal")


@pytest.mark.parametrize("template", scaffold.TEMPLATES)
def test_names_are_filled_in_everywhere_and_the_configuration_validates(template):
    texts = scaffold.files("my-shop", template)
    assert not [path for path, text in texts.items() if "@@" in f"{path}{text}" or path.suffix == ".tmpl"]
    assert Path("my_shop/__init__.py") in texts
    config = texts[Path("headway.yaml")]
    loads(config)
    jsonschema.validate(yaml.safe_load(config), json_schema())
    assert config.startswith("# yaml-language-server: $schema=.vscode/headway.schema.json")


def test_an_existing_folder_is_never_overwritten(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UsageError, match="exists and is not empty"):
        scaffold.write(tmp_path, {Path("a"): "b"}, None)
    scaffold.write(tmp_path / "new", {Path("a/b"): "c"}, {"title": "x"})
    assert (tmp_path / "new/a/b").read_text() == "c"
    assert (tmp_path / "new/.vscode/headway.schema.json").exists()


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("services: {fax: {app: 'a:b', scale: {max: 8, down_after: 50ms, memory: 512MB}}}", True),
        ("services: {fax: {app: 'a:b', grace: 5 minutes}}", False),
        ("services: {fax: {app: 'a:b', wrokers: 2}}", False),
        ("services: {}", False),
        ("{}", False),
    ],
)
def test_the_schema_for_editors_agrees_with_what_is_accepted(text, fits):
    validator = jsonschema.Draft202012Validator(json_schema())
    assert validator.is_valid(yaml.safe_load(text)) is fits
