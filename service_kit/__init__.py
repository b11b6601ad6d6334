"""Everything a Python microservice needs to take part in sessions: receive invites, join rooms, report readiness until
the manager acknowledges it, and leave when the session ends.

    service = Service("asr-service", type="ASR")

    @service.on_invite
    async def transcribe(job: SessionJob) -> None:
        room = await job.join()
        await warm_up(room)
        await job.say_ready()
        await job.ended()

    service.run()
"""

from manager_agent.messages import Invite, ReadyOn
from service_kit.load import LoadGauge
from service_kit.registration import RegistrationRefused
from service_kit.service import Service
from service_kit.session_job import Decline, SessionJob, SessionJobEnded
from service_kit.session_jobs import Handler
from service_kit.settings import ServiceSettings

__all__ = [
    "Decline",
    "Handler",
    "Invite",
    "LoadGauge",
    "ReadyOn",
    "RegistrationRefused",
    "Service",
    "ServiceSettings",
    "SessionJob",
    "SessionJobEnded",
]
