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
          groups: &groups
            description:
              - Groups that this check belongs to, for drills that ask for certain groups. A check of no group is always asked.
            type: list
            elements: str
            default: []
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
          groups: *groups
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
          groups: *groups
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
          groups: *groups
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
          groups: *groups
      decrypt:
        description:
          - Values that the application sealed with AES-256-GCM open with the protected key, which the drill takes from the vault, or
            finds in a file.
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
          key:
            description:
              - Name of a protected key that M(lifeboat.postgres.key_escrow) ships. The drill takes it out of the vault, so that the escrow
                is proven as well.
              - Exactly one of this and C(key_file).
            type: str
          key_part:
            description: Of a protected key that is several files the file; of a C(.env) file that was shipped whole the variable.
            type: str
            default: ""
          key_file:
            description: A file with the key, on the host that runs the drill. Taking a backup does not read it.
            type: path
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
          groups: *groups
      totp:
        description:
          - The sealed secret of one account, opened after the restore, gives the same codes as the authenticator of its owner,
            computed when the check is asked (RFC 6238).
          - No secret and no code is ever shown. Without one of the two files the drill is C(unverified).
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
          key:
            description:
              - Name of a protected key that M(lifeboat.postgres.key_escrow) ships. The drill takes it out of the vault, so that the escrow
                is proven as well.
              - Exactly one of this and C(key_file).
            type: str
          key_part:
            description: Of a protected key that is several files the file; of a C(.env) file that was shipped whole the variable.
            type: str
            default: ""
          key_file:
            description: A file with the key, on the host that runs the drill. Taking a backup does not read it.
            type: path
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
          where:
            description: The condition, in SQL, that finds the one row of the account.
            type: str
            required: true
          secret_file:
            description:
              - The file with the account's secret as its authenticator has it, in base32 or as an C(otpauth://) URL, on the
                host that runs the drill. Taking a backup does not read it.
            type: path
            required: true
          plaintext:
            description:
              - How the application writes the secret before it seals it. An C(otpauth://) URL is recognised in any case.
            type: str
            choices: [base32, hex, base64, raw]
            default: base32
          digits:
            description: Digits of a code, unless an C(otpauth://) URL says otherwise.
            type: int
            default: 6
          period:
            description: Seconds for which a code holds, unless an C(otpauth://) URL says otherwise.
            type: int
            default: 30
          algorithm:
            description: The hash function, unless an C(otpauth://) URL says otherwise.
            type: str
            choices: [SHA1, SHA256, SHA512]
            default: SHA1
          name: *name
          timeout: *timeout
          groups: *groups
      foreign_keys:
        description:
          - No orphans. Every foreign key is asked again, row by row. Keys that are not validated or not enforced are told apart.
        type: dict
        suboptions:
          tables:
            description: The tables whose foreign keys are asked; all by default.
            type: list
            elements: str
            default: []
          name: *name
          timeout: *timeout
          groups: *groups
      unique:
        description:
          - What has to be unique is, counted in the rows without any index, since a broken index hides what it let in.
        type: dict
        suboptions:
          tables:
            description: The tables whose unique indexes are asked; all by default.
            type: list
            elements: str
            default: []
          columns:
            description: Columns of the one table in O(checks[].unique.tables) that are unique together, though no index says so.
            type: list
            elements: str
            default: []
          name: *name
          timeout: *timeout
          groups: *groups
      amcheck:
        description:
          - Tables and indexes of the restored database are sound inside, by PostgreSQL's extension amcheck. It is created on the
            throwaway server only, and production need not have it. Without it the drill is C(unverified).
        type: dict
        suboptions:
          tables:
            description: The tables to look at, with their indexes; all by default.
            type: list
            elements: str
            default: []
          heapallindexed:
            description: Look whether every row is in the index.
            type: bool
            default: true
          parent:
            description: Look also at how the levels of an index fit together, which takes longer.
            type: bool
            default: false
          heap:
            description: Look at tables, not only at indexes.
            type: bool
            default: true
          name: *name
          timeout: *timeout
          groups: *groups
      command:
        description:
          - A program on the host that runs the drill judges the restored database. It runs inside the drill's isolation, as its
            unprivileged user, with C(PGHOST), C(PGPORT), C(PGUSER) and C(PGDATABASE) set, and never by a shell.
          - What it prints is shown in the report (200 characters of it).
        type: dict
        suboptions:
          argv:
            description: The program and its arguments.
            type: list
            elements: str
            required: true
          status:
            description: The exit status that means yes.
            type: int
            default: 0
          jmespath:
            description: A JMESPath expression over the JSON that the program prints; it has to give true.
            type: str
          matches:
            description: A regular expression that has to be found in what the program prints.
            type: str
          readable: &readable
            description:
              - Files and directories of the drill host that the program needs, beside itself and the directories of the system
                (C(/usr) and the like). It can read them and nothing else.
            type: list
            elements: path
            default: []
          name: *name
          timeout: &whole
            description: The longest that the whole check may take.
            type: str
            default: 10m
          groups: *groups
      http:
        description:
          - The application is started inside the drill's isolation on the restored database, and asked over a Unix socket.
          - An answer other than the expected one is C(failed). No answer is C(unverified), since it proves nothing.
        type: dict
        suboptions:
          start:
            description:
              - The program that serves HTTP, and its arguments. It gets libpq's variables as O(checks[].command) does, and has to
                listen on the Unix socket whose path stands in C(LIFEBOAT_SOCKET), and in place of V({socket}) in an argument.
            type: list
            elements: str
            required: true
          url:
            description: What to ask for, for example V(http://localhost/health). Nothing but the started program can be asked.
            type: str
            required: true
          status:
            description: The status that it has to answer with.
            type: int
            default: 200
          jmespath:
            description: A JMESPath expression over the JSON of the answer; it has to give true.
            type: str
          readable: *readable
          name: *name
          timeout: *whole
          groups: *groups
"""
