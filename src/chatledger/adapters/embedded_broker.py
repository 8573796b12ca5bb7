"""A Kafka-speaking broker inside this process: the mock cluster of librdkafka, from confluent-kafka.

It is for trying things out and for tests on one machine. It runs in threads of its own written in C and takes
no part in Python's interpreter lock, so that it may live in the process that supervises the services. When
that process ends, so does the broker with everything in it.

What it does, read in the source of librdkafka 2.12 and, but for the assertion, seen in trials:

* Topics are made on the first metadata request, with 4 partitions; `create_topic` makes others.
* **A partition keeps its newest 5 MiB (or 100,000 batches) and silently drops older records**, whoever has
  not read them yet. Memory is bounded by that: 38 MiB for one busy topic, the same after 270,000 records as
  after 60,000. So is how far a reader may fall behind: see `RETAINED_BYTES_PER_PARTITION`. A reader whose
  next record is gone gets OffsetOutOfRange; with `auto_offset_reset` "earliest" or "latest" it never hears
  of it, so use "none".
* There is no compaction. A changelog topic is complete only while it is smaller than that.
* One member per consumer group. With a second one, whoever synchronises after the leader gets InvalidRequest,
  which aiokafka takes as fatal; members with different assignors end the process by an assertion. After a
  `kill -9` of the only member the next one waits up to twice the session timeout, after a clean leave once.
* The cluster id that clients see is made from a memory address and is not sure to differ from run to run.
  `incarnation` is: hand it to the services beside the address.
* Idempotent producers, headers, committed offsets, offsets by beginning and end work. Offsets by time come
  back empty, and an acknowledgement's timestamp is always 1234. DescribeGroups, ListGroups and the admin
  protocol (topics, configurations, access) do not exist.
"""

from __future__ import annotations

import ctypes
import threading
import uuid
from types import TracebackType

from chatledger.errors import ConfigurationError, OutsideUnavailable

# Fixed in librdkafka; there is no setting for them.
DEFAULT_PARTITIONS = 4
RETAINED_BYTES_PER_PARTITION = 5 * 1024 * 1024
RETAINED_BATCHES_PER_PARTITION = 100_000

_PRODUCER = 0  # rd_kafka_type_t
_CONF_OK = 0  # rd_kafka_conf_res_t
_ERROR_TEXT_BYTES = 512
_POLL_TIMEOUT_MS = 250


class EmbeddedBroker:
    """One broker on a free loopback port, from `start()` to `stop()`; also a context manager."""

    def __init__(self) -> None:
        self._library: ctypes.CDLL | None = None
        self._client: int | None = None
        self._cluster: int | None = None
        self._stopping = threading.Event()
        self._poller: threading.Thread | None = None
        self._incarnation = ""
        self._bootstrap_servers = ""

    @property
    def bootstrap_servers(self) -> str:
        """The address, `host:port`, that clients and child processes connect to; empty before `start()`."""
        return self._bootstrap_servers

    @property
    def incarnation(self) -> str:
        """Names this life of the broker: another for each `start()`; empty before the first."""
        return self._incarnation

    def start(self) -> EmbeddedBroker:
        """Listens on a free port and returns itself; takes about 10 ms.

        Raises ConfigurationError where confluent-kafka is missing, OutsideUnavailable where it cannot listen.
        """
        if self._client is not None:
            return self
        library = _load_library()
        self._client, self._cluster = _new_cluster(library)
        # The first member of a group would otherwise wait 3 s for others, at every start of every service.
        library.rd_kafka_mock_group_initial_rebalance_delay_ms(self._cluster, 0)
        self._bootstrap_servers = library.rd_kafka_mock_cluster_bootstraps(self._cluster).decode()
        self._library = library
        self._incarnation = uuid.uuid4().hex
        self._stopping.clear()
        self._poller = threading.Thread(target=self._poll, name="embedded-broker", daemon=True)
        self._poller.start()
        return self

    def stop(self) -> None:
        """Closes every connection and forgets every record. Does nothing when it is not running."""
        if self._client is None or self._library is None or self._poller is None:
            return
        self._stopping.set()
        self._poller.join()
        self._library.rd_kafka_destroy(self._client)
        self._client = self._cluster = self._poller = None
        self._bootstrap_servers = ""

    def create_topic(self, name: str, *, partitions: int = DEFAULT_PARTITIONS) -> None:
        """Makes a topic before anybody asks for it, to have another number of partitions than 4.

        Raises OutsideUnavailable when the broker is not running or the topic exists.
        """
        if self._library is None or self._cluster is None:
            raise OutsideUnavailable("The embedded broker is not running: call start() first.")
        code = self._library.rd_kafka_mock_topic_create(self._cluster, name.encode(), partitions, 1)
        if code != 0:
            reason = self._library.rd_kafka_err2str(code).decode()
            raise OutsideUnavailable(f"The embedded broker could not make the topic {name}: {reason}")

    def _poll(self) -> None:
        # Nothing of interest comes out; but events that nobody takes would pile up in the client's queue.
        assert self._library is not None
        while not self._stopping.is_set():
            self._library.rd_kafka_poll(self._client, _POLL_TIMEOUT_MS)

    def __enter__(self) -> EmbeddedBroker:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _load_library() -> ctypes.CDLL:
    """Finds the C functions through the extension module of confluent-kafka, which is linked to them.

    Its Python classes can start a mock cluster too, but not tell its address or set its delays.
    """
    try:
        from confluent_kafka import cimpl
    except ImportError as error:
        raise ConfigurationError(
            "The embedded broker needs the package confluent-kafka. Install chatledger[embedded], "
            "or set CHATLEDGER_BROKER to the address of a broker."
        ) from error
    library = ctypes.CDLL(cimpl.__file__)
    try:
        _declare(library)
    except AttributeError as error:
        raise ConfigurationError(
            f"This build of confluent-kafka has no mock cluster ({error}). Set CHATLEDGER_BROKER to the "
            "address of a broker, or install the wheel of confluent-kafka."
        ) from error
    return library


def _declare(library: ctypes.CDLL) -> None:
    """Gives each C function its types: without them 64-bit pointers would be cut to 32 bits."""
    pointer, text, integer = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    signatures: dict[str, tuple[object, list[object]]] = {
        "rd_kafka_conf_new": (pointer, []),
        "rd_kafka_conf_destroy": (None, [pointer]),
        "rd_kafka_conf_set": (integer, [pointer, text, text, text, ctypes.c_size_t]),
        "rd_kafka_new": (pointer, [integer, pointer, text, ctypes.c_size_t]),
        "rd_kafka_poll": (integer, [pointer, integer]),
        "rd_kafka_destroy": (None, [pointer]),
        "rd_kafka_err2str": (text, [integer]),
        "rd_kafka_handle_mock_cluster": (pointer, [pointer]),
        "rd_kafka_mock_cluster_bootstraps": (text, [pointer]),
        "rd_kafka_mock_group_initial_rebalance_delay_ms": (None, [pointer, ctypes.c_int32]),
        "rd_kafka_mock_topic_create": (integer, [pointer, text, integer, integer]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, name)
        function.restype = result
        function.argtypes = arguments


def _new_cluster(library: ctypes.CDLL) -> tuple[int, int]:
    """Makes the client that owns the cluster; returns the pointers of both."""
    error_text = ctypes.create_string_buffer(_ERROR_TEXT_BYTES)
    configuration = library.rd_kafka_conf_new()
    settings = {
        "test.mock.num.brokers": "1",
        "log_level": "3",  # errors; the lower levels announce on stderr that this is a mock
    }
    for name, value in settings.items():
        outcome = library.rd_kafka_conf_set(configuration, name.encode(), value.encode(), error_text, _ERROR_TEXT_BYTES)
        if outcome != _CONF_OK:
            library.rd_kafka_conf_destroy(configuration)
            raise ConfigurationError(f"librdkafka refuses {name}: {error_text.value.decode()}")
    client = library.rd_kafka_new(_PRODUCER, configuration, error_text, _ERROR_TEXT_BYTES)
    if not client:
        library.rd_kafka_conf_destroy(configuration)
        raise OutsideUnavailable(f"The embedded broker could not start: {error_text.value.decode()}")
    return client, library.rd_kafka_handle_mock_cluster(client)
