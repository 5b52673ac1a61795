# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is documented once and what is accepted are the same options, down to the last suboption."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import pytest
import yaml
from ansible_collections.lifeboat.postgres.plugins.module_utils import _argspec
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError
from ansible_collections.lifeboat.postgres.plugins.module_utils.seal.factory import sealer

SPECS = {name: getattr(_argspec, name) for name in _argspec.__all__}
SHARED = ("type", "elements", "required", "default", "choices")


def documented(fragment: str) -> dict[str, Any]:
    module = importlib.import_module(f"ansible_collections.lifeboat.postgres.plugins.doc_fragments.{fragment}")
    options: dict[str, Any] = yaml.safe_load(module.ModuleDocFragment.DOCUMENTATION)["options"]
    return options


def compare(docs: Mapping[str, Any], spec: Mapping[str, Any], where: str) -> None:
    assert set(docs) == set(spec), where
    for name, option in spec.items():
        doc = docs[name]
        assert doc["description"], f"{where}.{name}"
        assert {key: doc[key] for key in SHARED if key in doc} == {key: option[key] for key in SHARED if key in option}, f"{where}.{name}"
        compare(doc.get("suboptions", {}), option.get("options", {}), f"{where}.{name}")


@pytest.mark.parametrize("name", SPECS)
def test_a_fragment_documents_exactly_what_is_accepted(name: str) -> None:
    compare(documented(name.removesuffix("_SPEC").lower()), SPECS[name], name)


def test_secrets_are_marked_and_nothing_else_is() -> None:
    assert [name for name, option in _argspec.LOGIN_SPEC.items() if option.get("no_log")] == ["login_password", "login_url"]


def test_the_library_knows_exactly_the_options_of_encryption() -> None:
    options = _argspec.ENCRYPTION_SPEC["encryption"]["options"]
    with pytest.raises(ConfigurationError, match="unknown key 'surplus'"):
        sealer({**dict.fromkeys(options), "surplus": 1})
    with pytest.raises(ConfigurationError, match="nobody to seal for"):
        sealer(dict.fromkeys(options))
