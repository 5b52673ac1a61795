# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  checks:
    description:
      - Questions that the restored data must answer rightly. Each item has one key, the check.
      - A backup records what production answered, in the snapshot that is dumped; a drill asks the restored database.
    type: list
    elements: dict
    default: []
    suboptions:
      gapless:
        description: A numbering without gaps and duplicates, that begins and ends where production's did.
        type: dict
        suboptions:
          table: {description: The table., type: str, required: true}
          column: {description: The column that holds the number., type: str, required: true}
          group_by: {description: Columns that begin a numbering of their own (a year; a branch)., type: list, elements: str, default: []}
          start: {description: The first number of each group. Without it production's own., type: int}
          name: &name {description: What to call the check in reports. Without it a name is made from its options., type: str}
          timeout: &timeout {description: How long each of its statements may take., type: str, default: 10m}
      integer:
        description: Columns whose type holds whole units only, as money in cents must.
        type: dict
        suboptions:
          table: {description: The table., type: str, required: true}
          columns: {description: The columns., type: list, elements: str, required: true}
          name: *name
          timeout: *timeout
      not_empty:
        description: Tables that must hold a row.
        type: dict
        suboptions:
          tables: {description: The tables., type: list, elements: str, required: true}
          name: *name
          timeout: *timeout
      recent:
        description: The newest row was young at the moment of the snapshot.
        type: dict
        suboptions:
          table: {description: The table., type: str, required: true}
          column: {description: "The column of type date, timestamp or timestamptz.", type: str, required: true}
          max_age: {description: "How old the newest row may be, for example V(24h).", type: str, required: true}
          time_zone: {description: The zone that a column without one is in., type: str, default: UTC}
          name: *name
          timeout: *timeout
      sql:
        description: Any query, and what is expected of its answer.
        type: dict
        suboptions:
          query: {description: One C(SELECT). It runs read only., type: str, required: true}
          expect: {description: The one value that it must give. Excludes C(jmespath)., type: raw}
          jmespath: {description: "An expression over the rows, each an object, that must be true. Excludes C(expect).", type: str}
          name: *name
          timeout: *timeout
      decrypt:
        description: A column that the application sealed with AES-256-GCM opens with the protected key.
        type: dict
        suboptions:
          table: {description: The table., type: str, required: true}
          column: {description: The column., type: str, required: true}
          key_file: {description: File with the key of 32 bytes., type: path, required: true}
          key_encoding: {description: How the file holds it., type: str, choices: [raw, hex, base64], default: raw}
          encoding: {description: How the column holds its values., type: str, choices: [raw, base64, hex], default: raw}
          layout:
            description: In which order the parts stand.
            type: str
            choices: [nonce_ciphertext_tag, nonce_tag_ciphertext]
            default: nonce_ciphertext_tag
          separator:
            description: What stands between the parts, each encoded on its own. Empty means that they follow each other.
            type: str
            default: ""
          nonce_bytes: {description: Length of the nonce., type: int, default: 12}
          aad: {description: Associated data that every value was sealed with. Excludes C(aad_column)., type: str}
          aad_column: {description: The column that holds each row's associated data. Excludes C(aad)., type: str}
          limit: {description: How many rows are tried at most., type: int, default: 10000}
          matches: {description: "A regular expression that every opened value must match.", type: str}
          name: *name
          timeout: *timeout
"""
