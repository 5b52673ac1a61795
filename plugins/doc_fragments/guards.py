# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  limits:
    description:
      - How large a dump has to be to be kept. Sizes are those before compression; objects are the definitions of its schema.
      - A dump that is outside is not kept. Nothing is committed, and the error names the figure, the limit and the median.
    type: dict
    suboptions:
      min_bytes:
        description: Least size, for example V(10MiB).
        type: str
      max_bytes:
        description: Largest size.
        type: str
      min_objects:
        description: Least number of objects.
        type: int
      max_objects:
        description: Largest number of objects.
        type: int
      shrink:
        description:
          - How much smaller than the median of the last good backups size and objects may be, as a share like V(0.5) or V(50%).
          - V(0.5) when it is not given; V(1) allows anything. Judged from the third good backup on.
        type: str
      growth:
        description: How much larger than that median they may be; V(2) allows three times it. Not judged when it is not given.
        type: str
      last:
        description: How many good backups make the median. V(7) when it is not given.
        type: int
      zero_tables:
        description: What to do about a dump without a table when the last good one had some. V(fail) when it is not given.
        type: str
        choices: [fail, warn]
  accept_deviation:
    description:
      - Keep this dump though it differs from the last good ones by more than O(limits) allows, as after a mass delete. For one run;
        the backup notes it, and is the first of those that later ones are judged by.
      - What O(limits) says in bytes and objects still holds.
    type: bool
    default: false
  snapshot_budget:
    description:
      - Stop the run when the snapshot has been held for so long, for example V(4h). While it is held, C(VACUUM) removes no row
        that it shows.
      - At half of it the run warns. A dump that is whole already is kept, without the evidence that was not counted yet.
    type: str
  xmin_age_limit:
    description:
      - Stop the run when so many transactions have begun while the snapshot was held.
    type: int
  digests:
    description:
      - Which tables have their content digested in the dump's snapshot and compared after a restore, row by row and byte by byte.
        None when it is not given.
    type: dict
    suboptions:
      tables:
        description:
          - Names or patterns (V(shop.*)) of tables, or V(all). Without a schema, a name means the table in any schema; a partitioned table
            means all its partitions.
        type: list
        elements: str
      exclude:
        description: Names or patterns of tables that are not digested.
        type: list
        elements: str
      rotate_days:
        description: Digest another part each day, so that so many days in a row cover all of them. V(1) when it is not given.
        type: int
      budget:
        description:
          - How long digests may take in one run. What is left then is named and makes a drill of that backup C(unverified).
          - Whatever it says, O(evidence_budget) ends them after the dump.
        type: str
      large_objects:
        description: Digest large objects as well, every time. V(false) when it is not given.
        type: bool
"""
