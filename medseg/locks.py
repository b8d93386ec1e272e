"""Locks on open files, which the kernel lets go when their process ends, and lines that are appended whole.

Where the platform or the file system has no locks, ``Unlockable`` says so and the caller decides what that means. On a
network file system that passes locks on (NFS does) the holders may be on several machines.
"""

from __future__ import annotations

import errno
import os
from typing import Any

fcntl: Any
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_NO_LOCKS = {errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOLCK}


class Unlockable(OSError):
    """The platform or the file system has no locks."""


def lock(descriptor: int, *, shared: bool = False, wait: bool = False, inherited: bool = True) -> bool:
    """Lock an open file; it stays locked until it is closed, or its process ends.

    Args:
        descriptor: of the file, open for writing.
        shared: any number of processes may hold it at once; else one alone.
        wait: until the others have let it go.
        inherited: forked children hold it too, until the last of them has closed it; else this process alone does,
            and any closing of the file in it lets the lock go.

    Returns:
        False if another process holds it and ``wait`` is false.

    Raises:
        Unlockable: there are no locks here.
        OSError: the lock fails otherwise.
    """
    if fcntl is None:
        raise Unlockable(errno.ENOSYS, "this platform has no file locks")
    kind = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
    try:
        (fcntl.flock if inherited else fcntl.lockf)(descriptor, kind)
    except (BlockingIOError, PermissionError):
        return False
    except OSError as error:
        if error.errno in _NO_LOCKS:
            raise Unlockable(*error.args) from error
        raise
    return True


def append_whole(descriptor: int, text: bytes) -> None:
    """Append lines to a file, all of them or nothing.

    Args:
        descriptor: open for reading and appending.
        text: whole lines. They begin with a line break of their own if a killed process left half a line.

    Raises:
        OSError: a full disk; what was appended is taken away again.
    """
    size = os.fstat(descriptor).st_size
    if size:
        os.lseek(descriptor, size - 1, os.SEEK_SET)
        if os.read(descriptor, 1) != b"\n":
            text = b"\n" + text
    try:
        while text:
            text = text[os.write(descriptor, text) :]
    except OSError:
        os.ftruncate(descriptor, size)
        raise
