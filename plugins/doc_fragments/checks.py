# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations


class ModuleDocFragment:
    """The option `checks`, the same for taking a backup and for drilling it (module_utils/checks/factory.py)."""

    DOCUMENTATION = r"""
options:
  checks:
    description:
      - What has to be true of the data. Each item has one key, the check.
      - Give the same list to the backup and to the drill. The backup records in the dump's snapshot what a check has to know
        about production, for example where a numbering ended; the drill asks the restored database.
      - Tables and columns are written as in SQL. V(invoices) is the table of that name in the schema V(public), else the only
        one of that name; names with capitals, spaces or signs need their double quotes, as in V("Order Items").
      - A check that cannot be asked leaves the drill C(unverified), never C(passed).
    type: list
    elements: dict
    default: []
    suboptions:
      gapless:
        description:
          - A numbering without gaps. No number is missing, doubled, empty or fractional.
          - Every group begins and ends where production's did in the snapshot that was dumped.
        type: dict
        suboptions:
          table:
            description: The table.
            type: str
            required: true
          column:
            description: The numbered column, of an integer type or V(numeric).
            type: str
            required: true
          group_by:
            description: Columns that begin a numbering of their own, for example a year.
            type: list
            elements: str
            default: []
          start:
            description: The number with which every numbering begins.
            type: int
          name: &name
            description: What to call this check in reports, when its own name does not tell enough.
            type: str
          timeout: &timeout
            description: The longest that one statement of this check may take.
            type: str
            default: 10m
      integer:
        description:
          - Columns that hold whole units only, as money in cents.
          - V(smallint), V(integer), V(bigint), domains over them, and V(numeric(n,0)) pass; V(real), V(double precision), V(money)
            and V(numeric) that can hold a fraction fail.
        type: dict
        suboptions:
          table:
            description: The table.
            type: str
            required: true
          columns:
            description: The columns.
            type: list
            elements: str
            required: true
          name: *name
          timeout: *timeout
      not_empty:
        description: Tables that hold at least one row each.
        type: dict
        suboptions:
          tables:
            description: The tables.
            type: list
            elements: str
            required: true
          name: *name
          timeout: *timeout
      recent:
        description:
          - The newest row is young, measured at the moment of the backup's snapshot and not by today's clock.
          - Rows that lie after the snapshot do not count, and are said.
        type: dict
        suboptions:
          table:
            description: The table.
            type: str
            required: true
          column:
            description: When a row was written, of type V(timestamp), V(timestamptz) or V(date) (its midnight).
            type: str
            required: true
          max_age:
            description: The age that the newest row may have, for example V(24h) or V(7d).
            type: str
            required: true
          time_zone:
            description: The time zone of a column that has none of its own.
            type: str
            default: UTC
          name: *name
          timeout: *timeout
      sql:
        description:
          - Any question in SQL, asked read only, one statement, with unqualified names looked up along the database's own
            C(search_path).
          - Exactly one of O(checks[].sql.expect) and O(checks[].sql.jmespath) says what the answer has to be.
        type: dict
        suboptions:
          query:
            description: One C(SELECT), C(WITH … SELECT) or C(VALUES).
            type: str
            required: true
          expect:
            description:
              - The one value that the query gives. Numbers are compared as numbers, so V(3), V(3.0) and V("3") are the same.
            type: raw
          jmespath:
            description:
              - A JMESPath expression over the rows, a list of objects; it has to give true. At most 1000 rows.
            type: str
          name: *name
          timeout: *timeout
      decrypt:
        description:
          - Values that the application sealed with AES-256-GCM open with the protected key, which the drill finds in a file.
          - No key and no plaintext is ever shown. Without the key the drill is C(unverified).
        type: dict
        suboptions:
          table:
            description: The table.
            type: str
            required: true
          column:
            description: The column with the sealed values.
            type: str
            required: true
          key_file:
            description: The file with the key, on the host that runs the drill. Taking a backup does not read it.
            type: path
            required: true
          key_encoding:
            description: How the file holds the key, 32 bytes as they are, or written in hexadecimal or base64.
            type: str
            choices: [raw, hex, base64]
            default: raw
          encoding:
            description: How the column holds a sealed value, bytes as they are (V(bytea)), or written in base64 or hexadecimal.
            type: str
            choices: [raw, base64, hex]
            default: raw
          layout:
            description: The order of nonce, ciphertext and tag (16 bytes).
            type: str
            choices: [nonce_ciphertext_tag, nonce_tag_ciphertext]
            default: nonce_ciphertext_tag
          separator:
            description: The text between parts that are encoded one by one, as the colon in V(nonce:tag:ciphertext).
            type: str
            default: ""
          nonce_bytes:
            description: Bytes of the nonce.
            type: int
            default: 12
          aad:
            description: The associated data that the application seals every value with.
            type: str
          aad_column:
            description: A column that holds a row's associated data.
            type: str
          limit:
            description: The most values to open. A larger table is sampled at random, and the report says so. V(0) opens all.
            type: int
            default: 10000
          matches:
            description: A regular expression that every whole plaintext has to match.
            type: str
          name: *name
          timeout: *timeout
"""
