"""Xen's error numbers. Hypercalls return them negated.

Source: Xen include/public/errno.h (and include/xen/errno.h before 4.7).
"""

EPERM = 1
ENOENT = 2
ESRCH = 3
EINTR = 4
EAGAIN = 11
EACCES = 13
EFAULT = 14
EBUSY = 16
EINVAL = 22
ENOSYS = 38
ERESTART = 85
EOPNOTSUPP = 95
