"""A machine with an agent and its server, made for an experiment and removed with it.

The server lies at the far end of a `Link` (or on the loopback interface), the agent at the near end. Both can be killed and
started again. What a command prints with --json comes back as a list of values.
"""
import json, os, shutil, signal, socket, subprocess, sys, tempfile, time


class Failed(Exception):
    """A command that should have succeeded did not, or something did not come to be in time."""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Lab:
    def __init__(self, holdfast, link=None, place=None, protect=None, settle=None, seed=1, agent_words=()):
        self.holdfast, self.link, self.port = os.path.abspath(holdfast), link, 7443 if link else free_port()
        self.directory = tempfile.mkdtemp(prefix="holdfast-lab-", dir=place)
        self.files = protect or self.path("files")
        for name in (self.files, self.path("run")):
            os.makedirs(name, exist_ok=True)
        self.address = f"https://{link.far.address if link else '127.0.0.1'}:{self.port}"
        self.environment = dict(os.environ, HOLDFAST_RUNTIME_DIRECTORY=self.path("run"), TZ="UTC",
                                HOLDFAST_VAULT=self.address, HOLDFAST_STATE=self.path("state"))
        for name in ("HOLDFAST_PASSPHRASE_FILE", "HOLDFAST_TOKEN_FILE"):
            self.environment.pop(name, None)
        self.settle, self.agent_words = settle, list(agent_words)
        self.server = self.agent = self.agent_command = None
        try:
            self.make()
        except BaseException:
            self.close()
            raise

    def path(self, name):
        return os.path.join(self.directory, name)

    # Commands

    def start(self, words, where, log, environment=None):
        command = [self.holdfast, *words]
        place = getattr(self.link, where) if self.link else None
        if place:
            command = place.command(command)
        with open(self.path(log), "ab") as out:
            return subprocess.Popen(command, env=environment or self.environment, stdin=subprocess.DEVNULL, stdout=out,
                                    stderr=out)

    def attempt(self, *words, where="near", state=None, timeout=600):
        command = [self.holdfast, *words, "--json"]
        place = getattr(self.link, where) if self.link else None
        if place:
            command = place.command(command)
        environment = dict(self.environment, HOLDFAST_STATE=state) if state else self.environment
        done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout)
        lines = [json.loads(line) for line in done.stdout.decode().splitlines() if line.startswith("{")]
        return done.returncode, lines, done.stderr.decode(errors="replace")

    def run(self, *words, statuses=(0,), **options):
        status, lines, error = self.attempt(*words, **options)
        if status not in statuses:
            raise Failed(f"holdfast {' '.join(words)} ended with {status}: {error.strip()} {lines[-3:]}")
        return lines

    # The vault, the server, the machine

    def make(self):
        with open(os.open(self.path("passphrase"), os.O_CREAT | os.O_WRONLY, 0o600), "w") as file:
            file.write("correct horse battery staple\n")
        server_state = self.path("server-state")
        vault = ["--vault", self.path("vault")]
        secret = ["--passphrase-file", self.path("passphrase")]
        made = self.run("vault", "init", *vault, *secret, state=server_state)
        with open(self.path("sheet"), "w") as file:
            file.write(" ".join(next(line["key_sheet"] for line in made if line.get("key_sheet"))))
        self.run("server", "init", *vault, *secret, state=server_state)
        self.start_server()
        code = self.run("server", "token", "--address", self.address, where="far", state=server_state)[0]["code"]
        with open(os.open(self.path("code"), os.O_CREAT | os.O_WRONLY, 0o600), "w") as file:
            file.write(code + "\n")
        self.until(lambda: self.attempt("enrol", self.address, "--code-file", self.path("code"))[0] == 0, 60, "enrolment")

    def start_server(self):
        host = self.link.far.address if self.link else "127.0.0.1"
        self.server = self.start(
            ["server", "run", "--vault", self.path("vault"), "--listen", host, "--port", str(self.port)], "far",
            "server.log", dict(self.environment, HOLDFAST_STATE=self.path("server-state")))

    def start_agent(self):
        words = [*(self.agent_command or ["agent", "run", "--protect", self.files]), *self.agent_words]
        if self.settle is not None and not self.agent_command:
            words += ["--settle", str(self.settle)]
        self.agent = self.start(words, "near", "agent.log")

    def stop(self, process, number=signal.SIGTERM):
        """Ends the agent or the server. nsenter becomes the program, so the signal reaches it."""
        if process and process.poll() is None:
            process.send_signal(number)
        return process.wait(timeout=120) if process else None

    def kill_agent(self):
        self.stop(self.agent, signal.SIGKILL)

    def kill_server(self):
        self.stop(self.server, signal.SIGKILL)

    # Waiting

    def until(self, condition, seconds, what):
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise Failed(f"{what}: not within {seconds} s")
            time.sleep(0.1)

    def status(self):
        """What the agent says of itself; None when it does not answer."""
        status, lines, _ = self.attempt("agent", "status", timeout=60)
        return next((line for line in lines if line.get("type", "agent_status") == "agent_status"), None)

    def is_watching(self):
        status = self.status()
        return bool(status) and status["scans"] > 0

    def is_captured(self):
        """Whether everything that changed is kept somewhere, in the spool or in the vault."""
        status = self.status()
        return bool(status) and status["scans"] > 0 and status["waiting"] == 0 and status["activity"] in ("idle", "waiting")

    def is_stored(self):
        status = self.status()
        return bool(status) and status["scans"] > 0 and status["waiting"] == 0 and not status["spooled"] \
            and status["activity"] == "idle" and status["lag_milliseconds"] == 0

    def store_everything(self, seconds=300):
        """Asks for everything to be stored until it is."""
        self.until(lambda: self.attempt("backup", "--now")[0] == 0, seconds, "backup --now")

    # Looking at the vault

    def points(self):
        return [line for line in self.run("points") if "number" in line]

    def restore(self, point, target, *paths):
        return self.run("restore", point, *paths, "--to", target, "--key-sheet", self.path("sheet"), "--no-sync",
                        statuses=(0, 3))

    def verify(self):
        """What is wrong with the vault and with the machine's history."""
        wrong = []
        points = self.points()
        numbers = sorted(point["number"] for point in points)
        if numbers != list(range(1, len(numbers) + 1)):
            gaps = sorted(set(range(1, max(numbers, default=0) + 1)) - set(numbers))
            wrong.append(f"the points' numbers are not dense: {len(numbers)} points, missing {gaps[:10]}")
        if len({point["incarnation"] for point in points}) != 1:
            wrong.append("the history has been broken off and begun again")
        wrong += [f"point {point['number']} is {point['condition']}" for point in points if point["condition"] != "whole"]
        status, lines, error = self.attempt(
            "vault", "verify", "--level", "data", "--vault", self.path("vault"), "--key-sheet", self.path("sheet"),
            where="far", state=self.path("server-state"))
        if status != 0:
            wrong.append(f"vault verify ended with {status}: {error.strip()} {lines[-3:]}")
        return wrong

    def memory(self, process):
        """The resident memory of a process and its peak, in bytes."""
        found = {}
        with open(f"/proc/{process.pid}/status") as file:
            for line in file:
                if line.startswith(("VmRSS", "VmHWM")):
                    found[line[:5]] = int(line.split()[1]) << 10
        return found["VmRSS"], found["VmHWM"]

    def processor(self, process):
        """Seconds of processor time that a process has used."""
        with open(f"/proc/{process.pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def log(self, name, lines=15):
        try:
            with open(self.path(name), errors="replace") as file:
                return "".join(file.readlines()[-lines:])
        except OSError:
            return ""

    def close(self, keep=False):
        for process in (self.agent, self.server):
            try:
                self.stop(process, signal.SIGKILL)
            except (OSError, subprocess.SubprocessError):
                pass
        if self.link:
            self.link.close()
        if keep:
            print(f"Kept: {self.directory}", file=sys.stderr)
        else:
            shutil.rmtree(self.directory, ignore_errors=True)
