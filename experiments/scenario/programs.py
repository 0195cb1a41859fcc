"""The ``[workload]`` section of a scenario as the model of the guest takes it.

Apart from :mod:`experiments.scenario.workload`, since a scenario is checked without the model that
runs it.
"""

from experiments.scenario.guest import Guest
from experiments.scenario.workload import (
    PAGE_BYTES,
    AreaSpec,
    TouchSpec,
    Workload,
    added_memory,
    tasks_of,
)
from models.linux.run.workloads import driver as workloads


def plan_of(workload: Workload, guest: Guest) -> workloads.Plan:
    """The workload as the model of the guest takes it."""
    executed = workload.exec
    protects = executed.protects
    return workloads.Plan(
        kind=workload.kind,
        iterations=workload.iterations,
        warmup=workload.warmup,
        program=_program(workload.areas),
        region_start=workload.at // PAGE_BYTES,
        region_pages=workload.bytes // PAGE_BYTES,
        parent=_touches(workload.parent),
        child=_touches(workload.child),
        executed=workloads.ExecPlan(
            program=_program(executed.areas),
            stack_top=executed.stack_top // PAGE_BYTES,
            stack_pages=executed.stack_pages,
            near_stack_share=executed.near_stack,
            before=_touches(executed.before),
            read_only=None
            if protects is None
            else (protects.area, protects.first, protects.first + protects.pages),
            after=_touches(executed.after),
        ),
        fresh_stacks=workload.fresh_stacks,
        kthread_switches=workload.kthread_switches,
        tasks=tasks_of(workload, guest.vcpus),
        pauses=workload.pause > 0,
        others=workload.others,
        kept=workload.kept,
        clears_at_once=workload.aliases == "cleared",
        lazy_pages=None if workload.purge_at is None else workload.purge_at // PAGE_BYTES,
        added_from=added_memory(workload, guest)[0] // PAGE_BYTES,
    )


def _program(areas: tuple[AreaSpec, ...]) -> workloads.Program:
    return workloads.Program(
        tuple(
            workloads.AreaPlan(
                area.name,
                area.start // PAGE_BYTES,
                area.pages,
                area.backing,
                area.writable,
                area.present,
            )
            for area in areas
        )
    )


def _touches(touches: tuple[TouchSpec, ...]) -> tuple[workloads.Touch, ...]:
    return tuple(
        workloads.Touch(
            touch.area,
            touch.page,
            write=not touch.read,
            user=touch.by == "user",
            share=touch.share,
        )
        for touch in touches
    )
