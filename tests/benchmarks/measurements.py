"""What is measured in today's tree and in the one before: the child of ``beside_before``.

One file that is run by its path, with one tree's packages in front of all others, so the code
below is the same for both and uses only what both have. Each function returns the CPU seconds of
what it measures, without the start of Python, and further figures by the words that are printed
behind them.
"""

import gc
import json
import resource
import sys
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from runpy import run_path

# A checkout from before the rooms has other names for some of the modules below.
run_path(str(Path(__file__).with_name("older.py")))

import experiments
from experiments.scenario.scenario import load
from experiments.subjects import kinds as runner
from experiments.subjects.race_settings import race_named, settings_of
from experiments.subjects.trial import trial

Figures = dict[str, float]
SMALL_BOOTS = 60


def boot(scenario: str, strategy: str, *settings: str) -> Figures:
    """One boot."""
    runner.run(load("guest-512M"), strategy)  # whatever is imported late is there now
    loaded = load(scenario, settings)
    seconds = _cpu(lambda: runner.run(loaded, strategy))
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"seconds": seconds, "GiB at the peak": peak_kib / (1 << 20)}


def small_boots(strategy: str) -> Figures:
    """Boots of 64 MiB, each in a world of its own."""
    scenario = load("guest-512M", ["guest.ram=64MiB"])
    runner.run(scenario, strategy)

    def boots() -> None:
        for seed in range(SMALL_BOOTS):
            runner.run(scenario, strategy, seed=seed)

    seconds = _cpu(boots)
    return {"seconds": seconds, "boots/s": SMALL_BOOTS / seconds}


def busy(load_name: str) -> Figures:
    """Hypercalls of four busy vCPUs."""
    from sim.cpus.credit1 import Credit1
    from sim.streams import Streams
    from sim.timed import Simulation
    from tests.benchmarks import busy_hypervisor as loads

    vcpus, best = 4, float("inf")
    for _ in range(4):
        guests = loads.LOADS[load_name](vcpus)
        simulation = Simulation(loads.guest_prices(), Streams(0), pcpus=vcpus, scheduler=Credit1())
        for activity in guests:
            simulation.start(activity)
        best = min(best, _cpu(simulation.run))
    return {"seconds": best, "hypercalls/s": vcpus * loads.CALLS / best}


def exploring(vcpus: str, fix: str, most: str) -> Figures:
    """All classes of orders of R1 at its smallest, or the first ``most``."""
    from sim.explore.searches.dpor import ClassSearch
    from tests.benchmarks import pin_against_stores

    program = pin_against_stores.program(int(vcpus), locked=fix == "on")
    made = 0

    def search() -> None:
        nonlocal made
        made = sum(1 for _ in islice(ClassSearch(program), int(most)))

    seconds = _cpu(search)
    return {"seconds": seconds, "executions": made, "executions/s": made / seconds}


def odds(race: str, trials: str, *settings: str) -> Figures:
    """So many trials of a race on the clock."""
    found = race_named(race)
    chosen = settings_of(found, settings)
    trial(found, chosen, 1, 0)

    def all_trials() -> None:
        for number in range(int(trials)):
            trial(found, chosen, 0, number)

    seconds = _cpu(all_trials)
    return {"seconds": seconds, "ms a trial": 1e3 * seconds / int(trials)}


def compare(scenario: str) -> Figures:
    """A boot under each strategy, as ``pinlab compare`` makes them."""
    from models.strategies.catalogue import strategy_names

    loaded = load(scenario)
    runner.run(load("guest-512M"), "reserve-hook")

    def boots() -> None:
        for strategy in strategy_names():
            runner.run(loaded, strategy)

    return {"seconds": _cpu(boots)}


def _cpu(work: Callable[[], object]) -> float:
    gc.collect()
    start = time.process_time()
    work()
    return time.process_time() - start


_ALL: dict[str, Callable[..., Figures]] = {
    "boot": boot,
    "small_boots": small_boots,
    "busy": busy,
    "exploring": exploring,
    "odds": odds,
    "compare": compare,
}


def main(tree: str, measurement: str, *arguments: str) -> None:
    """Measure, and print the figures as JSON."""
    found = Path(experiments.__file__).resolve()
    if not found.is_relative_to(Path(tree).resolve()):
        sys.exit(f"{found} is not of {tree}")
    print(json.dumps(_ALL[measurement](*arguments)))


if __name__ == "__main__":
    main(*sys.argv[1:])
