"""The seccomp profile that ``RuntimeDefault`` means, as a list of what it refuses.

containerd's profile lists what it allows. For calls that exist today the result is the same; a call
that a later kernel adds is refused there and allowed here.
"""

from collections.abc import Collection
from typing import Any

_EPERM, _ENOSYS = 1, 38
_AF_VSOCK = 40
_NEW_NAMESPACES = (
    *(0x0002_0000, 0x0200_0000, 0x0400_0000, 0x0800_0000),
    *(0x1000_0000, 0x2000_0000, 0x4000_0000),
)
"""CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET (sched.h)."""

_ALWAYS = (
    *("add_key", "keyctl", "request_key", "get_kernel_syms", "create_module", "query_module"),
    *("kexec_file_load", "kexec_load", "nfsservctl", "swapon", "swapoff", "sysfs", "_sysctl"),
    *("uselib", "userfaultfd", "ustat", "vm86", "vm86old", "move_pages", "migrate_pages"),
    *("io_uring_setup", "io_uring_enter", "io_uring_register"),
)
_UNLESS_HELD = {
    "SYS_ADMIN": (
        *("bpf", "fanotify_init", "fsconfig", "fsmount", "fsopen", "fspick", "lookup_dcookie"),
        *("mount", "mount_setattr", "move_mount", "open_tree", "perf_event_open", "pivot_root"),
        *("quotactl", "quotactl_fd", "setdomainname", "sethostname", "setns", "umount", "umount2"),
        "unshare",
    ),
    "DAC_READ_SEARCH": ("open_by_handle_at",),
    "SYS_BOOT": ("reboot",),
    "SYS_CHROOT": ("chroot",),
    "SYS_MODULE": ("delete_module", "init_module", "finit_module"),
    "SYS_NICE": ("get_mempolicy", "mbind", "set_mempolicy", "set_mempolicy_home_node"),
    "SYS_PACCT": ("acct",),
    "SYS_PTRACE": ("kcmp", "pidfd_getfd", "process_madvise"),
    "SYS_RAWIO": ("iopl", "ioperm"),
    "SYS_TIME": ("settimeofday", "stime", "clock_settime", "clock_settime64"),
    "SYS_TTY_CONFIG": ("vhangup",),
    "SYSLOG": ("syslog",),
}


def default_profile(capabilities: Collection[str]) -> dict[str, Any]:
    """``linux.seccomp`` of an OCI configuration, for a container that may have these
    capabilities."""
    refused = list(_ALWAYS)
    for capability, calls in _UNLESS_HELD.items():
        refused += () if capability in capabilities else calls
    rules = [_refuse(refused), _refuse(["socket"], _argument(0, "SCMP_CMP_EQ", _AF_VSOCK))]
    if "SYS_ADMIN" not in capabilities:
        rules += [
            _refuse(["clone"], _argument(0, "SCMP_CMP_MASKED_EQ", flag, flag))
            for flag in _NEW_NAMESPACES
        ]
        # Its flags are out of a filter's reach; who is told that there is none takes clone(2).
        rules.append({**_refuse(["clone3"]), "errnoRet": _ENOSYS})
    return {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}


def _refuse(names: list[str], *arguments: dict[str, Any]) -> dict[str, Any]:
    rule = {"names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": _EPERM}
    return rule | ({"args": list(arguments)} if arguments else {})


def _argument(index: int, comparison: str, value: int, other: int = 0) -> dict[str, Any]:
    """A masked value is compared with the other one."""
    return {"index": index, "op": comparison, "value": value, "valueTwo": other}
