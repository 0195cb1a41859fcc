"""What no return code tells: the hypervisor stops, or the model has no answer."""


class HostCrash(Exception):
    """A BUG or an assertion of the hypervisor's: the whole machine stops."""


class NotModelled(Exception):
    """An operation, or a state, that this model of the hypervisor leaves out."""
