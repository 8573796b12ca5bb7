"""The channels: the providers' languages, one file each. To add one: a file, and its line in CHANNELS."""

from chatledger.channels import chat2desk, meta, twilio
from chatledger.channels.base import Channel

CHANNELS: dict[str, Channel] = {
    "chat2desk": chat2desk.CHANNEL,
    "twilio": twilio.CHANNEL,
    "meta": meta.CHANNEL,
}
"""Every channel by the name in paths, keys and project files."""

__all__ = ["CHANNELS", "Channel"]
