"""The application with a planted fault that the kill test has to find: it answers, then commits."""

import threading
from typing import Any

from sqlalchemy.orm import Session

from backend.main import create_app
from backend.settings import read_settings

LATE_S = 0.1


class HastySession(Session):
    """Commits a moment later, in the background."""

    def commit(self) -> None:
        """Say that it is done, and do it afterwards."""
        self.info["late"] = threading.Timer(LATE_S, self._commit_late)
        self.info["late"].start()

    def close(self) -> None:
        """Leave the connection to the late commit, if there is one."""
        if "late" not in self.info:
            super().close()

    def _commit_late(self) -> None:
        super().commit()
        super().close()


app = create_app(read_settings())
_database: Any = app.state.parts.database
_database.writing = lambda: HastySession(_database.writer, expire_on_commit=False)
