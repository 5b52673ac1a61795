# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  login_host:
    description:
      - Host of the server. Empty means the local Unix socket.
    type: str
    default: ""
  login_port:
    description:
      - Port of the server; also part of the Unix socket's name.
    type: int
    default: 5432
  login_user:
    description:
      - The role to log in as. It must be able to read every table of the database, past row-level security.
    type: str
    default: postgres
  login_password:
    description:
      - Its password. Not needed with peer authentication over the Unix socket, or with a C(.pgpass) file.
      - Client programs get it through a file in memory, never in their arguments or environment where the system can do so.
    type: str
    default: ""
  login_password_file:
    description:
      - File that holds the password on one line, readable for its owner only. Excludes O(login_password).
    type: path
  login_unix_socket:
    description:
      - Directory of the server's Unix socket. Empty means where this host's server has it.
      - Excludes O(login_host).
    type: str
    default: ""
  login_db:
    description:
      - The database. Required, unless O(login_url) names it.
    type: str
  login_url:
    description:
      - A connection URL, as managed servers give it out, in place of the options above, for example
        V(postgresql://backup:secret@db.example.net:5432/shop?sslmode=verify-full).
      - It may carry C(sslmode), C(sslrootcert), C(sslcert), C(sslkey), C(channel_binding), and C(options=endpoint=…). Where it
        and an option say different things, the run ends before it begins.
      - Take the URL of the direct connection, never of a connection pooler.
    type: str
  login_url_file:
    description:
      - File that holds the URL and nothing else, readable for its owner only. Excludes O(login_url).
    type: path
  ssl_mode:
    description:
      - How TLS is negotiated over TCP, as libpq's C(sslmode). Only V(verify-full) proves who the server is.
    type: str
    choices: [allow, disable, prefer, require, verify-ca, verify-full]
    default: prefer
  ca_cert:
    description:
      - File with the certificates of the authorities that V(verify-ca) and V(verify-full) trust.
    type: path
  ssl_cert:
    description:
      - File with a client certificate, where the server asks for one.
    type: path
  ssl_key:
    description:
      - File with the key of O(ssl_cert), readable for its owner only.
    type: path
"""
