#!/usr/bin/python
# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: fleet_report
short_description: Make one page of how well the systems of a fleet are protected
version_added: 0.1.0
author:
  - The lifeboat.postgres contributors (@lifeboat-postgres)
description:
  - Puts what M(lifeboat.postgres.fleet_report_info) found about each system into one page, a single file without scripts that loads
    nothing, with a light and its word per system, and with Markdown and JSON beside it.
  - A system is C(proven) when its backups are as fresh as promised, the last drill of each passed and kept what was promised, and nothing
    weak is known; C(failing) when something is known to be bad; else C(doubtful). What is not known never counts as good.
  - Never fails for what it says; RV(good) says whether every system is proven.
extends_documentation_fragment:
  - lifeboat.postgres.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details:
      - The diff is that of the Markdown.
  idempotent:
    support: full
    details:
      - The same facts leave the files as they are. When somebody looked is no fact; what grew older than it may is one.
options:
  parts:
    description:
      - The systems, each as RV(lifeboat.postgres.fleet_report_info#module:part). Of a system that is given more than once, the look that
        left the least open is taken.
    type: list
    elements: dict
    default: []
  unknown:
    description:
      - Systems that nobody could look at. They are on the page, as C(doubtful).
    type: list
    elements: dict
    default: []
    suboptions:
      system:
        description: The system.
        type: str
        required: true
      reason:
        description: Why not.
        type: str
  dest:
    description:
      - The page, a file that ends in C(.html), in a directory that is there. C(.md) and C(.json) come to lie beside it.
      - Without it nothing is written, and only the summary is returned.
    type: path
  mode:
    description:
      - The mode of the files. They hold names of tables, never data.
    type: str
    default: '0600'
seealso:
  - module: lifeboat.postgres.fleet_report_info
  - module: lifeboat.postgres.restore_drill
"""

EXAMPLES = r"""
- name: Make a page of what was found on the hosts of this play
  lifeboat.postgres.fleet_report:
    parts: "{{ ansible_play_hosts | map('extract', hostvars, 'found') | map(attribute='part') }}"
    dest: /srv/reports/index.html
    mode: '0644'
  delegate_to: localhost
  run_once: true
"""

RETURN = r"""
files:
  description: The page and its twins.
  returned: success
  type: list
  elements: str
  sample: [/srv/reports/index.html, /srv/reports/index.md, /srv/reports/index.json]
summary:
  description: How many systems stand how, the worst first.
  returned: success
  type: str
  sample: 1 failing, 12 proven
good:
  description: Whether every system is proven.
  returned: success
  type: bool
  sample: false
systems:
  description: Each system by its name.
  returned: success
  type: dict
  contains:
    light:
      description: V(proven), V(doubtful) or V(failing).
      type: str
    reasons:
      description: Why it is not proven, in sentences, the worst first.
      type: list
      elements: str
    rpo_seconds:
      description: The longest RPO that a last drill measured, or null.
      type: float
    rto_seconds:
      description: The longest RTO that a last drill measured, to its last green check, or null.
      type: float
    rpo_promised:
      description: The RPO that was promised, or null.
      type: float
    rto_promised:
      description: The RTO that was promised, or null.
      type: float
  sample:
    shop:
      light: proven
      reasons: []
      rpo_seconds: 1260.4
      rto_seconds: 412.2
      rpo_promised: 3600.0
      rto_promised: 3600.0
"""

from ansible_collections.lifeboat.postgres.plugins.module_utils._ansible import run_module
from ansible_collections.lifeboat.postgres.plugins.module_utils.report.fleet_write import write


def main() -> None:
    run_module(
        {
            "parts": {"type": "list", "elements": "dict", "default": []},
            "unknown": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {"system": {"type": "str", "required": True}, "reason": {"type": "str"}},
            },
            "dest": {"type": "path"},
            "mode": {"type": "str", "default": "0600"},
        },
        write,
    )


if __name__ == "__main__":
    main()
