"""One search for all orders, cut into parts that can be made anywhere, one beside the other.

A part is a position of a search that keeps to its own part of the tree of choices. What it finds
ought to be tried from a state above that, it asks for; that is then another part, unless somebody
has it already. From one state a part begins when the one before it has ended, since what that one
tried need not be tried again: so each class of orders is still run once.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from sim.explore.searches.dpor import Node, Position, count_up

Place: TypeAlias = tuple[tuple[int, tuple[tuple[int, int], ...]], ...]
"""A state: the steps that lead to it, each with the answers to its questions."""


@dataclass
class _State:
    """A state from which several parts begin, one after the other."""

    position: Position
    """With the nodes up to this one, the last of which is brought up to date."""
    busy: bool

    @property
    def node(self) -> Node:
        """What was tried here, and what is to be."""
        return self.position.nodes[-1]


@dataclass
class Subtrees:
    """The parts there are, and what was found in those that have ended."""

    waiting: list[Position] = field(default_factory=list)
    """Parts that can begin."""
    classes: int = 0
    blocked: int = 0
    begun_again: int = 0
    _states: dict[Place, _State] = field(default_factory=dict)

    def left(self, taken: Iterable[Position] = ()) -> float:
        """An estimate of the part of the work that is left, from 0 to 1.

        As if below each state the alternatives known so far were of one size; ``taken``: parts
        that somebody is at.
        """
        parts = sum(_share(position) for position in (*self.waiting, *taken))
        return parts + sum(
            _share(state.position) * len(_untried(state.node)) for state in self._states.values()
        )

    def states(self) -> Iterator[tuple[Position, bool]]:
        """The states from which parts begin, each with whether somebody is at one of them."""
        return ((state.position, state.busy) for state in self._states.values())

    def add_states(self, states: Iterable[tuple[Position, bool]]) -> None:
        """Take over such states."""
        for position, busy in states:
            self._states[_place(position.nodes[:-1])] = _State(position, busy)

    def put_back(self, position: Position) -> None:
        """Somebody has been at a part, and either ended it or leaves it to others."""
        if position.begun_again > self.begun_again:
            # More depends on each other than was known: all the others are worth nothing.
            self.begun_again = position.begun_again
            self.classes = self.blocked = 0
            self.waiting, self._states = [], {}
            if position.root is not None:
                position = replace(position, root=None, over=False)
        elif position.begun_again < self.begun_again:
            return
        if position.over:
            self._finish(position)
        else:
            self._split(position)

    def _split(self, position: Position) -> None:
        """Cut what is left of a search, or of a part of it, into several, which then wait."""
        self.classes += position.classes
        self.blocked += position.blocked
        left = replace(position, classes=0, blocked=0, asked=[])
        first_answers = list(position.first_answers)
        if position.root is None and count_up(first_answers):
            self.waiting.append(replace(left, nodes=[], first_answers=first_answers))
        nodes = position.nodes
        if not nodes:
            self.waiting.append(left)
            return
        first = 0 if position.root is None else position.root
        cuts = [
            depth
            for depth in range(first, len(nodes))
            if depth != position.root and _untried(nodes[depth])
        ]
        deepest = cuts[-1] if cuts else first
        for depth in range(first, deepest):
            self._leave(left, depth)
        self._state(left, deepest).busy = True
        self.waiting.append(replace(left, root=deepest, nodes=_copies(nodes)))
        self._ask(position)

    def _finish(self, position: Position) -> None:
        """A part has ended: count it, and see to what it asks for."""
        self.classes += position.classes
        self.blocked += position.blocked
        if position.root is not None:
            self._tried(position, position.root)
        self._ask(position)

    def _leave(self, position: Position, depth: int) -> None:
        """Nobody goes on from here but by the step that is being tried: give the rest away."""
        node = position.nodes[depth]
        answers = list(node.answers)
        if count_up(answers):
            part = _up_to(position, depth)
            part.nodes[-1].answers = answers
            self._state(position, depth).busy = True
            self.waiting.append(part)
        elif depth == position.root or _untried(node):
            self._tried(position, depth)

    def _tried(self, position: Position, depth: int) -> None:
        """A step was tried from this state, or will be elsewhere, with all of its answers."""
        state = self._state(position, depth)
        node = position.nodes[depth]
        state.node.asleep[node.vcpu] = node.seen
        state.busy = False
        self._begin(state)

    def _ask(self, position: Position) -> None:
        for depth, vcpus in position.asked:
            state = self._state(position, depth)
            if state.node.todo.isdisjoint(vcpus):
                state.node.todo.add(vcpus[-1])
                self._begin(state)

    def _begin(self, state: _State) -> None:
        """Let the next part begin from a state, if there is one and nobody is at it."""
        untried = sorted(state.node.todo - state.node.asleep.keys())
        if state.busy or not untried:
            return
        part = _up_to(state.position, len(state.position.nodes) - 1)
        node = part.nodes[-1]
        node.vcpu, node.answers, node.seen = untried[0], [], []
        state.busy = True
        self.waiting.append(part)

    def _state(self, position: Position, depth: int) -> _State:
        place = _place(position.nodes[:depth])
        state = self._states.get(place)
        if state is None:
            state = self._states[place] = _State(_up_to(position, depth), busy=False)
            node = state.node
            if not any(taken + 1 < of for taken, of in node.answers):
                node.asleep[node.vcpu] = node.seen
        return state


def _untried(node: Node) -> set[int]:
    return node.todo - node.asleep.keys() - {node.vcpu}


def _share(position: Position) -> float:
    """Of all the work, that of a part: or of one step from its last state."""
    share = 1.0
    for node in position.nodes[: None if position.root is None else position.root + 1]:
        share /= len(node.todo)
    return share


def _up_to(position: Position, depth: int) -> Position:
    """A part that begins with the step tried from the state at this depth."""
    nodes = _copies(position.nodes[: depth + 1])
    return replace(position, nodes=nodes, root=depth, classes=0, blocked=0, asked=[], over=False)


def _copies(nodes: Iterable[Node]) -> list[Node]:
    return [
        Node(node.ready, node.vcpu, dict(node.asleep), set(node.todo), list(node.answers),
             list(node.seen))
        for node in nodes
    ]  # fmt: skip


def _place(nodes: Iterable[Node]) -> Place:
    return tuple((node.vcpu, tuple(node.answers)) for node in nodes)
