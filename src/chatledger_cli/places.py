"""Where the commands that talk to a running system find it: the environment first, then what `chatledger up` wrote."""

from __future__ import annotations

from chatledger.errors import ConfigurationError
from chatledger.settings import read_settings
from chatledger_cli.connect import broker_address, running_up
from chatledger_cli.up_settings import UpSettings


def bootstrap_servers() -> str:
    """The broker's address. Raises ConfigurationError where none is set and nothing runs."""
    settings = read_settings(UpSettings)
    broker = broker_address(settings)
    if broker is None:
        raise ConfigurationError(
            f"nothing runs on {settings.data_dir}: start `chatledger up`, or set CHATLEDGER_BROKER"
        )
    return broker.bootstrap_servers


def http_port() -> int:
    """The port of the running system, or the one that would be used."""
    settings = read_settings(UpSettings)
    state = running_up(settings)
    return state.port if state is not None else settings.port
