/*
 * In the image `python3` is this program: Python with the capabilities that the container was given.
 *
 * A user who is not root loses all capabilities when a program is executed. This file carries those
 * that a gateway needs as permitted, not as effective: so the kernel grants what of them the
 * container has (its bounding set), and executes the file also where that is not everything. Made
 * ambient, they stay with Python and its children. Where nothing is granted (allowPrivilegeEscalation:
 * false) Python runs without them, and says so where it needs one.
 */
#include <linux/capability.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

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
    (void)argc;
    if (geteuid() != 0)
        keep_capabilities();
    argv[0] = PYTHON;
    execv(PYTHON, argv);
    perror(PYTHON);
    return 127;
}
