"""Finding the process' own cgroup, v1 and v2, and reading how it was throttled."""

from pathlib import Path

import pytest

from bfd.cgroup import Memory, Throttled, Throttling, memory
from bfd.vitals import Vitals, VitalsReader

V1 = "nr_periods 90\nnr_throttled 7\nthrottled_time 210000000\nnr_bursts 0\n"
V2 = "usage_usec 5\nuser_usec 3\nnr_periods 90\nnr_throttled 7\nthrottled_usec 210000\n"
V2_WITHOUT_CONTROLLER = "usage_usec 5\nuser_usec 3\nsystem_usec 2\n"


class Proc:
    """A /proc and a cgroup file system in a directory."""

    def __init__(self, directory: Path) -> None:
        self.proc = directory / "proc"
        self.mount = directory / "cgroup fs"
        (self.proc / "self").mkdir(parents=True)

    def memberships(self, *lines: str) -> None:
        (self.proc / "self" / "cgroup").write_text("".join(f"{line}\n" for line in lines))

    def mounts(self, *kinds: tuple[str, str, str, str]) -> None:
        """Mounts as (root, directory, type, options of the file system)."""
        text = "22 1 0:21 / /proc rw - proc proc rw\n"
        for number, (root, directory, kind, options) in enumerate(kinds, 30):
            point = str(self.mount / directory).replace(" ", "\\040")
            text += (
                f"{number} 22 0:30 {root} {point} rw,nosuid shared:9 - {kind} {kind} {options}\n"
            )
        (self.proc / "self" / "mountinfo").write_text(text)

    def group(self, path: str, **files: str) -> None:
        directory = self.mount / path
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (directory / name.replace("__", ".")).write_text(text)

    @property
    def throttling(self) -> Throttling:
        return Throttling(self.proc / "self")


@pytest.fixture
def proc(tmp_path: Path) -> Proc:
    return Proc(tmp_path)


def test_v2_the_own_group_and_those_above_it_are_added_up(proc: Proc) -> None:
    proc.memberships("0::/pod/engine")
    proc.mounts(("/", "unified", "cgroup2", "rw,nsdelegate"))
    proc.group("unified", cpu__stat=V2_WITHOUT_CONTROLLER)
    proc.group("unified/pod", cpu__stat=V2, cpu__max="100000 100000\n")
    proc.group("unified/pod/engine", cpu__stat=V2, cpu__max="30000 100000\n")
    assert proc.throttling.read() == Throttled(14, 420_000)
    assert proc.throttling.limit() == 0.3


def test_v1_beside_v2_the_cpu_controller_decides(proc: Proc) -> None:
    proc.memberships("3:cpuset:/elsewhere", "1:cpu,cpuacct:/engine", "0::/")
    proc.mounts(
        ("/", "cpuset", "cgroup", "rw,cpuset"),
        ("/", "cpu", "cgroup", "rw,cpu,cpuacct"),
        ("/", "unified", "cgroup2", "rw"),
    )
    proc.group("unified", cpu__stat=V2_WITHOUT_CONTROLLER)
    proc.group("cpu", cpu__stat="nr_periods 0\nnr_throttled 0\nthrottled_time 0\n")
    proc.group(
        "cpu/engine", cpu__stat=V1, cpu__cfs_quota_us="50000\n", cpu__cfs_period_us="100000\n"
    )
    assert proc.throttling.read() == Throttled(7, 210_000)
    assert proc.throttling.limit() == 0.5


def test_a_container_sees_its_own_group_as_the_root_of_the_mount(proc: Proc) -> None:
    proc.memberships("1:cpu:/docker/abc")
    proc.mounts(("/docker/abc", "cpu", "cgroup", "rw,cpu"))
    proc.group("cpu", cpu__stat=V1, cpu__cfs_quota_us="-1\n", cpu__cfs_period_us="100000\n")
    assert proc.throttling.read() == Throttled(7, 210_000)
    assert proc.throttling.limit() is None


@pytest.mark.parametrize(
    ("membership", "root"), [("0::/../other", "/"), ("0::/elsewhere", "/docker/abc")]
)
def test_a_group_that_cannot_be_seen_is_not_guessed(proc: Proc, membership: str, root: str) -> None:
    proc.memberships(membership)
    proc.mounts((root, "unified", "cgroup2", "rw"))
    proc.group("unified", cpu__stat=V2)
    assert proc.throttling.read() is None


def test_without_a_cpu_controller_nothing_is_known(proc: Proc) -> None:
    proc.memberships("0::/")
    proc.mounts(("/", "unified", "cgroup2", "rw"))
    proc.group("unified", cpu__stat=V2_WITHOUT_CONTROLLER)
    assert proc.throttling.read() is None
    assert proc.throttling.limit() is None


def test_without_a_cgroup_file_system_nothing_is_known(proc: Proc, tmp_path: Path) -> None:
    proc.memberships("0::/")
    proc.mounts()
    assert proc.throttling.read() is None
    assert Throttling(tmp_path / "nowhere").read() is None


def test_the_counters_are_read_anew_each_time(proc: Proc) -> None:
    proc.memberships("0::/")
    proc.mounts(("/", "unified", "cgroup2", "rw"))
    proc.group("unified", cpu__stat=V2)
    throttling = proc.throttling
    assert throttling.read() == Throttled(7, 210_000)
    proc.group("unified", cpu__stat=V2.replace("nr_throttled 7", "nr_throttled 8"))
    assert throttling.read() == Throttled(8, 210_000)
    throttling.close()
    assert throttling.read() is None


def test_v2_the_tightest_memory_counts_and_files_are_free(proc: Proc) -> None:
    proc.memberships("0::/pod/main")
    proc.mounts(("/", "unified", "cgroup2", "rw"))
    stat = f"anon {20 << 20}\nfile {9 << 20}\nshmem {1 << 20}\n"
    used = f"{31 << 20}\n"
    here = {"memory__current": used, "memory__stat": stat}
    proc.group("unified/pod", memory__max="52428800\n", **here)
    proc.group("unified/pod/main", memory__max="67108864\n", **here)
    assert memory(proc.proc / "self") == Memory(50 << 20, 27 << 20)
    proc.group("unified/pod", memory__max="max\n")
    assert memory(proc.proc / "self") == Memory(64 << 20, 41 << 20)
    proc.group("unified/pod/main", memory__max="max\n")
    assert memory(proc.proc / "self") is None


def test_v1_has_a_number_for_no_memory_limit(proc: Proc) -> None:
    proc.memberships("4:memory:/main", "0::/")
    proc.mounts(("/", "memory", "cgroup", "rw,memory"), ("/", "unified", "cgroup2", "rw"))
    stat = f"cache {99 << 20}\ntotal_cache {9 << 20}\ntotal_shmem {1 << 20}\n"
    here = {"memory__usage_in_bytes": f"{31 << 20}\n", "memory__stat": stat}
    proc.group("memory", memory__limit_in_bytes="9223372036854771712\n", **here)
    proc.group("memory/main", memory__limit_in_bytes="67108864\n", **here)
    assert memory(proc.proc / "self") == Memory(64 << 20, 41 << 20)
    proc.group("memory/main", memory__limit_in_bytes="9223372036854771712\n")
    assert memory(proc.proc / "self") is None


def test_vitals_know_how_long_the_engine_waited_for_a_processor(proc: Proc) -> None:
    proc.memberships("0::/")
    proc.mounts()
    thread = proc.proc / "thread-self"
    thread.mkdir()
    (thread / "schedstat").write_text("97232000 899809000 2\n")
    reader = VitalsReader(proc.proc)
    assert reader.read() == Vitals(None, None, 899_809)
    reader.close()
    assert reader.read() == Vitals()


def test_the_vitals_of_this_process_can_be_read() -> None:
    reader = VitalsReader()
    waited_us = reader.read().waited_us
    assert waited_us is None or waited_us >= 0
    reader.close()
