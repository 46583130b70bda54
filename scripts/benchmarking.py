"""What scripts/bench and scripts/bench-cases share: the tools that are compared, and one whole process measured.

A tool has a repository of its own below the work directory. `backup` and `restore` give command lines, so that what is
measured is one process and nothing of Python. Vaults and repositories are encrypted.
"""
import json, os, shutil, subprocess, sys, time

PASSPHRASE = "bench passphrase, not a secret"


def run(command, env, log, cwd=None):
    """Runs a command to its end. Wall time, processor time and peak memory are the kernel's account of it (wait4).

    The kernel counts the memory of the process that starts another as that one's, until it runs its own program: whoever
    measures memory has to be small. `aside` keeps it so.
    """
    started = time.monotonic()
    process = subprocess.Popen(command, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - started
    code = os.waitstatus_to_exitcode(status)
    process.returncode = code
    return {"wall": wall, "cpu": usage.ru_utime + usage.ru_stime, "memory": usage.ru_maxrss / 1024, "code": code}


def aside(function, *arguments):
    """Calls a function in a process of its own and returns what it returned (as JSON): its memory goes with it."""
    sys.stdout.flush()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reader)
            with os.fdopen(writer, "w") as out:
                json.dump(function(*arguments), out)
            status = 0
        except BaseException as error:
            print(f"{function.__name__}: {error!r}", file=sys.stderr)
        os._exit(status)
    os.close(writer)
    with os.fdopen(reader) as result:
        text = result.read()
    _, status = os.waitpid(child, 0)
    if status != 0:
        raise SystemExit(f"{function.__name__} failed.")
    return json.loads(text)


def size_of(path):
    """The bytes of the files below a path, without a vault's reserve: that is room kept free, not data."""
    total = 0
    for root, _, files in os.walk(path):
        for name in files:
            if name != "reserve":
                total += os.lstat(os.path.join(root, name)).st_size
    return total


class Restic:
    name = "restic"

    def __init__(self, work, binary):
        self.repo, self.cache = f"{work}/restic", f"{work}/restic-cache"
        self.env = dict(os.environ, RESTIC_PASSWORD=PASSPHRASE, RESTIC_REPOSITORY=self.repo, RESTIC_CACHE_DIR=self.cache)

    def version(self):
        return subprocess.run(["restic", "version"], capture_output=True, text=True).stdout.split()[1]

    def init(self, log):
        subprocess.run(["restic", "init", "-q"], env=self.env, check=True, stdout=log, stderr=log)

    def backup(self, paths):
        return ["restic", "backup", "-q", *paths]

    def restore(self, target, paths):
        return ["restic", "restore", "latest", "-q", "--target", target]


class Borg:
    name = "borg"

    def __init__(self, work, binary):
        self.repo = f"{work}/borg"
        self.env = dict(os.environ, BORG_PASSPHRASE=PASSPHRASE, BORG_REPO=self.repo, BORG_BASE_DIR=f"{work}/borg-base")
        self.count = 0

    def version(self):
        return subprocess.run(["borg", "--version"], capture_output=True, text=True).stdout.split()[1]

    def init(self, log):
        subprocess.run(["borg", "init", "-e", "repokey"], env=self.env, check=True, stdout=log, stderr=log)

    def backup(self, paths):
        self.count += 1
        return ["borg", "create", f"::a{self.count}", *paths]

    def restore(self, target, paths):
        os.makedirs(target)
        return ["sh", "-c", f"cd '{target}' && exec borg extract ::a{self.count}"]


class Holdfast:
    name = "holdfast"

    def __init__(self, work, binary, extra=(), machine=None, repo=None):
        """With a machine, a writer of that name with a state directory of its own, to a vault that others may share."""
        self.binary, self.extra, self.machine = binary, list(extra), machine
        self.repo = repo or f"{work}/{self.label()}"
        secret = f"{work}/passphrase"
        with open(os.open(secret, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as file:
            file.write(PASSPHRASE + "\n")
        state = f"{work}/state-{machine}" if machine else f"{work}/{self.label()}-state"
        self.env = dict(os.environ, HOLDFAST_VAULT=self.repo, HOLDFAST_PASSPHRASE_FILE=secret, HOLDFAST_STATE=state)

    def label(self):
        return "holdfast" + "".join(self.extra).replace("--compression", "-").replace(" ", "")

    def version(self):
        return subprocess.run([self.binary, "--version"], capture_output=True, text=True).stdout.strip()

    def init(self, log):
        subprocess.run([self.binary, "vault", "init"], env=self.env, check=True, stdout=log, stderr=log)

    def join(self, log):
        name = ["--name", self.machine] if self.machine else []
        subprocess.run([self.binary, "vault", "join", *name], env=self.env, check=True, stdout=log, stderr=log)

    def command(self, *words):
        return [self.binary, *words, "--quiet"]

    def backup(self, paths):
        return [self.binary, "backup", "--quiet", *self.extra, *paths]

    def restore(self, target, paths):
        return [self.binary, "restore", "latest", "--quiet", "--to", target]


class HoldfastBetter(Holdfast):
    name = "holdfast, better"

    def __init__(self, work, binary):
        super().__init__(work, binary, ["--compression", "better"])


TOOLS = {"holdfast": Holdfast, "better": HoldfastBetter, "restic": Restic, "borg": Borg}


def at_hand(names):
    """Of these tools the ones that this machine has."""
    return [name for name in names if name in ("holdfast", "better") or shutil.which(name)]


def machine():
    model = next((l.split(":")[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), "?")
    kernel = os.uname()
    return f"{time.strftime('%Y-%m-%d')}, {model}, {os.cpu_count()} processors, {kernel.sysname} {kernel.release}"


def median(values):
    return sorted(values)[len(values) // 2]
