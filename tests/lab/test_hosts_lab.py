"""TAP devices as ports, and what a worker does with one behind another port."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap

import pytest

pytestmark = pytest.mark.lab


def _in_namespace(script: str) -> dict[str, object]:
    """The JSON that a script prints in a network namespace that ends with it."""
    done = subprocess.run(
        ["unshare", "--net", "--", sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert isinstance(told, dict)
    return told


def test_a_device_is_made_as_told_and_is_gone_with_its_port() -> None:
    said = _in_namespace(
        """
        import json, subprocess, time
        from wirepath.hosts import HostPort, mac_of
        def link(name):
            command = ["ip", "-j", "link", "show", name]
            done = subprocess.run(command, capture_output=True, text=True)
            return json.loads(done.stdout)[0] if done.returncode == 0 else None
        def becomes(port, state):
            end = time.monotonic() + 20
            while port.info()["link"] != state and time.monotonic() < end:
                time.sleep(0.02)
            return port.info()["link"]
        with HostPort("t0", mac="02:00:00:00:00:07", mtu=9000, queues=2) as port:
            made, info, index, mac = link("t0"), port.info(), port.ifindex, mac_of("t0")
            port.set_carrier(False)
            down = becomes(port, "down")
            port.set_carrier(True)
            up = becomes(port, "up")
        subprocess.run(["ip", "tuntap", "add", "t1", "mode", "tap"], check=True)
        subprocess.run(["ip", "link", "set", "t1", "mtu", "1400"], check=True)
        with HostPort("t1", mac="02:00:00:00:00:08", mtu=9000) as port:
            taken = [link("t1")["mtu"], port.info()["made"]]
        print(json.dumps([made["mtu"], made["address"], "UP" in made["flags"], info["made"],
                          index == made["ifindex"], mac, down, up, link("t0"), taken,
                          link("t1") is not None]).join(['{"all":', "}"]))
        """
    )
    mac = "02:00:00:00:00:07"
    assert said["all"] == [
        9000, mac, True, True, True, mac, "down", "up", None, [1400, False], True,
    ]  # fmt: skip


def test_what_is_no_device_for_it_is_told() -> None:
    said = _in_namespace(
        """
        import json, subprocess
        from wirepath.errors import WirepathError
        from wirepath.hosts import HostPort
        subprocess.run("ip link add v0 type veth peer name v1", shell=True, check=True)
        subprocess.run(["ip", "tuntap", "add", "t1", "mode", "tap"], check=True)
        out = []
        def attempt(name, **options):
            try:
                HostPort(name, **options).close()
                out.append("opened")
            except WirepathError as error:
                out.append(f"{type(error).__name__}: {error}")
        attempt("v0")
        attempt("t1", queues=2)
        attempt("a/b")
        attempt("sixteen-letters!")
        attempt("t2", mtu=20)
        attempt("t2", queues=0)
        attempt("t2", mac="01:00:00:00:00:01")
        attempt("t2", mac="eight")
        with HostPort("t3"):
            attempt("t3")
        print(json.dumps({"out": out}))
        """
    )
    out = said["out"]
    assert isinstance(out, list)
    kinds = [each.partition(":")[0] for each in out]
    assert kinds == ["ConfigError"] * 8 + ["DeviceBusy"], out
    for each, names in zip(
        out, ["v0", "multi_queue", "a/b", "sixteen", "20", "0", "01:00", "eight", "t3"], strict=True
    ):
        assert names in each


def test_frames_pass_between_a_port_and_the_kernel() -> None:
    """A worker whose program leaves everything undecided: the kernel answers by the port."""
    said = _in_namespace(
        """
        import json, subprocess, socket, time
        import wirepath as wp
        from wirepath import frames, programs
        from wirepath.hosts import HostPort
        subprocess.run("ip link set lo up; ip link add v0 type veth peer name v1; "
                       "ip link set v0 up; ip link set v1 up", shell=True, check=True)
        mac = "02:00:00:00:00:07"
        with wp.open("af_xdp:v0", steer=wp.everything()) as port, HostPort("t0", mac=mac) as host:
            subprocess.run(["ip", "addr", "add", "10.9.0.1/24", "dev", "t0"], check=True)
            worker = wp.Worker("host")
            number = worker.add_host(worker.add_port(port), host)
            worker.add_stage(programs.native("count").stage())
            raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806))
            raw.bind(("v1", 0))
            raw.settimeout(1)
            me = bytes.fromhex("020000000099")
            ask = (b"\\xff" * 6 + me + bytes.fromhex("08060001080006040001") + me
                   + bytes([10, 9, 0, 2]) + bytes(6) + bytes([10, 9, 0, 1]))
            answer = None
            with worker:
                for _ in range(60):
                    raw.send(ask.ljust(60, b"\\0"))
                    try:
                        while not (answer and answer[20:22] == b"\\0\\2"):
                            answer = raw.recv(2000)
                        break
                    except TimeoutError:
                        pass
            stats, ours, theirs = worker.stats(), port.stats(), host.stats()
        print(json.dumps({
            "answer": answer[22:32].hex(), "number": number,
            "passed": stats["verdict.pass"] == stats["frames"] == theirs["tx_packets"] > 0,
            "back": stats["from_host"] == theirs["rx_packets"] == ours["tx_packets"] > 0,
        }))
        """
    )
    assert said == {
        "answer": "0200000000070a090001",
        "number": 1,
        "passed": True,
        "back": True,
    }
