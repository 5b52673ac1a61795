# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One bucket over boto3's client: requests that are tried again for a bounded time, and faults in the operator's words.

botocore's own retries are off: they know neither a total deadline nor an upload that was given up meanwhile.
"""

from __future__ import annotations

import datetime as dt
import io
import os
import random
import threading
import time
from collections.abc import Iterator
from typing import Any, Union

from ansible_collections.lifeboat.postgres.plugins.module_utils import deps
from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError, RepositoryError
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.s3_faults import Refusal, explain, malformed
from ansible_collections.lifeboat.postgres.plugins.module_utils.repository.s3_options import Credential, S3Options, read_credential
from ansible_collections.lifeboat.postgres.plugins.module_utils.runtime import VERSION

__all__ = ["ATTEMPTS", "Answer", "S3Client", "in_utc", "pauses"]

ATTEMPTS = 6
"""Of one request, as long as the deadline allows them."""

Answer = Union[dict[str, Any], Refusal]

_PROMISED = {
    "create_multipart_upload": "UploadId",
    "upload_part": "ETag",
    "complete_multipart_upload": "ETag",
    "put_object": "ETag",
    "head_object": "ETag",
    "get_object": "ETag",
    "list_objects_v2": "IsTruncated",
}
"""What every S3 store answers. Without it the answer is another program's, or an error that came with status 200; a web
page read as a listing must not mean "no backups"."""

_SENT_BYTES = 128 * 1024
_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 8.0
_JITTER = random.SystemRandom()


def in_utc(moment: dt.datetime | None) -> dt.datetime | None:
    """A store's moment; botocore gives it in the host's own zone."""
    return None if moment is None else moment.astimezone(dt.timezone.utc)


def pauses(deadline_seconds: float) -> Iterator[float]:
    """Seconds to wait between attempts: doubling, with jitter so that threads do not return together; ends at the deadline."""
    deadline = time.monotonic() + deadline_seconds
    longest = _FIRST_PAUSE_SECONDS
    while True:
        pause = longest * _JITTER.uniform(0.5, 1.0)
        if time.monotonic() + pause >= deadline:
            return
        yield pause
        longest = min(longest * 2, _LONGEST_PAUSE_SECONDS)


class _Body(io.BytesIO):
    """The bytes of a request. The connection asks for 16 KiB at a time and sends what it gets: each piece costs a journey through
    Python and the kernel, so it gets more; no more than a slow line takes within a timeout.
    """

    def read(self, size: int | None = -1) -> bytes:
        return super().read(size if size is None or size < 0 else max(size, _SENT_BYTES))


class S3Client:
    """Thread-safe. Holds the bucket and prefix, so that callers speak of keys inside the repository only."""

    def __init__(self, options: S3Options) -> None:
        self.options = options
        self._boto: Any = None
        self._lock = threading.Lock()
        self._credential: Credential | None = None

    def call(
        self, operation: str, doing: str, key: str | None = None, stop: threading.Event | None = None, **parameters: Any
    ) -> dict[str, Any]:
        """The answer of the client's method `operation`, tried again while that can help; raises `RepositoryError`.

        `doing` is what the operator reads ("listing"). A set `stop` ends the waiting between attempts.
        """
        answer = self.ask(operation, doing, key, ATTEMPTS, stop, **parameters)
        if isinstance(answer, Refusal):
            raise answer.error
        return answer

    def ask(
        self,
        operation: str,
        doing: str,
        key: str | None = None,
        attempts: int = ATTEMPTS,
        stop: threading.Event | None = None,
        **parameters: Any,
    ) -> Answer:
        """As `call`, but a refusal is an answer too; raises only for what no attempt can change (options, a missing library)."""
        waiting = stop or threading.Event()
        between = pauses(self.options.deadline_seconds)
        for attempt in range(1, attempts + 1):
            answer = self._once(operation, doing, key, parameters)
            if not isinstance(answer, Refusal) or not answer.transient or attempt == attempts:
                return answer
            pause = next(between, None)
            if pause is None or waiting.wait(pause):
                return answer
        raise AssertionError("unreachable")

    def read_chunk(self, body: Any, size: int, key: str) -> bytes | Refusal:
        """The next bytes of a body; b"" only at its end."""
        try:
            data: bytes = body.read(size)
            return data
        except Exception as error:
            if not _is_of_the_connection(error):
                raise
            refusal = explain(error, "get_object", "reading", self.options.place(key), self.options, self._words())
        return refusal

    @property
    def region(self) -> str:
        """The one that requests are signed for: the options', the environment's, or Amazon's first."""
        return str(self._connected().meta.region_name)

    def close(self) -> None:
        with self._lock:
            if self._boto is not None and hasattr(self._boto, "close"):
                self._boto.close()
            self._boto = None

    def _once(self, operation: str, doing: str, key: str | None, parameters: dict[str, Any]) -> Answer:
        if key is not None:
            parameters = {**parameters, "Key": self.options.prefix + key}
        if "Body" in parameters:
            parameters = {**parameters, "Body": _Body(parameters["Body"])}
        try:
            boto = self._connected()
            answer: dict[str, Any] = getattr(boto, operation)(Bucket=self.options.bucket, **parameters)
            promised = _PROMISED.get(operation)
            return answer if promised is None or promised in answer else malformed(doing, self.options.place(key or ""), self.options)
        except (ConfigurationError, RepositoryError):
            raise
        except Exception as error:
            if not _is_of_the_connection(error):
                raise
            refusal = explain(error, operation, doing, self.options.place(key or ""), self.options, self._words())
        # Outside of the except block: the original, with the store's raw words, is not carried along.
        return refusal

    def _words(self) -> tuple[str, ...]:
        return self._credential.words() if self._credential is not None else ()

    def _connected(self) -> Any:
        with self._lock:
            if self._boto is None:
                self._boto = self._make()
            return self._boto

    def _make(self) -> Any:
        # botocore is boto3's own lower half, and all that is needed of it: it starts faster alone.
        minimum, debian = "1.29", "python3-boto3"
        botocore = deps.load("botocore.session", minimum=minimum, package="botocore", debian=debian)
        config = deps.load("botocore.config", minimum=minimum, package="botocore", debian=debian)
        given = self.options
        credential = self._credential = read_credential(given)
        if given.ca_file is not None and not os.access(given.ca_file, os.R_OK):
            raise ConfigurationError(
                f"ca_file {given.ca_file} cannot be read", f"repository {given.name!r}", "Correct the path or its mode."
            )
        # Sessions are not thread-safe, clients are: the session lives only here, under the lock.
        keys: dict[str, Any] = {}
        if credential is None:
            session = botocore.Session(profile=given.profile)
        else:
            # A file that is named is the only source: AWS_PROFILE is not looked at.
            session = botocore.Session(session_vars={"profile": (None, None, None, None)})
            keys = {
                "aws_access_key_id": credential.access_key,
                "aws_secret_access_key": credential.secret_key,
                "aws_session_token": credential.session_token,
            }
        # A listing of a million names has as many moments, and botocore's own parser takes any way of writing one.
        utils = deps.load("botocore.utils", minimum=minimum, package="botocore", debian=debian)
        parsers = session.get_component("response_parser_factory")
        parsers.set_parser_defaults(timestamp_parser=lambda value: _usual_moment(value) or utils.parse_timestamp(value))
        # To learn that there is an S3 it would look through the folders of four hundred services, twice.
        session.get_component("data_loader").list_available_services = lambda type_name: ["s3"]
        client = session.create_client(
            "s3",
            endpoint_url=given.endpoint,
            region_name=given.region or session.get_config_variable("region") or "us-east-1",
            verify=given.ca_file,  # None: the system's authorities, or AWS_CA_BUNDLE
            config=config.Config(**self._settings(deps.installed_version("botocore", botocore))),
            **keys,
        )
        _teach_conditions(client)
        return client

    def _settings(self, version: str) -> dict[str, Any]:
        given = self.options
        settings: dict[str, Any] = {
            "signature_version": "s3v4",
            "s3": {"addressing_style": "path" if given.path_style else "auto"},
            "connect_timeout": given.connect_timeout_seconds,
            "read_timeout": given.read_timeout_seconds,
            "retries": {"total_max_attempts": 1, "mode": "standard"},
            "max_pool_connections": 2 * given.max_threads + 4,
            "tcp_keepalive": True,
            "user_agent_extra": f"lifeboat/{VERSION}",
        }
        if deps.version_at_least(version, "1.36"):
            # From 1.36 on botocore adds checksum trailers that many stores refuse; ours are Content-MD5 and what comes back.
            settings["request_checksum_calculation"] = "when_required"
            settings["response_checksum_validation"] = "when_required"
        return settings


def _usual_moment(value: Any) -> dt.datetime | None:
    """The moment in the form that S3 documents (2026-11-21T03:15:00.000Z), None for any other."""
    if not isinstance(value, str) or not value.endswith("Z"):
        return None
    try:
        return dt.datetime.fromisoformat(value[:-1] + "+00:00")
    except ValueError:
        return None


def _is_of_the_connection(error: Exception) -> bool:
    """Whether a library of the connection raised this; anything else is a fault of this program."""
    return type(error).__module__.partition(".")[0] in ("botocore", "boto3", "urllib3", "http", "ssl", "socket") or isinstance(
        error, OSError
    )


def _teach_conditions(client: Any) -> None:
    """Let a botocore from before conditional writes (1.35) send `IfNoneMatch` all the same."""

    def take(params: dict[str, Any], context: dict[str, Any], **_rest: Any) -> dict[str, Any]:
        if "IfNoneMatch" not in params:
            return params
        context["lifeboat_if_none_match"] = params["IfNoneMatch"]
        return {name: value for name, value in params.items() if name != "IfNoneMatch"}

    def give(params: dict[str, Any], context: dict[str, Any], **_rest: Any) -> None:
        if "lifeboat_if_none_match" in context:
            params["headers"]["If-None-Match"] = context["lifeboat_if_none_match"]

    for operation in ("PutObject", "CompleteMultipartUpload"):
        if "IfNoneMatch" not in client.meta.service_model.operation_model(operation).input_shape.members:
            client.meta.events.register(f"provide-client-params.s3.{operation}", take)
            client.meta.events.register(f"before-call.s3.{operation}", give)
