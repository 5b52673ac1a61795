# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the shop's application does: seal a column with the key in the file that is named. Prints SQL."""

import os
import sys

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

with open(sys.argv[1], encoding="ascii") as file:
    cipher = AESGCM(bytes.fromhex(file.read().strip()))
for number in range(1, 21):
    nonce = os.urandom(12)
    sealed = nonce + cipher.encrypt(nonce, f"DE{number:09}".encode(), None)
    print(f"INSERT INTO customers (name, tax_id) VALUES ('Customer {number}', '{sealed.hex()}');")
