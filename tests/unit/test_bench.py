"""The adoption path without packets: shapes, files, searches, comparisons."""

from __future__ import annotations

import base64
import json
import struct

import numpy as np
import pytest
from bench_results import distribution, latencies, repeat, repeats, result
from hypothesis import given, settings
from hypothesis import strategies as st

import wirepath as wp
from wirepath import Histogram, bench, hdr
from wirepath.bench import counters, machine, metrics, runs
from wirepath.bench import repeats as repeats_of
from wirepath.bench.compare import _draws
from wirepath.bench.result import Merged
from wirepath.bench.shape import IMIX


# --- shapes --------------------------------------------------------------------------------------
def test_even_packets_keep_the_rate_exactly():
    shape = bench.Shape.of(200, rate=3_000_000)
    cycle = shape.cycle()
    assert set(cycle.size) == {200}
    assert cycle.count(10.0) == pytest.approx(30_000_000, rel=1e-6)
    gaps = np.diff(cycle.due)
    assert gaps.min() >= 333
    assert gaps.max() <= 334


def test_bursts_are_due_together_and_keep_the_mean_rate():
    cycle = bench.Shape.of(100, rate=10_000, burst=8).cycle()
    due = cycle.due.reshape(-1, 8)
    assert (due == due[:, :1]).all()
    assert np.diff(due[:, 0]) == pytest.approx(800_000, abs=1)
    assert cycle.count(2.0) == 20_000


def test_a_mix_has_its_shares_and_an_order_from_the_seed():
    cycle = bench.Shape.of("imix", rate=1000, seed=3).cycle()
    shares = {
        int(s): int(n) for s, n in zip(*np.unique(cycle.size, return_counts=True), strict=True)
    }
    total = sum(weight for _, weight in IMIX)
    for size, weight in IMIX:
        assert shares[size] == pytest.approx(len(cycle.size) * weight / total, abs=1)
    again = bench.Shape.of("60:7,590:4,1514:1", rate=1000, seed=3).cycle()
    assert (again.size == cycle.size).all()
    other = bench.Shape.of("imix", rate=1000, seed=4).cycle()
    assert (other.size != cycle.size).any()


def test_poisson_gaps_are_exponential_at_the_given_rate():
    cycle = bench.Shape.of(100, rate=50_000, arrivals="poisson").cycle()
    gaps = np.diff(cycle.due) / 20_000  # in mean gaps
    assert cycle.count(1.0) == pytest.approx(50_000, rel=0.02)
    assert gaps.mean() == pytest.approx(1.0, rel=0.02)
    assert gaps.std() == pytest.approx(1.0, rel=0.05)
    assert (gaps > 3).mean() == pytest.approx(np.exp(-3), rel=0.2)


@given(st.integers(1, 40), st.floats(0.001, 3.0))
@settings(max_examples=60, deadline=None)
def test_a_cycle_counts_what_is_due_before(packets, seconds):
    due = np.sort(np.random.default_rng(packets).integers(0, 10**8, packets))
    cycle = bench.Cycle(due, np.full(packets, 60, np.uint32), 10**8)
    every = np.concatenate([due + i * 10**8 for i in range(32)])
    assert cycle.count(seconds) == (every < round(seconds * 1e9)).sum()
    same = bench.Cycle.unpacked(json.loads(json.dumps(cycle.packed())))
    assert (same.due == cycle.due).all()
    assert (same.size == cycle.size).all()
    assert same.period == cycle.period


def pcap(path, frames):
    """A capture of (ns, length) in the nanosecond format."""
    data = struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 65535, 1)
    for at, length in frames:
        data += struct.pack("<IIII", at // 10**9, at % 10**9, length, length) + bytes(length)
    path.write_bytes(data)
    return path


def test_a_capture_gives_its_sizes_and_gaps(tmp_path):
    start = 1_700_000_000_000_000_000
    path = pcap(tmp_path / "day.pcap", [(start, 54), (start + 1000, 1514), (start + 4000, 300)])
    shape = bench.Shape.from_capture(path)
    cycle = shape.cycle()
    assert list(cycle.due) == [0, 1000, 4000]
    assert list(cycle.size) == [60, 1514, 300]  # 54 bytes is no Ethernet frame
    assert cycle.period == 6000  # after the last packet the mean gap
    assert shape.rate == pytest.approx(500_000)
    assert list(shape.cycle(100, 1000).size) == [100, 1000, 300]
    twice = bench.Shape.from_capture(path, speed=2)
    assert list(twice.cycle().due) == [0, 500, 2000]
    slow = bench.Shape.from_capture(path, rate=500)
    assert list(slow.cycle().due) == [0, 1_000_000, 4_000_000]
    assert slow.cycle().period == 6_000_000
    assert "day.pcap" in shape.describe()


def test_shapes_differ_by_their_digests(tmp_path):
    first = pcap(tmp_path / "day.pcap", [(0, 60), (1000, 60)])
    one = bench.Shape.from_capture(first).to_dict()
    pcap(first, [(0, 60), (1000, 61)])
    other = bench.Shape.from_capture(first).to_dict()
    assert one["describe"] == other["describe"]
    assert one["digest"] != other["digest"]
    made = [bench.Shape.of(s, rate=r).to_dict()["digest"] for s, r in ((60, 1), (61, 1), (60, 2))]
    assert len(set(made)) == 3
    assert bench.Shape.of(60, rate=1).to_dict()["digest"] == made[0]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: bench.Shape.of(59), 'sizes = "59" is not usable'),
        (lambda: bench.Shape.of("64:7,x"), 'sizes = "64:7,x" is not usable'),
        (lambda: bench.Shape.of("64:0"), "is not usable"),
        (lambda: bench.Shape.of(100, rate=0.5), "rate = 0.5 is not usable"),
        (lambda: bench.Shape.of(100, burst=0), "burst = 0 is not usable"),
        (lambda: bench.Shape.of(100, arrivals="odd"), 'arrivals = "odd" is not usable'),
        (lambda: bench.Load(bench.Shape.of(), seconds=0), "seconds = 0 is not usable"),
        (lambda: bench.Load(bench.Shape.of(), repeats=0), "repeats = 0 is not usable"),
        (lambda: bench.Load(bench.Shape.of(), warmup=-1), "warmup = -1 is not usable"),
        (lambda: bench.Load(bench.Shape.of(), stall_seconds=2), "stall = 2 is not usable"),
        (lambda: bench.Load(bench.Shape.of(rate=1e8), seconds=60), "6,000,000,000 packets"),
        (lambda: bench.Setup("socket", idle="nap"), 'idle = "nap" is not usable'),
        (lambda: bench.Setup("socket", batch_size=0), "batch_size = 0 is not usable"),
        (lambda: bench.Setup("socket", sender="a:1", lab=True), "exclude each other"),
        (lambda: bench.Search(lowest=10, highest=5), "highest = 5 is not usable"),
        (lambda: bench.Search(resolution=0), "resolution = 0 is not usable"),
        (lambda: runs.resolved(bench.Setup("af_xdp:eth7")), "via is missing"),
        (lambda: runs.resolved(bench.Setup("socket", cpu_core=9999)), "cpu_core = 9999"),
        (lambda: bench.baseline(bench.Setup("af_xdp", lab=True), None), "bench run"),
    ],
)
def test_what_is_unusable_is_said_with_field_and_mend(make, said):
    with pytest.raises(wp.ConfigError) as caught:
        make()
    assert said in str(caught.value)


def test_captures_that_give_no_shape(tmp_path):
    with pytest.raises(wp.ConfigError, match="needs at least 2"):
        bench.Shape.from_capture(pcap(tmp_path / "one.pcap", [(0, 60)]))
    with pytest.raises(wp.ConfigError, match="same timestamp"):
        bench.Shape.from_capture(pcap(tmp_path / "flat.pcap", [(5, 60), (5, 60)]))


def test_ports_are_filled_in():
    spec, via, *_ = runs.resolved(bench.Setup("af_xdp", lab=True))
    assert (spec, via) == ("af_xdp:wp0", "socket:wp0,tx_only=true")
    spec, via, *_ = runs.resolved(bench.Setup("socket"))
    assert (spec, via) == ("socket:lo", "socket:lo,tx_only=true")
    spec, *_ = runs.resolved(bench.Setup("af_xdp:,mode=generic", lab=True))
    assert spec == "af_xdp:wp0,mode=generic"
    spec, via, *_ = runs.resolved(bench.Setup("af_xdp:eth2", via="socket:eth1", cpu_core=None))
    assert (spec, via) == ("af_xdp:eth2", "socket:eth1")


# --- histograms and files --------------------------------------------------------------------
@given(st.lists(st.integers(0, (1 << 34) - 1), max_size=200))
@settings(max_examples=80, deadline=None)
def test_histograms_survive_their_encoding(values):
    histogram = Histogram()
    for value in values:
        histogram.record(value, 1 + value % 1000)
    again = hdr.decode_compressed(hdr.encode_compressed(histogram))
    assert (again.counts() == histogram.counts()).all()
    assert again.total == histogram.total


def test_large_counts_survive_the_encoding():
    histogram = Histogram()
    for power in range(62):
        histogram.record(100 + power, 1 << power)
    assert (hdr.decode(hdr.encode(histogram)).counts() == histogram.counts()).all()


@pytest.mark.parametrize("data", [b"", b"x" * 100, hdr.encode(Histogram())[:20]])
def test_what_is_no_histogram_is_refused(data):
    with pytest.raises(wp.ConfigError):
        hdr.decode(data)
    with pytest.raises(wp.ConfigError):
        hdr.decode_compressed(data)


def test_a_cut_histogram_is_refused():
    histogram = Histogram()
    histogram.record(10**9)
    whole = hdr.encode(histogram)
    with pytest.raises(wp.ConfigError, match="cut short"):
        hdr.decode(whole[:-1])


@given(st.lists(st.lists(st.integers(0, 10**9), max_size=50), min_size=1, max_size=4))
@settings(max_examples=60, deadline=None)
def test_merged_quantiles_are_those_of_one_histogram(parts):
    whole = Histogram()
    for value in (v for part in parts for v in part):
        whole.record(value)
    merged = Merged(distribution(part) for part in parts)
    assert merged.total == whole.total
    for q in (0.0, 0.1, 0.5, 0.99, 0.999, 1.0):
        assert (merged.quantile(q) or 0) == whole.quantile(q)


def test_a_result_file_comes_back_as_it_was(tmp_path):
    made = result(repeats(5000, lost=3), zero_loss=None)
    path = made.save(tmp_path / "a.json")
    again = bench.Result.load(path)
    assert again == made
    assert metrics.summary(again) == made.summary
    assert again.summary["latency_p50"] == pytest.approx(5000, rel=0.05)
    assert again.summary["lost_share"] == pytest.approx(3 / 1003)
    assert again.summary["packets_per_second_per_core"] == pytest.approx(10_000)
    assert again.summary["cpu_softirq"] == pytest.approx(0.2)
    assert again.summary["context_switches_per_second"] == 100
    assert again.summary["interrupts_per_second"] == 200
    assert again.summary["cycles_per_packet"] == 1000
    assert again.summary["cache_misses_per_packet"] is None
    assert metrics.unavailable(again) == {"cache_misses_per_packet": "no such"}
    cycles = {"value": 5000, "share": 1.0, "with_kernel": False, "reason": ""}
    alone = result([repeat([1000] * 10, perf={"cycles": cycles})])
    assert alone.summary["cycles_per_packet"] == 500
    assert "user space only" in metrics.unavailable(alone)["cycles_per_packet"]


def damaged(change):
    values = json.loads(result(repeats(5000, 3)).model_dump_json())
    change(values)
    return json.dumps(values)


def other_histogram(values):
    packed = base64.b64encode(hdr.encode_compressed(Histogram())).decode()
    values["repeats"][1]["latency"]["hdr"] = packed


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "no JSON"),
        ("[]", "no result of"),
        ('{"format": "other"}', "no result of"),
        (damaged(lambda v: v.update(version=99)), "version = 99"),
        (damaged(lambda v: v["repeats"][0].pop("sent")), "field repeats.0.sent"),
        (damaged(lambda v: v.update(repeats=[])), "field repeats: empty"),
        (damaged(other_histogram), "0 samples and says 1000"),
        (damaged(lambda v: v["repeats"][0]["jitter"].update(hdr="!")), "no base64"),
    ],
)
def test_what_is_no_result_file_is_refused(tmp_path, text, said):
    path = tmp_path / "bad.json"
    path.write_text(text)
    with pytest.raises(wp.ConfigError) as caught:
        bench.Result.load(path)
    assert said in str(caught.value)
    assert "bad.json" in str(caught.value)


# --- where packets went --------------------------------------------------------------------------
def sent(**changes):
    return {"planned": 1000, "unsent": 0, "refused": 0, "stats": {}} | changes


def got(received, driver="ixgbe", **stats):
    return {"received": received, "stats": stats, "info": {"driver": driver}}


def test_losses_are_told_by_layer_and_add_up():
    account = repeats_of.account(
        sent(unsent=10, refused=20, stats={"nic.tx_dropped": 5, "drop.tx_error": 20}),
        got(
            900,
            **{"nic.rx_missed": 30, "nic.rx_dropped": 7, "drop.socket_buffer": 27},
            **{"drop.filtered": 99, "drop.fragment": 99, "nic.rx_packets": 4},
        ),
    )
    layers = {each.layer: each.count for each in account.layers if each.count}
    assert layers == {
        "sender.unsent": 10,
        "sender.refused": 20,
        "sender.nic": 5,
        "nic.rx_missed": 30,
        "nic.rx_dropped": 7,
        "port.socket_buffer": 27,
    }
    assert account.residual == 1
    assert account.lost == 100
    assert "1 unexplained" in account.equation()


def test_a_veth_repeats_at_the_receiver_what_the_sender_counted():
    account = repeats_of.account(
        sent(stats={"nic.tx_dropped": 100}), got(900, "veth", **{"nic.rx_dropped": 100})
    )
    assert account.residual == 0
    assert account.equation() == "1,000 planned = 900 received + 100 sender.nic"


def test_stamps_of_the_poll_loop_are_no_arrivals():
    for source in ("kernel, software (SO_TIMESTAMPNS)", "driver (XDP program)", "NIC, hardware"):
        assert repeats_of.stamped({"timestamp_source": source})
    for source in ("poll loop", "poll loop (this kernel has no bpf_ktime_get_tai_ns)", "none", ""):
        assert not repeats_of.stamped({"timestamp_source": source})
    assert not repeats_of.stamped({})


# --- the zero-loss search ------------------------------------------------------------------------
def simulated(capacity=float("inf"), sender=float("inf")):
    def trial(rate):
        late = rate > sender
        lost = round(max(min(rate, sender) - capacity, 0))
        passed = not lost and not late
        return bench.Trial(
            rate=rate, planned=round(rate), lost=lost, sender_late=late, passed=passed
        )

    return trial


@given(st.floats(1_000, 1_000_000))
@settings(max_examples=80, deadline=None)
def test_the_search_finds_the_capacity(capacity):
    bounds = bench.Search(1_000, 1_000_000, resolution=0.01)
    found = bench.search(simulated(capacity), bounds)
    assert found.rate is not None
    assert found.rate <= capacity + 1
    assert found.rate >= capacity * 0.985
    assert len(found.trials) <= 25
    assert found.limit == ("receiver" if capacity < 999_999 else found.limit)


def test_the_search_says_what_stopped_it():
    bounds = bench.Search(1_000, 100_000)
    assert bench.search(simulated(), bounds).limit == "highest"
    assert bench.search(simulated(), bounds).rate == 100_000
    stopped = bench.search(simulated(sender=50_000), bounds)
    assert stopped.limit == "sender"
    assert stopped.rate == pytest.approx(50_000, rel=0.03)
    none = bench.search(simulated(500), bounds)
    assert none.rate is None
    assert none.limit == "receiver"


def test_a_rate_has_to_pass_every_confirmation():
    asked = []

    def flaky(rate):
        asked.append(rate)
        lost = 0 if rate < 50_000 or asked.count(rate) < 3 else 1
        return bench.Trial(rate=rate, planned=100, lost=lost, sender_late=False, passed=not lost)

    found = bench.search(flaky, bench.Search(1_000, 100_000, confirm=3))
    assert found.rate is not None
    assert found.rate < 50_000
    assert asked.count(100_000) == 3


# --- comparing -----------------------------------------------------------------------------------
def baseline(median=10_000, **changes):
    return result(repeats(median, **changes), kind="baseline", name="socket:wp0")


def test_a_faster_path_is_worth_the_move():
    both = bench.compare(baseline(), result(repeats(5_000, seed=2)))
    assert both.verdict.answer == "move"
    assert both.verdict.text.startswith("Move to af_xdp:wp0: latency p50")
    row = both.row("latency_p50")
    assert row.sign == "better"
    assert row.ratio == pytest.approx(0.5, rel=0.05)
    low, high = row.ratio_interval
    assert low < row.ratio < high
    assert high - low < 0.1


def test_a_slower_path_is_not():
    both = bench.compare(baseline(), result(repeats(20_000, seed=2)))
    assert both.verdict.answer == "stay"
    assert both.verdict.text.startswith("Stay on the kernel path: latency p50 is worse")


def test_no_difference_is_no_reason_to_move():
    both = bench.compare(baseline(), result(repeats(10_050, seed=2)))
    assert both.verdict.answer == "stay"
    assert "no difference that is beyond chance" in both.verdict.text
    assert both.row("latency_p99").sign == "same"


def test_a_worse_tail_outweighs_a_better_median():
    faster = [repeat(np.append(latencies(5_000, 990, i), [10**6] * 10)) for i in range(5)]
    both = bench.compare(baseline(), result(faster))
    assert both.row("latency_p50").sign == "better"
    assert both.verdict.answer == "stay"
    assert "latency p99.9 is worse" in both.verdict.text
    assert "although latency p50" in both.verdict.text


def test_loss_outweighs_latency():
    both = bench.compare(baseline(), result(repeats(1_000, seed=2, lost=50)))
    assert both.verdict.answer == "stay"
    assert "loses more packets" in both.verdict.text
    assert "250 of 5,250" in both.verdict.reasons[0]
    back = bench.compare(baseline(lost=50), result(repeats(10_000, seed=2)))
    assert back.verdict.answer == "move"
    assert "loses fewer" in back.verdict.text


def test_loss_in_one_repeat_is_chance():
    once = [*repeats(10_000, 4, seed=2), repeat(latencies(10_000, seed=9), lost=1)]
    assert "beyond chance" in bench.compare(baseline(), result(once)).verdict.reasons[0]


def test_less_cpu_at_the_same_latency_is_worth_it():
    both = bench.compare(baseline(cpu=0.4), result(repeats(10_000, seed=2, cpu=0.1)))
    assert both.verdict.answer == "move"
    assert "less CPU" in both.verdict.text
    assert both.row("packets_per_second_per_core").sign == "better"
    dear = bench.compare(baseline(cpu=0.1), result(repeats(5_000, seed=2, cpu=0.4)))
    assert dear.verdict.answer == "move"
    assert "more CPU per packet" in dear.verdict.text


def test_noise_as_large_as_the_difference_is_no_difference():
    noisy = [repeat(latencies(m, seed=i)) for i, m in enumerate((3_000, 30_000, 9_000, 12_000))]
    both = bench.compare(baseline(), result(noisy))
    assert both.row("latency_p50").sign == "same"


def test_few_repeats_other_machines_and_stalls_decide_nothing():
    few = bench.compare(baseline(), result(repeats(5_000, 2)))
    assert few.verdict.answer == "undecided"
    assert "2 repeats" in few.verdict.reasons[0]
    assert few.row("latency_p50").ratio_interval is None
    other = {"digest": "n", "cpu": "two", "virtual_machine": False}
    there = bench.compare(baseline(), result(repeats(5_000), machine=other))
    assert there.verdict.answer == "undecided"
    assert "different machines: cpu is one and two" in there.notes
    stalled = bench.compare(baseline(), result(repeats(5_000, stalled_ns=5)))
    assert "stalled on purpose" in stalled.verdict.reasons[0]


def test_a_tail_of_the_senders_making_is_not_judged():
    def late(share):
        lateness = distribution([20] * round(1000 * (1 - share)) + [15_000] * round(1000 * share))
        return repeats(5_000, seed=2, sender_lateness=lateness)

    tail = bench.compare(baseline(), result(late(0.005)))
    assert tail.verdict.answer == "move"
    assert tail.verdict.text.endswith("p99 are better. Not judged: latency p99.9.")
    assert "sender of B was late by 15 µs itself" in tail.verdict.reasons[3]
    everything = bench.compare(baseline(), result(late(0.9)))
    assert everything.verdict.answer == "undecided"
    assert "too late" in everything.verdict.text


def test_other_traffic_is_refused():
    with pytest.raises(wp.ConfigError, match=r"different traffic.*2,000 packets/s"):
        bench.compare(baseline(), result(repeats(5_000), rate=2000))
    with pytest.raises(wp.ConfigError, match="takes 1 s, one of B 2 s"):
        bench.compare(baseline(), result(repeats(5_000), seconds=2.0))
    shown = bench.compare(baseline(), result(repeats(5_000), rate=2000), anyway=True)
    assert shown.verdict.answer == "undecided"
    assert any(note.startswith("different traffic") for note in shown.notes)


def test_other_settings_are_noted():
    both = bench.compare(baseline(), result(repeats(5_000), settings={"governor": "powersave"}))
    assert "setting governor was performance for A and powersave for B" in both.notes


def test_intervals_cover_the_truth_as_often_as_they_say():
    covered = 0
    for seed in range(60):
        sides = [
            result(
                [repeat(latencies(m, 200, seed * 50 + i + k, 0.02)) for i, m in enumerate(medians)]
            )
            for k, medians in (
                (0, np.random.default_rng(seed).normal(10_000, 300, 8)),
                (20, np.random.default_rng(seed + 500).normal(10_000, 300, 8)),
            )
        ]
        low, high = bench.compare(*sides).row("latency_p50").ratio_interval
        covered += low <= 1.0 <= high
    assert covered >= 48  # 95 % of 60 are 57; eight repeats make bootstrap intervals a bit narrow


def test_resamples_draw_as_many_repeats_as_there_are():
    draws = _draws(5, np.random.default_rng(1))
    assert (draws.sum(axis=1) == 5).all()
    assert draws.mean() == pytest.approx(1.0, abs=0.02)


# --- machine and counters, on trees that are made up ----------------------------------------------
def tree(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_the_fingerprint_tells_machines_apart(tmp_path):
    cpuinfo = "processor\t: 0\nmodel name\t: A CPU\nflags : fpu hypervisor\nprocessor\t: 1\n"
    files = {
        "proc/cpuinfo": cpuinfo,
        "proc/meminfo": "MemTotal:  1024 kB\n",
        "etc/machine-id": "abc\n",
        "proc/sys/kernel/osrelease": "6.1.0\n",
    }
    one = machine.fingerprint(tree(tmp_path / "one", files))
    assert one["cpu"] == "A CPU"
    assert one["cores"] == 2
    assert one["memory_bytes"] == 1 << 20
    assert one["virtual_machine"] is True
    assert one["kernel"] == "6.1.0"
    assert "abc" not in json.dumps(one)
    assert machine.fingerprint(tmp_path / "one") == one
    other = tree(tmp_path / "two", files | {"etc/machine-id": "abd\n"})
    assert machine.fingerprint(other)["digest"] != one["digest"]
    assert machine.fingerprint(tmp_path / "none")["virtual_machine"] is False


def test_settings_are_read_and_none_where_unseen(tmp_path):
    cpu = "sys/devices/system/cpu"
    root = tree(
        tmp_path,
        {
            f"{cpu}/cpu0/cpufreq/scaling_governor": "powersave\n",
            f"{cpu}/cpu1/cpufreq/scaling_governor": "performance\n",
            f"{cpu}/isolated": "1\n",
            "sys/kernel/mm/transparent_hugepage/enabled": "always [madvise] never\n",
            "proc/cmdline": "root=/dev/secret isolcpus=1 quiet mitigations=off\n",
            "proc/sys/net/core/busy_poll": "50\n",
        },
    )
    found = machine.settings(root)
    assert found["governor"] == "performance, powersave"
    assert found["isolated_cores"] == "1"
    assert found["transparent_hugepages"] == "madvise"
    assert found["boot"] == "isolcpus=1 mitigations=off"
    assert found["net.core.busy_poll"] == "50"
    assert found["net.core.rmem_max"] is None
    assert found["smt"] is None


def kernel_counters(scale):
    n = scale
    return {
        "proc/stat": f"cpu 1 1\ncpu0 {10 * n} 0 {20 * n} {50 * n} 0 {5 * n} {15 * n} 0 0 0\n"
        f"cpu1 0 0 0 {100 * n} 0 0 0 0\nintr 5\n",
        "proc/interrupts": "           CPU0 CPU1\n"
        f"  24:   {7 * n}   {n}  PCI-MSI 1-edge  virtio0-input\n LOC:  {3 * n} 0 Local timer\n",
        "proc/softirqs": f"  CPU0 CPU1\n NET_RX: {9 * n} {n}\n",
        "proc/net/softnet_stat": f"{16 * n:08x} {n:08x} 00000000\n{n:08x} 0 0\n",
    }


def test_counters_are_read_and_subtracted(tmp_path):
    before = counters.read(tree(tmp_path / "a", kernel_counters(1)))
    after = counters.read(tree(tmp_path / "b", kernel_counters(3)))
    out = counters.difference(before, after)
    assert out["cores"]["0"] == pytest.approx(
        {"user": 0.1, "system": 0.2, "irq": 0.05, "softirq": 0.15, "steal": 0.0, "idle": 0.5}
    )
    assert out["cores"]["1"]["idle"] == 1.0
    assert out["interrupts"] == {"24 virtio0-input": 16, "LOC": 6}
    assert out["softirqs"] == {"NET_RX": 20}
    assert out["softnet"] == {"processed": 34, "dropped": 2, "time_squeeze": 0}


def test_counters_of_this_machine_grow():
    before = counters.read()
    sum(range(3_000_000))
    out = counters.difference(before, counters.read())
    assert out["process"]["user_seconds"] > 0
    assert counters.difference(before, before)["interrupts"] == {}
