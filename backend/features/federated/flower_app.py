"""What a run on a SuperLink does: the same conductor, in the SuperLink's own process.

That process reads its settings as this service does (`TASCO_DATABASE_URL` and the others in the
environment in which the SuperLink was started), so nothing secret travels with the run.
"""

from collections.abc import Mapping, Sequence
from contextlib import closing

import structlog
from sqlalchemy.exc import SQLAlchemyError

from backend.adapters.artifacts.files import ArtifactFiles
from backend.adapters.federation.exchange import Exchange
from backend.clock import Clock, SystemClock
from backend.database import Database
from backend.features.federated import enrolling, stopping
from backend.features.federated.conductor import Chair, conduct
from backend.features.federated.lease import LeaseLost
from backend.features.federated.models import FLOWER
from backend.features.federated.signatures import Checked
from backend.federation.tasks import Answer, Task
from backend.settings import read_settings

log = structlog.get_logger("tasco.federated")
EXPERIMENT = "experiment-id"


class Enrolled:
    """An exchange of which only those are asked who are enrolled here, too.

    A SuperLink may serve others, and a site can be barred here, or its credential taken back, while
    its node is still let in.
    """

    def __init__(self, exchange: Exchange, database: Database, clock: Clock) -> None:
        self._exchange, self._database, self._clock = exchange, database, clock

    def participants(self) -> Sequence[str]:
        """Who is connected and enrolled, in order of their names."""
        with self._database.reading() as db:
            enrolled = set(enrolling.entitled_names(db, FLOWER, now=self._clock.now()))
        return [name for name in self._exchange.participants() if name in enrolled]

    def ask(self, tasks: Sequence[Task], *, timeout_s: float) -> list[Answer]:
        """Bring each task to its node; see `Exchange`."""
        return self._exchange.ask(tasks, timeout_s=timeout_s)

    def missing(self) -> Mapping[str, str]:
        """Why who was asked last and did not answer did not."""
        return self._exchange.missing()

    def close(self) -> None:
        """Let go of the nodes."""
        self._exchange.close()


def conduct_run(exchange: Exchange, settings: Mapping[str, str]) -> None:
    """Conduct the experiment that a run's settings name; one that cannot go on is ended."""
    own, clock, experiment_id = read_settings(), SystemClock(), settings[EXPERIMENT]
    with closing(Database(own.database_url)) as database:
        files, asked = ArtifactFiles(own.artifacts_dir), Enrolled(exchange, database, clock)
        checked = Checked(asked, database, engine=FLOWER, clock=clock)
        try:
            conduct(Chair(database, checked, clock, _unseen, files), experiment_id)
        except LeaseLost:
            log.warning("federated.conducted_elsewhere", experiment_id=experiment_id)
        except SQLAlchemyError:
            raise  # taken up again when the database is back
        except Exception as error:
            stopping.give_up(database, experiment_id, error, now=clock.now())
            raise


def _unseen(_share: float, _stage: str) -> None:
    """Whoever follows the run reads its rounds."""
