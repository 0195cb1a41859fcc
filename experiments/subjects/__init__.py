"""What can be run: boots, workloads of processes, boots of several vCPUs, races."""
