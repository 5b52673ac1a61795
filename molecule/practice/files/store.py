# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run on the store's host: make users and buckets, and say who may do what. The request comes as JSON on standard input."""

import json
import os
import subprocess
import sys

import boto3

ENDPOINT = "http://127.0.0.1:7070"
asked = json.load(sys.stdin)

admin = ["versitygw", "admin", "--endpoint-url", ENDPOINT]
environment = {**os.environ, "ADMIN_ACCESS_KEY_ID": "store", "ADMIN_SECRET_ACCESS_KEY": asked["root"]}
for name, secret in asked["users"].items():
    argv = [*admin, "create-user", "--access", name, "--secret", secret, "--role", "user"]
    subprocess.run(argv, env=environment, check=True, stdout=subprocess.DEVNULL)

client = boto3.client("s3", endpoint_url=ENDPOINT, region_name="us-east-1", aws_access_key_id="store", aws_secret_access_key=asked["root"])
for bucket, said in asked["buckets"].items():
    client.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=said["lock"])
    statements = []
    for user, actions in said["allow"].items():
        on_bucket = [action for action in actions if "Bucket" in action]
        on_objects = [action for action in actions if "Bucket" not in action]
        for chosen, resource in ((on_bucket, f"arn:aws:s3:::{bucket}"), (on_objects, f"arn:aws:s3:::{bucket}/*")):
            if chosen:
                statements.append({"Effect": "Allow", "Principal": {"AWS": [user]}, "Action": chosen, "Resource": [resource]})
    client.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": statements}))
