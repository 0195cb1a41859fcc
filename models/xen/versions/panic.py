"""What no return code tells: the hypervisor or the guest stops, or the model has no answer."""


class HostCrash(Exception):
    """A BUG or an assertion of the hypervisor's: the whole machine stops."""


class DomainCrash(Exception):
    """The hypervisor stops the guest: a fault for which it has named no handler."""


class NotModelled(Exception):
    """An operation, or a state, that this model of the hypervisor leaves out."""
