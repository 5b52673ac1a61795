# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The lookup `description_faults`: thin, over plugin_utils/description.py."""

from __future__ import annotations

DOCUMENTATION = r"""
name: description_faults
short_description: Say what is wrong with the description of a system, before a host is touched
version_added: 0.1.0
author:
  - The lifeboat.postgres contributors (@lifeboat-postgres)
description:
  - Gives a sentence for each variable of the host that begins with C(lifeboat_) and that no role and no playbook of this collection reads,
    with the nearest one that is read, and for each that is nearly one of those, as C(lifebaot_objective).
  - The roles ask this first of all, so that a slip of the finger does not silently mean a default.
options:
  ignore:
    description:
      - Names or patterns of variables of your own that begin with C(lifeboat_), for example what a play registers.
    type: list
    elements: str
    default: []
  values:
    description:
      - Values to look at as well, by the names of their variables without C(lifeboat_). Known are V(objective), V(schedule),
        V(prune_schedule), V(retention), V(databases), V(repositories), V(key_repositories) and V(encryption). Only their text is
        judged; no file, no host and no store is looked at.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Refuse what nobody would read
  ansible.builtin.assert:
    that: query('lifeboat.postgres.description_faults') == []

- name: Say what is wrong with a schedule
  ansible.builtin.debug:
    msg: "{{ query('lifeboat.postgres.description_faults', values={'schedule': {'databases': '0 25 * * *'}}) }}"
"""

RETURN = r"""
_raw:
  description: A sentence for each fault; nothing where all is well.
  type: list
  elements: str
  sample: ["Nothing reads the variable lifeboat_databses. Did you mean lifeboat_databases?"]
"""

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import LifeboatError
from ansible_collections.lifeboat.postgres.plugins.plugin_utils.description import unknown_names, wrong_values


class LookupModule(LookupBase):
    """Takes no terms."""

    def run(self, terms: Any, variables: Any = None, **kwargs: Any) -> list[str]:
        if terms:
            raise AnsibleError("description_faults takes no terms: it looks at the variables of the host.")
        base: Any = self  # whose methods are untyped
        base.set_options(var_options=variables, direct=kwargs)
        try:
            return [
                *unknown_names((str(name) for name in variables or ()), [str(word) for word in base.get_option("ignore")]),
                *wrong_values(_plain(base.get_option("values"))),
            ]
        except LifeboatError as error:
            raise AnsibleError(str(error)) from None


def _plain(value: Any) -> Any:
    """Without what Ansible knows of where each text came from."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, str) else value
