/*
 * In the image `python3` is this program: it executes Python with the capabilities that the container
 * was given, and below an init where it is the container's first process.
 *
 * A user who is not root loses all capabilities when a program is executed. This file carries those
 * that a gateway needs as permitted, not as effective: so the kernel grants what of them the
 * container has (its bounding set), and executes the file also where that is not everything. Made
 * ambient, they stay with Python and its children. Where nothing is granted (allowPrivilegeEscalation:
 * false) Python runs without them, and says so where it needs one.
 *
 * Kube-OVN starts our commands in place of the image's entry point. So they become process 1, whose
 * children are also what dying probes leave behind, and which somebody has to wait for.
 */
#include <linux/capability.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define INIT "/usr/bin/tini"
#define PYTHON "/usr/bin/python3"

static void keep_capabilities(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3];

    if (syscall(SYS_capget, &header, sets))
        return;
    for (int i = 0; i < _LINUX_CAPABILITY_U32S_3; i++)
        sets[i].inheritable = sets[i].permitted;
    if (syscall(SYS_capset, &header, sets))
        return;
    for (int cap = 0; cap < 32 * _LINUX_CAPABILITY_U32S_3; cap++)
        if (sets[cap / 32].permitted >> cap % 32 & 1)
            prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0);
}

int main(int argc, char **argv)
{
    char *command[argc + 3];
    int words = 0;

    if (geteuid() != 0)
        keep_capabilities();
    if (getpid() == 1) {
        command[words++] = INIT;
        command[words++] = "--";
    }
    command[words++] = PYTHON;
    for (int i = 1; i <= argc; i++)
        command[words++] = argv[i]; /* and the NULL after the last */
    execv(command[0], command);
    perror(command[0]);
    return 127;
}
