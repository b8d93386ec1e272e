"""What is left to do in a folder: studies done before are skipped, those of other runs waited for, the lost retried."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from medseg.batch.claims import Claims
from medseg.batch.pipeline import Task, label_map_path
from medseg.batch.record import RECORD, Outcome, Record, input_digest, now
from medseg.types import StudyInput

POLL_S = 0.2
"""How often a run looks whether another one has let a study go."""

logger = logging.getLogger(__name__)


class Worklist:
    """The studies of one batch, handed out one by one and each ended once.

    A study is skipped where the record says that it went well with the same fingerprint from the same input and its
    label map lies there. One that another run is working on comes last: what that run wrote of it is then taken over.

    Args:
        inputs: the studies, in the order in which they are handed out.
        output: the folder.
        claims: entered; decides between this run and others.
        fingerprint: of the model and settings; "" skips nothing.
        again: do what is done already, too.
        on_done: called after each study.
    """

    def __init__(
        self,
        inputs: Sequence[StudyInput],
        output: Path,
        claims: Claims,
        *,
        fingerprint: str = "",
        again: bool = False,
        on_done: Callable[[Outcome], None] = lambda outcome: None,
    ) -> None:
        self.output = output
        self.outcomes: dict[str, Outcome] = {}
        self._record = Record(output / RECORD)
        self._claims = claims
        self._fingerprint = fingerprint
        self._again = again
        self._on_done = on_done
        self._left = deque(inputs)
        self._elsewhere: deque[StudyInput] = deque()
        self._lost: deque[Task] = deque()
        self._lock = threading.RLock()
        self._stopped = False

    @property
    def exhausted(self) -> bool:
        """Whether nothing is left to be handed out; what is handed out may still be lost and come back."""
        return self._stopped or not (self._left or self._elsewhere or self._lost)

    def __len__(self) -> int:
        """Studies that are not handed out yet."""
        return len(self._left) + len(self._elsewhere) + len(self._lost)

    def stop(self) -> None:
        """Hand out nothing more."""
        self._stopped = True

    def tasks(self) -> Iterator[Task]:
        """Every task in turn; waits for the studies of other runs."""
        while not self.exhausted:
            task = self.next()
            if task is not None:
                yield task
            elif not self.exhausted:
                time.sleep(POLL_S)

    def next(self, *, idle: bool = True) -> Task | None:
        """The next task, or None if there is none at the moment.

        Args:
            idle: whether the process that asks has no other study, so that one that was lost may be tried there.
        """
        with self._lock:
            if self._lost and idle and not self._stopped:
                return self._lost.popleft()
            while self._left and not self._stopped:
                if task := self._begin(self._left.popleft()):
                    return task
            for _ in range(0 if self._stopped else len(self._elsewhere)):
                if task := self._begin(self._elsewhere.popleft(), waited=True):
                    return task
        return None

    def finish(self, outcome: Outcome) -> None:
        """A study has ended: record it, let it go, report it."""
        with self._lock:
            self._record.append(outcome)
            self._end(outcome)

    def lost(self, tasks: Sequence[Task], why: str) -> None:
        """The process that worked on these was killed: each is tried once more, isolated; then it has failed."""
        for task in tasks:
            if not task.isolated:
                logger.warning("%s: %s; it is tried once more", task.study.study_id, why)
                self._lost.append(replace(task, isolated=True))
            else:
                self.finish(
                    Outcome(
                        task.study.study_id,
                        "failed",
                        why,
                        fingerprint=task.fingerprint,
                        input_digest=task.input_digest,
                        ended=now(),
                    )
                )

    def _begin(self, study: StudyInput, *, waited: bool = False) -> Task | None:
        """Claim a study; None if there is nothing to do for it, now or ever."""
        digest = input_digest(study)
        if not waited and self._skip(study, digest):  # without a claim: a folder that is done is passed over quickly
            return None
        if not self._claims.take(study.study_id):
            self._elsewhere.append(study)
            return None
        self._record.refresh()
        if self._skip(study, digest):
            return None
        theirs = self._record.last(study.study_id, since_start=True)
        if waited and theirs and self._same(theirs, digest) and theirs.status == "failed":
            self._end(theirs)
            return None
        return Task(study, digest, self._fingerprint)

    def _skip(self, study: StudyInput, digest: str) -> bool:
        before = self._record.last(study.study_id, since_start=self._again)
        place = label_map_path(self.output, study.study_id)
        if not (before and self._same(before, digest) and before.status == "ok" and place.is_file()):
            return False
        self.finish(replace(before, status="skipped", reason="done before", segmentation=str(place), ended=now()))
        return True

    def _same(self, before: Outcome, digest: str) -> bool:
        known = bool(self._fingerprint) and bool(digest)
        return known and (before.fingerprint, before.input_digest) == (self._fingerprint, digest)

    def _end(self, outcome: Outcome) -> None:
        self._claims.release(outcome.study_id)
        self.outcomes[outcome.study_id] = outcome
        if outcome.status == "failed":
            logger.error("%s: %s", outcome.study_id, outcome.reason)
        self._on_done(outcome)
