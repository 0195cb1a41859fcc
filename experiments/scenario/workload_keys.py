"""Which keys a kind of workload reads; another one would do nothing, and is refused."""

from collections.abc import Mapping
from difflib import get_close_matches

from experiments.errors import InputError
from models.linux.workload_kinds import KERNEL_KINDS

_LOOP = ("iterations", "warmup")
_REGION = ("size", "at")
_FORKS = ("fresh_stacks", "aliases", "purge_at")
"""A kernel stack that is mapped anew is an area of vmalloc space."""
_TASKS = ("tasks", "pause", "others", "kept")
_OTHERS = ("areas", "parent", "child", *_FORKS)
"""What CPUs without a task read, which fork."""

READ: Mapping[str, frozenset[str]] = {
    kind: frozenset(keys)
    for kind, keys in {
        "boot": (),
        "fork": (*_LOOP, *_REGION, *_FORKS, *_TASKS, "areas", "parent", "child"),
        "forkexec": (*_LOOP, *_REGION, *_FORKS, *_TASKS, "areas", "parent", "child", "exec"),
        "vforkexec": (*_LOOP, *_REGION, *_FORKS, *_TASKS, "areas", "exec"),
        "cow": (*_LOOP, *_REGION, *_FORKS, *_TASKS, "areas", "parent", "child"),
        "mmap": (*_LOOP, *_REGION, *_TASKS, "areas"),
        "mprotect": (*_LOOP, *_REGION, *_TASKS, "areas"),
        "ctxsw": (*_LOOP, *_TASKS, "areas"),
        "mtspin": (*_LOOP, *_REGION, "areas", "kthread_switches"),
        "vmalloc": (*_LOOP, *_TASKS, *_OTHERS, "size"),
        "hotplug": (*_LOOP, *_OTHERS, "size", "start", "pause", "others", "kept"),
        "parallel-boot": ("allocator", "reserve", "shared_tables", "piece"),
    }.items()
}
"""The keys of ``[workload]`` beside ``kind``, for each kind."""


def check_keys(section: object) -> None:
    """Raise InputError, which names it, where ``[workload]`` has a key that its kind does not read.

    What is no section, no kind or no key of any kind is told of elsewhere.
    """
    if not isinstance(section, dict):
        return
    kind = section.get("kind", "boot")
    if not isinstance(kind, str) or kind not in READ:
        return
    read = READ[kind]
    for key in section:
        readers = [each for each, keys in READ.items() if key in keys]
        if key in read or not readers:
            continue
        close = get_close_matches(key, read, 1)
        own = f"did you mean {close[0]}?" if close else f"it is of {', '.join(readers)}"
        raise InputError(f'workload.{key}: kind "{kind}" does not read it; {own}')
    if kind not in KERNEL_KINDS and "tasks" not in section:
        for key in ("others", "kept"):
            if key in section:
                raise InputError(
                    f"workload.{key} is for CPUs without a task; give workload.tasks, too"
                )
