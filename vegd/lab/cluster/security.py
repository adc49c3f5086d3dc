"""As whom the processes of a container run, and with which capabilities."""

from pathlib import Path

from vegd.lab.cluster.template import Container

_DEFAULT_CAPABILITIES = (
    *("CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "NET_RAW", "SETGID", "SETUID"),
    *("SETFCAP", "SETPCAP", "NET_BIND_SERVICE", "SYS_CHROOT", "KILL", "AUDIT_WRITE"),
)
_ALL_CAPABILITIES = (
    *("CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID"),
    *("SETPCAP", "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW"),
    *("IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT"),
    *("SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD"),
    *("LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG"),
    *("WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF", "CHECKPOINT_RESTORE"),
)


def capabilities(container: Container) -> tuple[str, ...]:
    """Those that the container's processes may have, without ``CAP_``."""
    security = container.security_context
    if security.privileged:
        return tuple(name for n, name in enumerate(_ALL_CAPABILITIES) if _ours() >> n & 1)
    add, drop = security.capabilities.add, security.capabilities.drop
    kept = () if "ALL" in drop else (each for each in _DEFAULT_CAPABILITIES if each not in drop)
    return tuple(dict.fromkeys((*kept, *add)))


def _ours() -> int:
    """The capabilities of this process, by their numbers; nobody can be given more."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (text,) = (line.split()[1] for line in lines if line.startswith("CapPrm:"))
    return int(text, 16)


def user_and_group(container: Container, passwd: Path = Path("/etc/passwd")) -> tuple[int, int]:
    """The group is that of passwd(5) if the container names none."""
    security = container.security_context
    user = security.run_as_user or 0
    lines = passwd.read_text().splitlines()
    groups = {int(fields[2]): int(fields[3]) for fields in (line.split(":") for line in lines)}
    group = groups.get(user, 0) if security.run_as_group is None else security.run_as_group
    return user, group


def become(container: Container) -> list[str]:
    """The command that becomes the container's user, and then another command.

    In an image the program has its capabilities from its file; here a user other than root is given
    those that the container may have.
    """
    user, group = user_and_group(container)
    held = [f"+{name.lower()}" for name in capabilities(container)]
    chosen = ",".join(["-all", *held])
    words = ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups"]
    words += [f"--bounding-set={chosen}", f"--inh-caps={chosen}"]
    if user:
        words.append(f"--ambient-caps={chosen}")
    security = container.security_context
    if not (security.allow_privilege_escalation or security.privileged):
        words.append("--no-new-privs")
    return [*words, "--"]
