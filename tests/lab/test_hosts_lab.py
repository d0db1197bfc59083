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
        with HostPort("t1") as port:
            taken = [link("t1")["mtu"], port.info()["made"]]
        with HostPort("t1", mac="02:00:00:00:00:08", mtu=9000) as port:
            taken += [link("t1")["mtu"], mac_of("t1")]
        print(json.dumps([made["mtu"], made["address"], "UP" in made["flags"], info["made"],
                          index == made["ifindex"], mac, down, up, link("t0"), taken,
                          link("t1") is not None]).join(['{"all":', "}"]))
        """
    )
    mac, taken = "02:00:00:00:00:07", [1400, False, 9000, "02:00:00:00:00:08"]
    assert said["all"] == [
        9000, mac, True, True, True, mac, "down", "up", None, taken, True,
    ]  # fmt: skip


def test_a_frame_that_is_too_long_for_its_buffer_is_counted_and_not_cut() -> None:
    said = _in_namespace(
        """
        import json, socket, subprocess
        from wirepath.errors import ConfigError
        from wirepath.hosts import HostPort
        quiet = ["sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1"]
        subprocess.run(quiet, check=False)
        def mtu(value):
            subprocess.run(["ip", "link", "set", "t0", "mtu", value], check=True)
        with HostPort("t0") as port:
            mtu("20000")
            raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            raw.bind(("t0", 0))
            lengths = []
            for length in (9279, 9280, 15000, 60):
                raw.send(bytes(12) + b"\\x88\\xb5" + bytes(length - 14))
            while not lengths or lengths[-1] != 60:
                with port.poll() as burst:
                    lengths += [len(packet) for packet in burst]
            lost = port.stats()["drop.rx_too_long"]
        subprocess.run(["ip", "tuntap", "add", "t0", "mode", "tap"], check=True)
        mtu("20000")
        try:
            HostPort("t0").close()
            refused = ""
        except ConfigError as error:
            refused = str(error)
        print(json.dumps({"lengths": lengths, "lost": lost, "refused": refused}))
        """
    )
    assert said["lengths"] == [9279, 60]
    assert said["lost"] == 2
    assert "ip link set t0 mtu 9216" in str(said["refused"])


def test_workers_of_a_router_share_ports_of_several_queues() -> None:
    """Port queues 0 and 2 are the first worker's, 1 and 3 the second's; a device has two."""
    said = _in_namespace(
        """
        import json, time
        from wirepath.route.user import UserPlane
        ports = {"lan": "null:,queues=4,frames=500", "wan": "null:,queues=3,frames=500"}
        out = []
        for workers in (1, 2):
            plane = UserPlane(ports, workers=workers)
            try:
                plane.attach()
                end = time.monotonic() + 60
                while plane.account().received < 3500 and time.monotonic() < end:
                    time.sleep(0.02)
                queues = [len(w["queues"]) for w in plane.info()["workers"]]
                plane.stop()
                account = plane.account()
                out.append([queues, account.received, account.missing])
            finally:
                plane.close()
        print(json.dumps({"out": out}))
        """
    )
    assert said["out"] == [[[9], 3500, 0], [[6, 5], 3500, 0]]


def test_addresses_that_are_none_are_named() -> None:
    said = _in_namespace(
        """
        import json
        from wirepath.errors import ConfigError
        from wirepath.route.user import UserPlane
        out = []
        for each in ("192.0.2.1/999", "192.0.2.1", "192.0.2.1/255.255.255.0", "lan/24", "::1/129"):
            try:
                UserPlane({"lan": "null:"}, addresses={"lan": [each]}).close()
                out.append("opened")
            except ConfigError as error:
                out.append(str(error))
        print(json.dumps({"out": out}))
        """
    )
    assert isinstance(said["out"], list)
    for each in said["out"]:
        assert each.startswith("addresses.lan = "), each
        assert "an address with its prefix length" in each


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
