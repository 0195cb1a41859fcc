"""A run on the clock, kept so that it can be made again and compared step by step.

Kept are the oracle's answers, as a tape, and of every step its time, its vCPU, the routine that
made it and what it was, as a line of text. Durations and the order of equal times come from the
run's seed; the lines hold what they led to. The same run is then made with these answers, and
ends at the first step that is not the one recorded.
"""

import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import zip_longest
from types import GeneratorType
from typing import NamedTuple, Protocol

from sim.effects import (
    DECLINED,
    EFFECTS,
    MARK,
    Acquire,
    Activity,
    Await,
    AwaitAcks,
    Block,
    Bulk,
    CpuMode,
    Effect,
    Mode,
    Note,
    Release,
    Send,
    Step,
    Stretch,
    Trap,
    Unbroken,
    WaitUntil,
)
from sim.oracle import Oracle, RecordingOracle, ReplayingOracle
from sim.probes import Probe
from sim.routines import calls, not_an_effect, routine_of
from sim.tape import Tape

_TOLD: dict[type, str] = {
    Step: "step",
    Bulk: "bulk",
    Stretch: "bulk",
    Trap: "call",
    Acquire: "acquire",
    Release: "release",
    WaitUntil: "wait",
    Block: "block",
    Await: "await",
    AwaitAcks: "acks",
    Send: "send",
}
"""Effects that other vCPUs could see something of, and what they are called in a line."""


_LAST = 40
"""So many of the last lines are kept for people."""


class StepDiffers(Exception):
    """A run makes another step than the one recorded."""

    def __init__(self, number: int, recorded: str | None, made: str | None) -> None:
        super().__init__(
            f"step {number} was {recorded or 'none: the run had ended'}, and is "
            f"{made or 'none: the run has ended'} now"
        )
        self.number = number
        self.recorded = recorded
        self.made = made


class Enough(Exception):
    """So many steps as somebody wanted to see have been made."""


class Follower(Protocol):
    """Whoever follows a run on the clock: it is given the parts of the run before it begins."""

    def oracle(self, oracle: Oracle) -> Oracle:
        """The oracle that is to be asked in this one's place."""

    def activity(self, activity: Activity) -> Activity:
        """The same activity, whose steps are followed."""

    def probe(self, probe: Probe | None) -> Probe:
        """The probe to be told, which passes on what is for this one."""


class _Made(NamedTuple):
    """The note that an effect has been carried out."""

    what: str


class _Lines:
    """Makes a line of every step, and hands it to ``take``."""

    def __init__(self) -> None:
        self._inner: Probe | None = None
        self._stop: Exception | None = None

    def activity(self, activity: Activity, *, hypervisor: bool = False) -> Activity:
        """The same activity, with a note after each effect that others could see."""
        answer: object = None
        while True:
            try:
                effect = activity.send(answer)
            except StopIteration as end:
                return end.value
            kind = effect.__class__
            what = _TOLD.get(kind)
            if what is None:
                if kind not in EFFECTS and kind is not GeneratorType:
                    raise not_an_effect(activity, effect)
                if isinstance(effect, Unbroken):
                    answer = DECLINED  # each of its steps is a line
                    continue
                if effect is MARK:
                    answer = None  # nothing is told from one of many
                    continue
                if isinstance(effect, Mode):
                    hypervisor = effect.mode is CpuMode.HYPERVISOR
                elif isinstance(effect, GeneratorType):
                    effect = self.activity(effect, hypervisor=hypervisor)
                answer = yield effect
                continue
            assert isinstance(effect, Effect)
            mode = "hypervisor" if hypervisor else "guest"
            line = f"{mode} {_described(activity, effect, what)}"
            answer = yield self._inside(effect)
            yield Note(_Made(line))
            if self._stop is not None:
                raise self._stop

    def probe(self, probe: Probe | None) -> Probe:
        """This one, which passes on what is for the other."""
        self._inner = probe
        return self

    def note(self, vcpu: int, time_ns: int, what: object) -> None:
        """A step has been made, or something that is for the other probe."""
        if isinstance(what, _Made):
            self.take(f"{time_ns} {vcpu} {what.what}")
        elif self._inner is not None:
            self._inner.note(vcpu, time_ns, what)

    def take(self, line: str) -> None:
        """The next line."""
        raise NotImplementedError

    def _inside(self, effect: Effect) -> Effect:
        """The same effect; the activities that it begins are followed, too."""
        if isinstance(effect, Trap):
            return Trap(self.activity(effect.activity, hypervisor=True), effect.cost)
        if isinstance(effect, Send):
            send = effect
            return Send(
                send.name,
                send.targets,
                lambda: self.activity(send.handler(), hypervisor=send.hypervisor),
                latency=send.latency,
                hypervisor=send.hypervisor,
            )
        return effect


class Recording(_Lines):
    """Keeps a run: its tape, and its lines in a compressed form."""

    def __init__(self) -> None:
        super().__init__()
        self._oracle: RecordingOracle | None = None
        self._compressor = zlib.compressobj()
        self._compressed = bytearray()
        self.steps = 0

    def oracle(self, oracle: Oracle) -> Oracle:
        """The same oracle, whose answers are kept."""
        self._oracle = RecordingOracle(oracle)
        return self._oracle

    def take(self, line: str) -> None:
        """The next line."""
        self.steps += 1
        self._compressed += self._compressor.compress(line.encode() + b"\n")

    @property
    def tape(self) -> Tape:
        """The oracle's answers."""
        return Tape(()) if self._oracle is None else self._oracle.tape

    def lines(self) -> bytes:
        """All lines so far, compressed."""
        return bytes(self._compressed) + self._compressor.copy().flush()


class Replaying(_Lines):
    """Gives a run the answers that are on a tape, and holds its steps against those recorded.

    ``until``: raise :class:`Enough` after so many steps.
    """

    def __init__(self, tape: Tape, recorded: Iterable[str], *, until: int | None = None) -> None:
        super().__init__()
        self._replaying = ReplayingOracle(tape)
        self._recorded = iter(recorded)
        self._until = until
        self.steps = 0
        self.last: deque[str] = deque(maxlen=_LAST)
        """The lines of the last steps."""

    def oracle(self, oracle: Oracle) -> Oracle:  # noqa: ARG002 - a follower's signature
        """The one that reads the tape."""
        return self._replaying

    def take(self, line: str) -> None:
        """The next line, which ought to be the next one recorded."""
        if self._stop is not None:
            return  # another vCPU's, before the run is over
        recorded = next(self._recorded, None)
        if recorded != line:
            self._stop = StepDiffers(self.steps, recorded, line)
            return
        self.steps += 1
        self.last.append(line)
        if self.steps == self._until:
            self._stop = Enough()

    def end(self) -> None:
        """The run is over.

        Raises:
            StepDiffers: more steps were recorded, or a step differed and the run ended with it.
            Diverged: there are answers left on the tape.
        """
        if self._stop is not None:
            raise self._stop
        recorded = next(self._recorded, None)
        if recorded is not None:
            raise StepDiffers(self.steps, recorded, None)
        self._replaying.end()


def read_lines(compressed: bytes) -> Iterator[str]:
    """The lines of a recording.

    Raises:
        ValueError: that is none, or not all of it.
    """
    decompressor = zlib.decompressobj()
    try:
        text = decompressor.decompress(compressed).decode()
    except (zlib.error, UnicodeDecodeError) as error:
        raise ValueError("is no compressed text") from error
    if not decompressor.eof:
        raise ValueError("ends in the middle")
    return iter(text.splitlines())


def compare(first: bytes, second: bytes) -> None:
    """Hold two recordings of one run against each other.

    Raises:
        StepDiffers: the first step in which they differ.
    """
    pairs = zip_longest(read_lines(first), read_lines(second))
    for number, (one, other) in enumerate(pairs):
        if one != other:
            raise StepDiffers(number, one, other)


def _described(activity: Activity, effect: Effect, what: str) -> str:
    """The routine that is about to have this effect, and the effect."""
    *_, running = calls(activity)
    routine = routine_of(running)
    if isinstance(effect, Acquire | Release):
        return f"{routine}: {what} {effect.lock.key}"
    return f"{routine}: {what}"
