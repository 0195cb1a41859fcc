"""Every interleaving that can differ, each once: partial order reduction with source sets.

Two orders of steps are equivalent if one becomes the other by exchanging neighbours that do not
depend on each other. Of each class of equivalent orders one is run. Which steps depend on each
other is read off the footprints of the execution that has just been made: where two of them could
have come the other way round, that is tried, too. A vCPU whose next step was tried already, and
on which nothing since has had any influence, is asleep: it need not be tried again. Where
interrupts are sent, some classes are run more than once: the answers of a step sleep together.

Source: Abdulla, Aronis, Jonsson and Sagonas, Optimal Dynamic Partial Order Reduction (POPL 2014),
"source-DPOR", with sleep sets after Godefroid.
"""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field

from sim.explore.cpu import CannotExplore, Seen
from sim.explore.dependence import Dependence, Event, History
from sim.explore.execution import STOP, Execution, Known
from sim.explore.program import Program


@dataclass
class Node:
    """A state of the execution that is being made, and what was tried there."""

    ready: tuple[int, ...]
    vcpu: int
    """Whose step is being tried."""
    asleep: dict[int, list[Seen]]
    """vCPUs whose next steps need not be tried (again), with what these touch."""
    todo: set[int]
    """vCPUs whose next steps are to be tried."""
    answers: list[tuple[int, int]] = field(default_factory=list)
    """The answers to the step's own questions: (taken, of how many)."""
    seen: list[Seen] = field(default_factory=list)
    """What the step touched, with each of its answers so far."""


@dataclass
class Position:
    """Where a search stands: all that it takes to go on, in another process as well."""

    nodes: list[Node] = field(default_factory=list)
    first_answers: list[tuple[int, int]] = field(default_factory=list)
    """To questions that come up before any step."""
    interrupts: bool = False
    noticed: set[Hashable] = field(default_factory=set)
    """See :class:`sim.explore.dependence.Dependence`."""
    changing: set[tuple[str, str]] = field(default_factory=set)
    """What the recorder of the program has to know: see :class:`sim.footprint.Recorder`."""
    classes: int = 0
    """Executions that ended."""
    blocked: int = 0
    """Executions given up since all that could follow was tried before."""
    begun_again: int = 0
    """How often all was forgotten, since more depends on each other than was known."""
    over: bool = False
    root: int | None = None
    """The depth of the state from which only the step tried at first is this search's business,
    one of several in the same tree; None: all of it is."""
    asked: list[tuple[int, list[int]]] = field(default_factory=list)
    """What is to be tried from these states, by their depth: one of so many vCPUs first."""


class ClassSearch:
    """The search; it can be stopped after any execution, and goes on from its position."""

    def __init__(self, program: Program, position: Position | None = None) -> None:
        if program.recorder is None:
            raise CannotExplore("the program's footprints are not known: nobody records them")
        self._program = program
        if position is not None:
            program.recorder.note_also(position.changing)
        self.position = position or Position(changing=set(program.recorder.changing))
        self.dependence = Dependence(program.recorder)
        self.dependence.learn(interrupts=self.position.interrupts, noticed=self.position.noticed)
        self._history = History(0, self.dependence)
        self._in_doubt: set[Hashable] = set()
        """Words to which additions were taken to commute, by who slept, and perhaps do not."""

    def __iter__(self) -> Iterator[Execution]:
        position = self.position
        while not position.over:
            known = self._known_steps()
            follower = _Follower(self, len(known))
            execution = self._program.run(follower, goes_on=True, seen=follower.saw, known=known)
            if self._look_for_races(execution) or self._in_doubt:
                self._begin_again()
                continue
            position.over = not self._next()
            if execution.stopped:
                position.blocked += 1
            else:
                position.classes += 1
                yield execution

    def _known_steps(self) -> list[Known]:
        """The steps up to the last state, from which something new is tried."""
        return [
            Known(node.ready, event.seen)
            for node, event in zip(self.position.nodes, self._history.events, strict=False)
        ]

    # -- between two executions ---------------------------------------------------------------

    def _look_for_races(self, execution: Execution) -> bool:
        """See which steps could have come the other way round, and note to try it.

        True: steps turn out to depend on each other which were not taken to do so.
        """
        dependence = self.dependence
        history = self._history
        if not history.events:
            history = self._history = History(len(execution.results), dependence)
        known = len(history.events)
        for seen in execution.steps[known:]:
            event = history.event(seen)
            if event.depends_on:
                self._reverse(history, event)
            history.add(event)
        for waits in execution.pending:
            if waits is not None:
                self._reverse(history, history.event(waits))
        if not dependence.interrupts and any(step.sent_to for step in execution.steps[known:]):
            dependence.learn(interrupts=True)
            return True
        noticed = history.noticed(known)
        if noticed:
            dependence.learn(noticed=noticed)
        return bool(noticed) or dependence.recorder.changing != self.position.changing

    def _begin_again(self) -> None:
        position, dependence = self.position, self.dependence
        dependence.learn(noticed=self._in_doubt)
        self._in_doubt = set()
        position.nodes, position.first_answers, position.asked = [], [], []
        # The other parts have to begin again, too.
        position.over = position.root is not None
        position.interrupts, position.noticed = dependence.interrupts, set(dependence.noticed)
        position.changing = set(dependence.recorder.changing)
        position.classes = position.blocked = 0
        position.begun_again += 1
        self._history = History(0, dependence)

    def _reverse(self, history: History, event: Event) -> None:
        for earlier in history.races(event):
            depth = earlier.number
            node = self.position.nodes[depth]
            firsts = history.firsts(earlier, event)
            if node.todo.isdisjoint(firsts) and node.asleep.keys().isdisjoint(firsts):
                can = [vcpu for vcpu in firsts if vcpu in node.ready]
                if self.position.root is None or depth > self.position.root:
                    node.todo.update(can[-1:])
                elif can and (depth, can) not in self.position.asked:
                    self.position.asked.append((depth, can))

    def _next(self) -> bool:
        """Go back to where something is left to be tried; False if nothing is."""
        nodes = self.position.nodes
        while nodes:
            node = nodes[-1]
            if count_up(node.answers):
                break
            if self.position.root == len(nodes) - 1:
                return False
            node.asleep[node.vcpu] = node.seen
            rest = sorted(node.todo - node.asleep.keys())
            if rest:
                node.vcpu, node.answers, node.seen = rest[0], [], []
                break
            nodes.pop()
        else:
            if not count_up(self.position.first_answers):
                return False
        self._history.drop(max(len(nodes) - 1, 0))
        return True

    # -- while one is being made -----------------------------------------------------------------

    def node_at(self, depth: int, ready: Sequence[int], last: Seen | None) -> Node | None:
        """The state after so many steps; None if nothing is left to be tried from it."""
        if depth < len(self.position.nodes):
            node = self.position.nodes[depth]
            if node.ready is not ready and node.ready != tuple(ready):
                raise CannotExplore(
                    f"before step {depth} the vCPUs {list(node.ready)} could go on, and now "
                    f"{list(ready)}: something outside the effects decides this program"
                )
            return node
        asleep = {} if last is None else self._still_asleep(self.position.nodes[depth - 1], last)
        awake = [vcpu for vcpu in ready if vcpu not in asleep]
        if not awake or self._in_doubt:
            return None
        # Who went last goes on: the fewer switches, the easier to read.
        vcpu = last.vcpu if last is not None and last.vcpu in awake else awake[0]
        node = Node(tuple(ready), vcpu, asleep, {vcpu})
        self.position.nodes.append(node)
        return node

    def _still_asleep(self, node: Node, last: Seen) -> dict[int, list[Seen]]:
        """Those asleep at a node on which the step made there has no influence."""
        if not node.asleep:
            return {}
        for steps in node.asleep.values():
            for step in steps:
                self._in_doubt |= self.dependence.in_doubt(last, step)
        return {
            vcpu: steps
            for vcpu, steps in node.asleep.items()
            if not any(self.dependence.between(last, step) for step in steps)
        }

    @property
    def done(self) -> float:
        """An estimate of the part of the work that is done, from 0 to 1.

        As if below each state its alternatives known so far were of one size; more of them may
        come up.
        """
        part, share = 0.0, 1.0
        for node in self.position.nodes:
            known = len(node.todo)
            finished = len(node.todo & node.asleep.keys())
            part += share * finished / known
            share /= known
        return 1.0 if self.position.over else part


class _Follower:
    """The scheduler of one execution: follows the nodes there are, and goes on from the last."""

    def __init__(self, search: ClassSearch, known: int) -> None:
        """``known``: so many steps are followed of which everything is known."""
        self._search = search
        self._known = known
        self._answers = search.position.first_answers
        self._answered = 0
        self._depth = 0
        self._node: Node | None = None
        self._last: Seen | None = None

    def pick(self, ready: Sequence[int]) -> int:
        node = self._search.node_at(self._depth, ready, self._last)
        if node is None:
            return STOP
        self._node = node
        self._answers, self._answered = node.answers, 0
        self._depth += 1
        return node.vcpu

    def choose(self, name: str, alternatives: int) -> int:
        if self._answered == len(self._answers):
            if self._depth <= self._known and self._known:
                raise CannotExplore(
                    f"{name!r} was not asked before: something outside the effects decides this "
                    "program"
                )
            self._answers.append((0, alternatives))
        taken, expected = self._answers[self._answered]
        if expected != alternatives:
            raise CannotExplore(
                f"{name!r} had {expected} answers before and has {alternatives} now: something "
                "outside the effects decides this program"
            )
        self._answered += 1
        return taken

    def saw(self, seen: Seen) -> None:
        """What the step touched."""
        assert self._node is not None
        self._last = seen
        if seen not in self._node.seen:
            self._node.seen.append(seen)


def count_up(answers: list[tuple[int, int]]) -> bool:
    """The next combination of answers; False after the last one, which leaves none."""
    while answers:
        taken, alternatives = answers.pop()
        if taken + 1 < alternatives:
            answers.append((taken + 1, alternatives))
            return True
    return False
