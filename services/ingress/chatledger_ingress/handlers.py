"""From a webhook to an acknowledgement: verify, limit, parse, publish. No HTTP framework.

Event ids are derived from what the provider uses to tell messages apart, so a webhook that is sent twice gives the
same id twice, and whoever reads the topics sees one event.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from chatledger import topics
from chatledger.channels import CHANNELS
from chatledger.channels.base import Channel, InboundSecrets, WebhookRequest
from chatledger.events.envelope import Envelope, conversation_id, from_outside
from chatledger.events.ids import derive_id
from chatledger.ports import Clock, Publisher
from chatledger.project_files import default_project
from chatledger.projects import ChannelSettings, Project
from chatledger_ingress.limits import DoorLimits
from chatledger_ingress.secrets import Door, Secrets

SOURCE = "/chatledger/ingress"
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
"""https://www.w3.org/TR/trace-context/#traceparent-header; an invalid one counts as absent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """All that is needed to take webhooks for one project on one channel."""

    door: Door
    channel: Channel
    settings: ChannelSettings
    secrets: InboundSecrets
    limits: DoorLimits


Routes = Mapping[str, Mapping[str, Target]]
"""What a path leads to, by the media type of what is posted there."""


def routes_of(projects: Mapping[str, Project], secrets: Secrets, *, monotonic: Callable[[], float]) -> Routes:
    """Return what each path of each channel leads to: `<path>/<project>`, and the bare path to its default project.

    Every channel has `/webhook/<channel>`, and what it names beside. Raises ConfigurationError when two projects claim
    one bare path.
    """
    targets = {
        (channel, project.name): Target(
            door=Door(project.name, channel),
            channel=CHANNELS[channel],
            settings=settings,
            secrets=secrets.get(Door(project.name, channel), InboundSecrets()),
            limits=DoorLimits(project.limits, monotonic=monotonic),
        )
        for project in projects.values()
        for channel, settings in project.channels.items()
    }
    routes: dict[str, dict[str, Target]] = {}
    for (channel, project_name), target in targets.items():
        default = default_project(projects, channel)
        for path in (f"/webhook/{channel}", *target.channel.paths):
            _add(routes.setdefault(f"{path}/{project_name}", {}), target)
            if default is not None and default.name == project_name:
                _add(routes.setdefault(path, {}), target)
    return routes


def _add(route: dict[str, Target], target: Target) -> None:
    """Add a target to a path. Of two that read a media type it goes to the one that names it earlier: its own form."""
    for rank, media_type in enumerate(target.channel.media_types):
        other = route.get(media_type)
        if other is None or rank < other.channel.media_types.index(media_type):
            route[media_type] = target


async def accept(target: Target, request: WebhookRequest, *, publisher: Publisher, clock: Clock) -> list[Envelope]:
    """Take one webhook and return its events once the broker has them.

    Raises a SenderError when the webhook is refused, BrokerUnavailable when it was not stored for sure. Strangers
    are turned away first, so that they cannot use up a project's limit.
    """
    target.channel.verify(request, target.settings, target.secrets)
    target.limits.take_for_project()
    received = target.channel.parse(request)
    for each in received:
        target.limits.take_for_client(each.client_id)
    project, channel = target.door.project, target.door.channel
    now = clock.now()
    traceparent = request.headers.get("traceparent")
    if traceparent is not None and _TRACEPARENT.fullmatch(traceparent) is None:
        traceparent = None
    envelopes = [
        from_outside(
            each.event,
            id=derive_id(project, channel, *each.dedupe_key),
            source=SOURCE,
            conversation=conversation_id(project, channel, each.client_id),
            time=now,
            traceparent=traceparent,
        )
        for each in received
    ]
    await publisher.publish(topics.INBOUND, envelopes)
    return envelopes
