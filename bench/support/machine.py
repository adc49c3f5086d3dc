"""What the figures were measured on."""

import os
import platform
from datetime import UTC, datetime
from pathlib import Path


def describe() -> str:
    """Processor, cores, memory, kernel, distribution, Python and date in one line."""
    cpu = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = " ".join(line.partition(":")[2].split())
            break
    flags = Path("/proc/cpuinfo").read_text()
    virtual = " (virtual machine)" if " hypervisor" in flags else ""
    memory_gb = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
    kernel = ".".join(platform.release().split("-")[0].split(".")[:2])
    distribution = platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    today = datetime.now(UTC).date().isoformat()
    return (
        f"{today}, {os.cpu_count()} cores of {cpu}{virtual}, {memory_gb:.0f} GB, "
        f"Linux {kernel}, {distribution}, Python {platform.python_version()}"
    )
