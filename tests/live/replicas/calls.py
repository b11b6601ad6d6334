"""A session with a service and a user in its room, and what they notice."""

from __future__ import annotations

from typing import Any, Self

from tests.live.bots import Bot
from tests.live.humans import Human
from tests.live.manager_process import ManagerProcess
from tests.live.replicas.replica import ReplicaProcess
from tests.live.replicas.replica_site import ReplicaSite

SAME = ("session_id", "room_name", "state", "user_identity", "created_at", "ready_at", "services")
"""What users and clients are shown, and must not change when another replica acts."""


class ReplicaCall:
    """A session in which both are."""

    def __init__(self, site: ReplicaSite, bot: Bot) -> None:
        self._site, self.bot, self.user = site, bot, Human()
        self.noticed: list[str] = []
        """Who left the room, as its user and service saw it."""

    @classmethod
    async def of(cls, site: ReplicaSite, bot: Bot, through: ManagerProcess) -> Self:
        """One that was asked for through this replica, or by a single process."""
        call, before = cls(site, bot), len(bot.invites)
        opened = await site.request(through, bot.service_id)
        await bot.join(await bot.invited(before + 1))
        ready = await through.until(opened["session_id"], "ready")
        await call.user.join(ready)
        for room in (call.user.room, bot.room):
            room.on("disconnected", lambda reason: call.noticed.append(f"disconnected: {reason}"))
            room.on("participant_disconnected", lambda participant: call.noticed.append(participant.identity))
        call.session = await through.until(opened["session_id"], "active")
        if isinstance(through, ReplicaProcess):
            call.owner = await site.owner(call.room_name)
        return call

    session: dict[str, Any]
    """As it was shown when both were in the room."""
    owner: ReplicaProcess
    """The replica that acted for it then, if there were replicas."""

    @property
    def id(self) -> str:
        return str(self.session["session_id"])

    @property
    def room_name(self) -> str:
        return str(self.session["room_name"])

    @property
    def others(self) -> list[ReplicaProcess]:
        """The replicas that did not own it when it began."""
        return [one for one in self._site.replicas if one is not self.owner]

    async def goes_on(self, through: ReplicaProcess) -> None:
        """Through this replica it is shown as before, and its service and user noticed nothing."""
        after = await through.session(self.id)
        assert {name: after[name] for name in SAME} == {name: self.session[name] for name in SAME}
        assert self.noticed == []
        assert self.bot.session_ended_messages == []
        assert [one.session.session_id for one in self.bot.invites].count(self.id) == 1

    async def ends(self, through: ReplicaProcess) -> None:
        """It can be ended through this replica, for all who are in its room."""
        assert (await through.end_session(self.id))["reason"] == "closed"
        await self.user.is_out()
        assert (await self.bot.told_goodbye()).session.session_id == self.id
