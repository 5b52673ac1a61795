# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  encryption:
    description:
      - Who can open the backup. The host that writes it holds recipients only, and cannot open what it wrote.
    type: dict
    required: true
    suboptions:
      method:
        description:
          - V(age) uses the program C(age) where there is one, else the Python library pyrage.
        type: str
        choices: [age]
        default: age
      recipients:
        description:
          - Public keys, C(age1…) from C(age-keygen), or lines of SSH public key files (C(ssh-ed25519) or C(ssh-rsa)).
          - Each of their identities opens the backup alone. Give two at least, and keep one of the identities offline.
        type: list
        elements: str
        required: true
"""
