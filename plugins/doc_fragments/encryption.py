# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  encryption:
    description:
      - Who can open the backup. With recipients, the host that writes it cannot open what it wrote.
    type: dict
    required: true
    suboptions:
      method:
        description:
          - V(age) uses the program C(age) where there is one, else the Python library pyrage.
          - V(gpg) seals for OpenPGP keys with GnuPG 2.2.8 or newer, in a private home; nobody's keyring is touched.
          - V(gpg-symmetric) seals with AES-256 and the passphrase in O(encryption.passphrase_file). The passphrase lies on the host that
            writes, so whoever takes that host over can open the old backups too; every result and every report says so.
          - V(none) does not seal at all. Every result and every report says so.
        type: str
        choices: [age, gpg, gpg-symmetric, none]
        default: age
      recipients:
        description:
          - For V(age) public keys, C(age1…) from C(age-keygen), or lines of SSH public key files (C(ssh-ed25519) or C(ssh-rsa)).
          - For V(gpg) files with one public key each, armored keys, or whole fingerprints of keys in O(encryption.keyring_file).
          - Each of their identities opens the backup alone. Give two at least, and keep one of the identities offline.
        type: list
        elements: str
        default: []
      key_recipients:
        description:
          - Public keys for which protected keys of the application are sealed, written like O(encryption.recipients). They must be
            others, since who may open a backup should not be able to open the keys to what is encrypted in it.
        type: list
        elements: str
        default: []
      keyring_file:
        description:
          - For V(gpg), exported public keys, of which the recipients are chosen by fingerprint.
        type: path
      passphrase_file:
        description:
          - For V(gpg-symmetric), a file of mode 0600 with one line of 20 characters or more. gpg reads it through a descriptor.
        type: path
"""
