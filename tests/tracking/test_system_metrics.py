"""The machine's load, from files and answers with known numbers."""

import time
from pathlib import Path

from medseg.tracking import system_metrics
from medseg.tracking.system_metrics import SystemMetrics, cpu_ticks, cpu_use, disk_use, gpu_use, memory_use, parse_gpus


def test_cpu_use_is_the_share_of_ticks_that_were_not_idle(tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    stat.write_text("cpu  100 0 50 800 50 0 0 0 0 0\ncpu0 1 2 3 4 5 6 7 8 9 10\n")
    before = cpu_ticks(stat)
    assert before == (150, 1000)
    stat.write_text("cpu  130 0 70 820 80 0 0 0 0 0\n")
    assert cpu_use(before, cpu_ticks(stat)) == {"cpu_utilization_percentage": 50.0}  # 50 of 100 ticks
    assert cpu_use(before, before) == {}


def test_memory_in_use_is_what_is_not_available(tmp_path: Path) -> None:
    meminfo, statm = tmp_path / "meminfo", tmp_path / "statm"
    meminfo.write_text("MemTotal:    8000000 kB\nMemFree:  1 kB\nMemAvailable:    6000000 kB\nHugePages_Total:   0\n")
    statm.write_text("5000 1000 100 1 0 1 0\n")
    assert memory_use(meminfo, statm) == {
        "system_memory_usage_megabytes": 2048.0,  # 2,000,000 KiB
        "system_memory_usage_percentage": 25.0,
        "process_memory_usage_megabytes": round(1000 * system_metrics.os.sysconf("SC_PAGE_SIZE") / 1e6, 1),
    }


def test_a_system_that_says_nothing_gives_nothing(tmp_path: Path, monkeypatch) -> None:
    absent = tmp_path / "absent"
    assert cpu_ticks(absent) == (0, 0)
    assert cpu_use((0, 0), (0, 0)) == {}
    assert memory_use(absent, absent) == {}
    assert disk_use(absent) == {}
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpu_use() == {}
    (tmp_path / "stat").write_text("")
    assert cpu_ticks(tmp_path / "stat") == (0, 0)


def test_gpus_get_mlflows_names_and_what_they_do_not_tell_is_left_out() -> None:
    assert parse_gpus("37, 2048, 8192, 90.00, 300.00\n0, 100, 1000, [N/A], [N/A]\n") == {
        "gpu_0_utilization_percentage": 37.0,
        "gpu_0_memory_usage_megabytes": 2147.5,
        "gpu_0_memory_usage_percentage": 25.0,
        "gpu_0_power_usage_watts": 90.0,
        "gpu_0_power_usage_percentage": 30.0,
        "gpu_1_utilization_percentage": 0.0,
        "gpu_1_memory_usage_megabytes": 104.9,
        "gpu_1_memory_usage_percentage": 10.0,
    }
    assert parse_gpus("") == {}


def test_steps_go_on_after_a_resume_and_stop_ends_the_thread() -> None:
    seen: list[tuple[dict[str, float], int]] = []
    watch = SystemMetrics(start_s=time.time() - 10, interval_s=0.1)
    watch.start(lambda metrics, step: seen.append((metrics, step)))
    end = time.monotonic() + 20
    while len(seen) < 3 and time.monotonic() < end:
        time.sleep(0.02)
    watch.stop()
    count = len(seen)
    time.sleep(0.3)
    assert len(seen) == count >= 3
    steps = [step for _, step in seen]
    assert steps == sorted(set(steps))
    assert steps[0] >= 100
    assert all(name.startswith("system/") for metrics, _ in seen for name in metrics)
