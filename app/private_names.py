"""The private names of libraries that this code uses, why, and a check that the installed version has them.

Any release may rename a private name, and some features would then be off without an error. So a process does not start
if a name is missing, and a test compares this list with the code.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from types import FunctionType


class PrivateNameMissingError(Exception):
    """The installed version of a library lacks a private name that this code depends on."""


@dataclass(frozen=True, slots=True)
class PrivateName:
    """A name of a class, or of a module if `owner` ends with a colon, and what fails without it.

    The name is an attribute of its owner, or one that the methods of a class use on themselves.
    """

    owner: str
    name: str
    purpose: str

    @property
    def library(self) -> str:
        """The distribution that the name belongs to."""
        return self.owner.partition(".")[0].partition(":")[0]

    def exists(self) -> bool:
        """Whether the installed version has the name. Imports the module of the owner."""
        module_name, _, class_name = self.owner.partition(":")
        owner: object
        try:
            owner = importlib.import_module(module_name)
            if class_name:
                owner = getattr(owner, class_name)
        except (ImportError, AttributeError):
            return False
        return hasattr(owner, self.name) or (isinstance(owner, type) and self.name in _used_by_methods_of(owner))


_PROTOCOL = "uvicorn.protocols.http.httptools_impl:HttpToolsProtocol"
_CYCLE = "uvicorn.protocols.http.httptools_impl:RequestResponseCycle"

PRIVATE_NAMES = (
    # The module is undocumented, so all names used from it are listed, also those without an underscore.
    *(
        PrivateName(_PROTOCOL, name, purpose)
        for name, purpose in {
            "_start_asgi_task": "the limits of connections and of requests that are being answered",
            "_unset_keepalive_if_required": "one time limit for each wait",
            "_unsupported_upgrade_warning": "no warning for each request that offers another protocol",
            "connection_made": "the time limit of the first request",
            "connection_lost": "the end of the time limits",
            "connections": "the limit of connections",
            "cycle": "the time limit of a request's body",
            "data_received": "the limit of the bytes of a header that has not ended",
            "limit_concurrency": "the limit of requests that are being answered",
            "loop": "the time limits",
            "on_header": "the limit of the bytes of headers",
            "on_headers_complete": "the limit of pipelined requests",
            "on_message_begin": "the time limit of a request",
            "on_message_complete": "the end of that time limit",
            "on_response_complete": "the order of answers to pipelined requests",
            "on_url": "the limit of the bytes of a URL",
            "pause_writing": "the time limit of a caller that does not read",
            "pipeline": "the limit of pipelined requests",
            "resume_writing": "the end of that time limit",
            "send_400_response": "problem+json for what is not an HTTP request",
            "tasks": "the number of requests that are being answered",
            "timeout_keep_alive_task": "the time limit between two requests",
            "transport": "answers without the application",
            "url": "the limit of the bytes of a URL",
        }.items()
    ),
    *(
        PrivateName(_CYCLE, name, purpose)
        for name, purpose in {
            "keep_alive": "the end of a connection beyond the limit",
            "response_complete": "the order of answers to pipelined requests",
            "response_started": "the time limit of a request's body",
            "scope": "answers without the application",
        }.items()
    ),
    PrivateName("uvicorn:Server", "capture_signals", "an orderly stop by this code's own handlers of signals"),
    PrivateName("uvicorn:Server", "startup", "the announcement that the server listens"),
    # Tears down a client that does not stop: see adapters/kafka/clients.py.
    PrivateName("aiokafka:AIOKafkaProducer", "_sender", "the end of a producer that does not stop"),
    PrivateName("aiokafka:AIOKafkaProducer", "client", "the end of a producer that does not stop"),
    PrivateName("aiokafka:AIOKafkaConsumer", "_coordinator", "the end of a consumer that does not stop"),
    PrivateName("aiokafka:AIOKafkaConsumer", "_client", "the end of a consumer that does not stop"),
    PrivateName("aiokafka:AIOKafkaConsumer", "_fetcher", "the end of a consumer that does not stop"),
    # See adapters/kafka/topic_metadata.py.
    *(
        PrivateName("aiokafka.client:AIOKafkaClient", name, "the id of the events topic")
        for name in ("get_random_node", "send")
    ),
    PrivateName("aiokafka.admin:AIOKafkaAdminClient", "_client", "the end of a client that does not stop"),
    PrivateName("aiokafka.producer.sender:Sender", "_sender_task", "the end of a producer that does not stop"),
    *(
        PrivateName("aiokafka.consumer.group_coordinator:GroupCoordinator", name, "the end of a consumer's membership")
        for name in ("_heartbeat_task", "_commit_refresh_task", "_coordination_task")
    ),
    PrivateName(
        "aiokafka.consumer.group_coordinator:NoGroupCoordinator",
        "_reset_committed_task",
        "the end of a consumer that does not stop",
    ),
    *(
        PrivateName("aiokafka.consumer.fetcher:Fetcher", name, "the end of a consumer that does not stop")
        for name in ("_fetch_task", "_pending_tasks")
    ),
    # Records with a header whose name is not UTF-8: see adapters/kafka/tolerant_records.py.
    *(
        PrivateName(owner, name, "records with a header whose name is not UTF-8")
        for owner, name in (
            ("aiokafka.record.default_records:", "_DefaultRecordBatchPy"),
            ("aiokafka.record.default_records:_DefaultRecordBatchPy", "_read_msg"),
            ("aiokafka.record.default_records:_DefaultRecordBatchPy", "_buffer"),
            ("aiokafka.record.memory_records:", "_MemoryRecordsPy"),
            ("aiokafka.record.memory_records:", "DefaultRecordBatch"),
            ("aiokafka.consumer.fetcher:", "MemoryRecords"),
        )
    ),
    *(
        PrivateName("asyncio:Queue", name, "the limit of the queue of commands, by their size")
        for name in ("_init", "_put", "_get")
    ),
)


@cache
def check(library: str) -> None:
    """Check the names of the library, once in a process. Raises PrivateNameMissingError."""
    for private in PRIVATE_NAMES:
        if private.library == library and not private.exists():
            raise PrivateNameMissingError(
                f"{library} {_version_of(library)} has no {private.owner}.{private.name}, which is needed for"
                f" {private.purpose}; install a version that the requirements of this service name"
            )


def _used_by_methods_of(owner: type) -> set[str]:
    """The names in the code of the methods: instance attributes do not exist before there is an instance."""
    functions = (value for kind in owner.__mro__ for value in vars(kind).values() if isinstance(value, FunctionType))
    annotated = (name for kind in owner.__mro__ for name in vars(kind).get("__annotations__", ()))
    return {*annotated, *(name for function in functions for name in function.__code__.co_names)}


def _version_of(library: str) -> str:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return "of this Python"
