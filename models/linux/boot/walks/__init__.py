"""The walks by which kernels have built their direct map."""
