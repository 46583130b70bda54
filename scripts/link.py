"""A network of two places with a link between them whose rate, delay, loss and queue can be set while it is used.

Each place is a network namespace without a name, so nothing is left behind whatever happens to this program. The link is
a process that carries packets from one TUN device to another: that needs no queueing discipline that a kernel may lack
(`netem`), and the bytes that it counts are those that really went over the link.

Needs root and /dev/net/tun; `why_not` says what is missing.
"""
import atexit, collections, ctypes, fcntl, heapq, json, os, random, select, signal, socket, struct
import subprocess, threading, time

CLONE_NEWNET = 0x40000000
libc = ctypes.CDLL(None, use_errno=True)


def why_not():
    """What keeps this machine from making links; None when nothing does."""
    if os.geteuid() != 0:
        return "network namespaces take root"
    try:
        os.close(os.open("/dev/net/tun", os.O_RDWR))
    except OSError as error:
        return f"/dev/net/tun cannot be opened ({error.strerror})"
    return None


def in_thread(function):
    """Runs a function on a thread of its own, which may change its network namespace, and returns what it returned."""
    result = {}

    def body():
        try:
            result["value"] = function()
        except BaseException as error:
            result["error"] = error

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    if "error" in result:
        raise result["error"]
    return result.get("value")


def enter(descriptor):
    if libc.setns(descriptor, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


class Place:
    """A network namespace with one device that leads to the link."""

    def __init__(self, address):
        self.address = address

        def make():
            if libc.unshare(CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "unshare")
            namespace = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            fcntl.ioctl(tun, 0x400454CA, struct.pack("16sH22x", b"link0", 0x1001))  # TUNSETIFF: IFF_TUN, IFF_NO_PI
            return namespace, tun

        self.namespace, self.tun = in_thread(make)
        for words in (["link", "set", "lo", "up"], ["address", "add", f"{address}/24", "dev", "link0"],
                      ["link", "set", "link0", "up"]):
            subprocess.run(self.command(["ip", *words]), check=True)

    def command(self, words):
        """The same command inside this place."""
        return ["nsenter", f"--net=/proc/{os.getpid()}/fd/{self.namespace}", "--", *words]

    def use(self, *ways):
        """Chooses how TCP fills links here: the first of these ways that the kernel lets a namespace have. Answers which."""
        for way in ways:
            file = "/proc/sys/net/ipv4/tcp_congestion_control"
            done = subprocess.run(self.command(["sh", "-c", f"echo {way} > {file} && cat {file}"]), capture_output=True)
            if done.returncode == 0:
                break
        return done.stdout.decode().strip()

    def socket(self, kind=socket.SOCK_DGRAM):
        def make():
            enter(self.namespace)
            return socket.socket(socket.AF_INET, kind)

        return in_thread(make)


class Direction:
    """One way of the link, as the carrying process keeps it."""

    def __init__(self):
        self.set({"rate": None, "delay": 0.0, "loss": 0.0, "queue": 64 << 10, "cut": False})
        self.free = 0.0
        self.waiting = []
        self.count = 0
        self.figures = collections.Counter(packets=0, bytes=0, lost=0, full=0)

    def set(self, values):
        self.__dict__.update(values)
        if values.get("cut"):
            self.waiting = []

    def take(self, packet, now, chance):
        if self.cut:
            self.figures["lost"] += 1
            return
        if self.rate:
            backlog = max(0.0, self.free - now) * self.rate
            if backlog + len(packet) > self.queue:
                self.figures["full"] += 1
                return
            self.free = max(now, self.free) + len(packet) / self.rate
            due = self.free + self.delay
        else:
            due = now + self.delay
        # What the queue took has used the link, whether it arrives or not.
        self.figures["packets"] += 1
        self.figures["bytes"] += len(packet)
        if self.loss and chance.random() < self.loss:
            self.figures["lost"] += 1
            return
        self.count += 1
        heapq.heappush(self.waiting, (due, self.count, packet))


def carry(left, right, control, seed):
    """Carries packets between two TUN descriptors until `control` ends."""
    chance = random.Random(seed)
    up, down = Direction(), Direction()
    ways = {left: (up, right), right: (down, left)}
    poll = select.poll()
    for descriptor in (left, right, control.fileno()):
        poll.register(descriptor, select.POLLIN)
    text = b""
    while True:
        next_due = min((way.waiting[0][0] for way, _ in ways.values() if way.waiting), default=None)
        # poll counts whole milliseconds: short waits are made by asking again at once.
        wait = 1_000 if next_due is None else max(0, int((next_due - time.monotonic()) * 1_000))
        ready = poll.poll(wait)
        for descriptor, _ in ready:
            if descriptor == control.fileno():
                part = control.recv(65_536)
                if not part:
                    return
                text += part
                while b"\n" in text:
                    line, text = text.split(b"\n", 1)
                    order = json.loads(line)
                    for name, way in (("up", up), ("down", down)):
                        way.set(order.get(name, {}))
                    answer = {"up": up.figures, "down": down.figures}
                    control.sendall(json.dumps(answer).encode() + b"\n")
                continue
            way, _ = ways[descriptor]
            for _ in range(64):
                try:
                    packet = os.read(descriptor, 65_536)
                except BlockingIOError:
                    break
                way.take(packet, time.monotonic(), chance)
        now = time.monotonic()
        for way, target in ways.values():
            while way.waiting and way.waiting[0][0] <= now:
                packet = heapq.heappop(way.waiting)[2]
                try:
                    os.write(target, packet)
                except OSError:
                    way.figures["lost"] += 1


class Link:
    """Two places, `near` (the machine) and `far` (the server), and the link between them. `up` leads from near to far."""

    def __init__(self, seed=1):
        self.near, self.far = Place("10.77.0.1"), Place("10.77.0.2")
        self.control, other = socket.socketpair()
        self.child = os.fork()
        if self.child == 0:
            try:
                signal.signal(signal.SIGINT, signal.SIG_IGN)
                self.control.close()
                carry(self.near.tun, self.far.tun, other, seed)
            finally:
                os._exit(0)
        other.close()
        self.lines = self.control.makefile("r")
        self.lock = threading.Lock()
        atexit.register(self.close)

    def tell(self, **order):
        with self.lock:
            self.control.sendall(json.dumps(order).encode() + b"\n")
            return json.loads(self.lines.readline())

    def set(self, up=None, down=None, **both):
        """Sets `rate` (bytes a second, None for no limit), `delay` (seconds), `loss` (0 to 1), `queue` (bytes), `cut`."""
        return self.tell(up={**both, **(up or {})}, down={**both, **(down or {})})

    def cut(self):
        """From now on nothing arrives, and nobody is told."""
        self.set(cut=True)

    def mend(self):
        self.set(cut=False)

    def figures(self):
        return self.tell()

    def close(self):
        if self.child:
            self.control.close()
            self.lines.close()
            os.waitpid(self.child, 0)
            self.child = None


class Ping:
    """Small packets there and back all the time, and how long each took, in milliseconds."""

    def __init__(self, link, interval=0.05):
        self.echo, self.probe = link.far.socket(), link.near.socket()
        self.echo.bind((link.far.address, 7))
        self.target, self.interval = (link.far.address, 7), interval
        self.times, self.sent, self.ended = [], 0, threading.Event()
        self.threads = [threading.Thread(target=body, daemon=True) for body in (self.answer, self.send, self.hear)]
        for thread in self.threads:
            thread.start()

    def answer(self):
        while not self.ended.is_set():
            data, who = self.echo.recvfrom(2_048)
            if data:
                self.echo.sendto(data, who)

    def send(self):
        while not self.ended.is_set():
            try:
                # As long as the packets of ping.
                self.probe.sendto(struct.pack("d", time.monotonic()) + bytes(48), self.target)
                self.sent += 1
            except OSError:
                pass
            time.sleep(self.interval)

    def hear(self):
        while not self.ended.is_set():
            data, _ = self.probe.recvfrom(2_048)
            if data:
                self.times.append((time.monotonic() - struct.unpack("d", data[:8])[0]) * 1_000)

    def take(self):
        """The times since the last call, sorted, and how many did not come back."""
        times, sent = self.times, self.sent
        self.times, self.sent = [], 0
        return sorted(times), max(0, sent - len(times))

    def close(self):
        self.ended.set()


def percentile(values, part):
    """Of sorted values the one below which `part` of them lie."""
    return values[min(len(values) - 1, int(len(values) * part))] if values else float("nan")
