#!/usr/bin/python3
"""Reads a Holdfast vault with nothing of Holdfast: nobody is locked in.

Written from docs/vault-format.md alone. Lists points and trees, and restores a file or directory from a vault's directory
with the sixteen words of the key sheet, or with a passphrase. It needs no catalog: it scans the packs.

    read-vault.py VAULT points
    read-vault.py VAULT ls POINT [PATH]
    read-vault.py VAULT restore POINT [PATH] --to DIR

POINT is "latest" or the beginning of a point's id. The words or the passphrase come from the terminal, or from a file:
--key-sheet FILE, --passphrase-file FILE. Debian packages: python3-cryptography, and python3-zstandard or zstd.
"""
import argparse, collections, datetime, errno, getpass, hashlib, hmac, json, os, stat, struct, subprocess, sys, unicodedata

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

KINDS = {1: "continuous", 2: "scheduled", 3: "manual", 4: "checkpoint"}
DATA, NODE, EXTENTS, DELTA, POINT, MACHINE, HOLD, REDACTION = 1, 2, 3, 4, 16, 17, 18, 19
MIB = 1 << 20


class Damaged(Exception):
    """Bytes are not what they should be, or a key does not open them."""


# ---------------------------------------------------------------- primitives


def sha256(data):
    return hashlib.sha256(data).digest()


def mac(key, data):
    return hmac.new(key, data, hashlib.sha256).digest()


def hkdf(key, info, length):
    return HKDF(hashes.SHA256(), length, b"", info).derive(key)


def aes_open(key, sealed, additional):
    """Opens nonce (12), ciphertext, tag (16)."""
    if len(sealed) < 28:
        raise Damaged("sealed bytes are cut short")
    try:
        return AESGCM(key).decrypt(sealed[:12], sealed[12:], additional)
    except InvalidTag:
        raise Damaged("a seal is broken, or the key is wrong") from None


def unzstd(data, length):
    try:
        import zstandard
    except ImportError:
        tool = subprocess.run(["zstd", "-dc"], input=data, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        return tool.stdout
    try:
        if zstandard.frame_content_size(data) > length:
            raise Damaged("compressed bytes are longer than they should be")
        return zstandard.ZstdDecompressor().decompress(data, max_output_size=length)
    except zstandard.ZstdError as error:
        raise Damaged(f"compressed bytes do not expand: {error}") from None


class Reader:
    """The primitives of the format, bounded by the bytes at hand."""

    def __init__(self, data):
        self.data, self.at = bytes(data), 0

    def take(self, count):
        if count > len(self.data) - self.at:
            raise Damaged("cut short")
        self.at += count
        return self.data[self.at - count : self.at]

    def fixed(self, form):
        return struct.unpack("<" + form, self.take(struct.calcsize("<" + form)))[0]

    def varint(self):
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if byte == 0 and shift:
                    raise Damaged("a number is not in its shortest form")
                return value
            shift += 7
            if shift > 63:
                raise Damaged("a number is too large")

    def zigzag(self):
        value = self.varint()
        return (value >> 1) ^ -(value & 1)

    def counted(self):
        return self.take(self.varint())

    def table(self, of):
        return [of() for _ in range(min(self.varint(), len(self.data)))]

    def digest(self):
        return self.take(32)

    @property
    def ended(self):
        return self.at == len(self.data)


# ---------------------------------------------------------------- ML-KEM-768 (FIPS 203), decapsulation

Q = 3329
BITREV = [int(f"{i:07b}"[::-1], 2) for i in range(128)]
ZETAS = [pow(17, b, Q) for b in BITREV]
GAMMAS = [pow(17, 2 * b + 1, Q) for b in BITREV]


def ntt(f):
    f, i, length = list(f), 1, 128
    while length >= 2:
        for start in range(0, 256, 2 * length):
            zeta, i = ZETAS[i], i + 1
            for j in range(start, start + length):
                t = zeta * f[j + length] % Q
                f[j + length], f[j] = (f[j] - t) % Q, (f[j] + t) % Q
        length //= 2
    return f


def inverse_ntt(f):
    f, i, length = list(f), 127, 2
    while length <= 128:
        for start in range(0, 256, 2 * length):
            zeta, i = ZETAS[i], i - 1
            for j in range(start, start + length):
                t = f[j]
                f[j], f[j + length] = (t + f[j + length]) % Q, zeta * (f[j + length] - t) % Q
        length *= 2
    return [x * 3303 % Q for x in f]


def multiply(f, g):
    h = [0] * 256
    for i in range(128):
        a, b, c, d = f[2 * i], f[2 * i + 1], g[2 * i], g[2 * i + 1]
        h[2 * i], h[2 * i + 1] = (a * c + b * d * GAMMAS[i]) % Q, (a * d + b * c) % Q
    return h


def add(f, g):
    return [(a + b) % Q for a, b in zip(f, g)]


def dot(row, vector):
    total = [0] * 256
    for f, g in zip(row, vector):
        total = add(total, multiply(f, g))
    return total


def encode(bits, f):
    value = sum(x << (bits * i) for i, x in enumerate(f))
    return value.to_bytes(32 * bits, "little")


def decode(bits, data):
    value, mask = int.from_bytes(data, "little"), (1 << bits) - 1
    return [value >> (bits * i) & mask for i in range(256)]


def compress(bits, f):
    return [((x << bits) + Q // 2) // Q & ((1 << bits) - 1) for x in f]


def decompress(bits, f):
    return [(x * Q + (1 << (bits - 1))) >> bits for x in f]


def sample_uniform(seed):
    stream, f = hashlib.shake_128(seed).digest(3 * 1024), []
    for i in range(0, len(stream), 3):
        a, b, c = stream[i : i + 3]
        for x in (a + 256 * (b % 16), b // 16 + 16 * c):
            if x < Q and len(f) < 256:
                f.append(x)
    return f


def sample_small(seed, counter):
    value = int.from_bytes(hashlib.shake_256(seed + bytes([counter])).digest(128), "little")
    bit = lambda i: value >> i & 1
    return [(bit(4 * i) + bit(4 * i + 1) - bit(4 * i + 2) - bit(4 * i + 3)) % Q for i in range(256)]


def matrix(rho):
    return [[sample_uniform(rho + bytes([j, i])) for j in range(3)] for i in range(3)]


def mlkem_keys(d):
    seed = hashlib.sha3_512(d + b"\x03").digest()
    rho, sigma = seed[:32], seed[32:]
    s = [ntt(sample_small(sigma, i)) for i in range(3)]
    e = [ntt(sample_small(sigma, i + 3)) for i in range(3)]
    t = [add(dot(row, s), e[i]) for i, row in enumerate(matrix(rho))]
    return s, b"".join(encode(12, f) for f in t) + rho


def mlkem_encrypt(public, message, seed):
    t = [[x % Q for x in decode(12, public[384 * i : 384 * i + 384])] for i in range(3)]
    a = matrix(public[1152:])
    y = [ntt(sample_small(seed, i)) for i in range(3)]
    u = [
        add(inverse_ntt(dot([a[j][i] for j in range(3)], y)), sample_small(seed, 3 + i)) for i in range(3)
    ]
    v = add(add(inverse_ntt(dot(t, y)), sample_small(seed, 6)), decompress(1, decode(1, message)))
    return b"".join(encode(10, compress(10, f)) for f in u) + encode(4, compress(4, v))


def mlkem_decapsulate(d, z, sealed):
    s, public = mlkem_keys(d)
    u = [decompress(10, decode(10, sealed[320 * i : 320 * i + 320])) for i in range(3)]
    v = decompress(4, decode(4, sealed[960:1088]))
    difference = [(a - b) % Q for a, b in zip(v, inverse_ntt(dot(s, [ntt(f) for f in u])))]
    message = encode(1, compress(1, difference))
    shared = hashlib.sha3_512(message + hashlib.sha3_256(public).digest()).digest()
    if mlkem_encrypt(public, message, shared[32:]) == sealed:
        return shared[:32]
    return hashlib.shake_256(z + sealed).digest(32)


# ---------------------------------------------------------------- X-Wing and HPKE (RFC 9180)


def xwing_decapsulate(seed, encapsulated):
    expanded = hashlib.shake_256(seed).digest(96)
    private = X25519PrivateKey.from_private_bytes(expanded[64:])
    public = private.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    theirs = encapsulated[1088:]
    first = mlkem_decapsulate(expanded[:32], expanded[32:64], encapsulated[:1088])
    second = private.exchange(X25519PublicKey.from_public_bytes(theirs))
    return hashlib.sha3_256(first + second + theirs + public + b"\\.//^\\").digest()


def hpke_open(seed, encapsulated, info, sealed):
    """Base mode, X-Wing (0x647A), HKDF-SHA256 (1), AES-256-GCM (2); the first message, no additional data."""
    suite = b"HPKE" + struct.pack(">HHH", 0x647A, 1, 2)

    def extract(salt, label, key):
        return mac(salt or bytes(32), b"HPKE-v1" + suite + label + key)

    def expand(key, label, context, length):
        labelled = struct.pack(">H", length) + b"HPKE-v1" + suite + label + context
        return mac(key, labelled + b"\x01")[:length]

    context = b"\x00" + extract(b"", b"psk_id_hash", b"") + extract(b"", b"info_hash", info)
    secret = extract(xwing_decapsulate(seed, encapsulated), b"secret", b"")
    key = expand(secret, b"key", context, 32)
    return aes_open(key, expand(secret, b"base_nonce", context, 12) + sealed, b"")


# ---------------------------------------------------------------- keys


def sheet_secret(text):
    path = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "docs", "wordlist.txt")
    with open(path) as file:
        numbers = {word: number for number, word in enumerate(file.read().split())}
    words = text.lower().split()
    unknown = [word for word in words if word not in numbers]
    if len(words) != 16 or unknown:
        sys.exit(f"a key sheet has 16 words; here are {len(words)}, and these are none: {unknown}")
    value = 0
    for word in words:
        value = value << 11 | numbers[word]
    data = value.to_bytes(22, "big")
    if sha256(b"holdfast/1/sheet" + data[:20])[:2] != data[20:]:
        sys.exit("the checksum of the words is wrong: one of them is mistyped, or two are swapped")
    return data[:20]


class Keys:
    """What the master secret opens."""

    def __init__(self, root, sheet, passphrase):
        self.config = load_json(os.path.join(root, "config.json"))
        if self.config["format"] > 1:
            sys.exit(f"this vault has format {self.config['format']}; this program reads 1")
        if self.config["requires"]["read"]:
            sys.exit(f"reading this vault needs features that this program lacks: {self.config['requires']['read']}")
        self.vault = bytes.fromhex(self.config["vault"])
        files = [
            load_json(os.path.join(root, "keys", name))
            for name in sorted(os.listdir(os.path.join(root, "keys")))
            if name.endswith(".json")
        ]
        self.master = self.unlock([f for f in files if "kind" in f], sheet, passphrase)
        rest = {name: value for name, value in self.config.items() if name != "mac"}
        text = json.dumps(rest, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        if mac(hkdf(self.master, b"holdfast/1/config", 32), text).hex() != self.config["mac"]:
            print("warning: config.json was changed by somebody without the key", file=sys.stderr)
        seed = hkdf(self.master, b"holdfast/1/vault-signing", 32)
        self.signing = Ed25519PrivateKey.from_private_bytes(seed).public_key()
        pair_key = hkdf(self.master, b"holdfast/1/pair", 32)
        self.pairs = {}
        for file in files:
            if "kind" not in file:
                additional = b"holdfast/1/pair" + self.vault + struct.pack("<H", file["number"])
                self.pairs[file["number"]] = aes_open(pair_key, bytes.fromhex(file["wrapped"]), additional)

    def unlock(self, slots, sheet, passphrase):
        for slot in slots:
            if slot["kind"] == "key-sheet" and sheet is not None:
                key = hkdf(sheet + self.vault, b"holdfast/1/key-sheet", 32)
            elif slot["kind"] == "passphrase" and passphrase is not None:
                kdf = slot["kdf"]
                if kdf["n"] > 1 << 22 or kdf["r"] > 32 or kdf["p"] > 16:
                    continue
                text = unicodedata.normalize("NFC", passphrase).encode()
                key = Scrypt(bytes.fromhex(kdf["salt"]), 32, kdf["n"], kdf["r"], kdf["p"]).derive(text)
            else:
                continue
            try:
                additional = b"holdfast/1/slot" + self.vault + slot["kind"].encode()
                return aes_open(key, bytes.fromhex(slot["wrapped"]), additional)
            except Damaged:
                continue
        sys.exit("that opens no key slot of this vault")

    def convergence(self, domain, number):
        info = b"holdfast/1/convergence\x00" + domain + b"\x00" + struct.pack("<H", number)
        return hkdf(self.master, info, 32)

    def record(self, wrap, sealed, additional):
        number = struct.unpack_from("<H", wrap)[0]
        if number not in self.pairs or len(wrap) != 2 + 1120 + 48:
            raise Damaged(f"key pair {number} is not in this vault")
        info = b"holdfast/1/wrap" + self.vault
        key = hpke_open(self.pairs[number], wrap[2:1122], info, wrap[1122:])
        return parse_record(aes_open(key, sealed, additional))


def load_json(path):
    with open(path, "rb") as file:
        return json.load(file)


# ---------------------------------------------------------------- packs and blobs

Frame = collections.namedtuple("Frame", "type encoding secret references sealed id")


def parse_frame(data):
    """The 60 bytes before a blob; None when they are none."""
    magic, kind, encoding, secret, references, sealed, zero, blob, _ = struct.unpack_from("<4sBBHIII32sQ", data)
    if magic != b"BLOB" or zero or encoding > 1 or references > 32768 or sealed > 4 * MIB + 32:
        return None
    return Frame(kind, encoding, secret, references, sealed, blob)


class Packs:
    """Where every blob lies, found by looking at all packs."""

    def __init__(self, root, vault):
        self.vault, self.paths, self.blobs, self.records = vault, [], {}, []
        self.files = collections.OrderedDict()
        self.cache, self.cached = collections.OrderedDict(), 0
        top = os.path.join(root, "packs")
        for folder in sorted(os.listdir(top)):
            for name in sorted(os.listdir(os.path.join(top, folder))):
                if len(name) == 64 and name.startswith(folder):
                    self.scan(os.path.join(top, folder, name))

    def scan(self, path):
        self.paths.append(path)
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            try:
                entries = self.footer(file, size)
            except (Damaged, struct.error):
                print(f"warning: {path} is damaged; looking for blobs in it", file=sys.stderr)
                file.seek(0)
                entries = self.search(file.read(64 * MIB))
            for blob, kind, offset, length in entries:
                if kind >= POINT:
                    file.seek(offset)
                    self.record(file.read(length))
                else:
                    place = (len(self.paths) - 1, offset, length)
                    self.blobs.setdefault(blob, []).append(place)

    def footer(self, file, size):
        header = file.read(48)
        if len(header) < 48 or header[:8] != b"HOLDPACK" or size > 64 * MIB:
            raise Damaged("not a pack")
        if header[8:10] != b"\x01\x00":
            raise SystemExit("a pack is of a newer version than this program reads")
        if header[16:32] != self.vault:
            return []
        file.seek(size - 32)
        count, zero, offset, _, magic = struct.unpack("<IIQQ8s", file.read(32))
        if magic != b"PACKEND1" or zero or offset + 56 * count + 32 != size:
            raise Damaged("no trailer")
        file.seek(offset)
        entries, position = [], 48
        for item in struct.iter_unpack("<32sBBHIIIQ", file.read(56 * count)):
            blob, kind, _, _, references, sealed, _, start = item
            if start != position:
                raise Damaged("footer")
            position += 60 + 32 * references + sealed
            entries.append((blob, kind, start, position - start))
        if position != offset:
            raise Damaged("footer")
        return entries

    def search(self, data):
        entries, at = [], data.find(b"BLOB")
        while at >= 0 and at + 60 <= len(data):
            frame = parse_frame(data[at : at + 60])
            length = 60 + 32 * frame.references + frame.sealed if frame else 0
            if frame and at + length <= len(data) and self.looks_whole(data[at : at + length], frame):
                entries.append((frame.id, frame.type, at, length))
                at += length - 1
            at = data.find(b"BLOB", at + 1)
        return entries

    def looks_whole(self, framed, frame):
        # The checksum is XXH3, which Python lacks. A record is proved by its name, another blob by its seal when it is
        # opened; until then it is enough that a damaged length does not swallow the blobs behind.
        if frame.type >= POINT:
            return frame.id == record_id(frame.type, framed[60 + 32 * frame.references :])
        at = framed.find(b"BLOB", 60)
        while at >= 0:
            if at + 60 <= len(framed) and parse_frame(framed[at : at + 60]):
                return False
            at = framed.find(b"BLOB", at + 1)
        return frame.type <= DELTA

    def record(self, framed):
        frame = parse_frame(framed)
        body = framed[60 + 32 * frame.references :] if frame else b""
        if frame and frame.id == record_id(frame.type, body):
            self.records.append((frame.type, body))
        else:
            print("warning: a record is damaged", file=sys.stderr)

    def read(self, place):
        index, offset, length = place
        file = self.files.pop(index, None) or open(self.paths[index], "rb")
        self.files[index] = file
        if len(self.files) > 64:
            self.files.popitem(last=False)[1].close()
        file.seek(offset)
        return file.read(length)

    def open(self, key, kind, keys, domain):
        """The plaintext of the blob with a content key; of several copies the first that opens."""
        if key in self.cache:
            self.cache.move_to_end(key)
            return self.cache[key]
        blob = sha256(b"holdfast/1/id" + key)
        failure = Damaged("a blob is missing in the vault: " + blob.hex())
        for place in self.blobs.get(blob, []):
            try:
                plain = open_blob(self.read(place), blob, key, kind, keys, domain)
            except Damaged as error:
                failure = Damaged(f"{error}: blob {blob.hex()} in {self.paths[place[0]]}")
                continue
            self.cache[key] = plain
            self.cached += len(plain)
            while self.cached > 64 * MIB:
                self.cached -= len(self.cache.popitem(last=False)[1])
            return plain
        raise failure


def record_id(kind, body):
    return sha256(b"holdfast/1/record" + bytes([kind]) + body)


def open_blob(framed, blob, key, kind, keys, domain):
    frame = parse_frame(framed) if len(framed) >= 60 else None
    if not frame or frame.id != blob or frame.type != kind or len(framed) != 60 + 32 * frame.references + frame.sealed:
        raise Damaged("a blob's header is damaged")
    start = 60 + 32 * frame.references
    additional = framed[:52] + bytes(8) + framed[60:start]
    inner = aes_open(mac(key, b"holdfast/1/seal"), framed[start:], additional)
    if len(inner) < 4:
        raise Damaged("a blob is too short")
    length = struct.unpack_from("<I", inner)[0]
    if length > MIB:
        raise Damaged("a blob is too long")
    plain = unzstd(inner[4:], length) if frame.encoding else inner[4:]
    if len(plain) != length or mac(keys.convergence(domain, frame.secret), bytes([kind]) + plain) != key:
        raise Damaged("a blob is not what its key says")
    return plain


# ---------------------------------------------------------------- records

Point = collections.namedtuple(
    "Point", "id machine incarnation number time kind partial pinned locator hash wrap sealed additional"
)


def parse_point(body):
    reader = Reader(body)
    if reader.fixed("H") != 1:
        raise Damaged("version of a point")
    reader.fixed("q")
    locator = reader.take(reader.fixed("I"))
    wrap = reader.take(reader.fixed("I"))
    sealed = reader.take(reader.fixed("I"))
    signature = reader.take(64)
    inner = Reader(locator)
    if inner.fixed("B") != 1:
        raise Damaged("version of a locator")
    inner.take(16)
    machine, incarnation, point = inner.take(16), inner.take(16), inner.take(16)
    number, time, kind, flags = inner.varint(), inner.fixed("q"), inner.fixed("B"), inner.fixed("B")
    signed = b"holdfast/1/point" + locator + sealed
    return signature, signed, Point(
        point.hex(), machine.hex(), incarnation.hex(), number, time, KINDS.get(kind, "?"), bool(flags & 1),
        bool(flags & 2), locator, sha256(locator), wrap, sealed, locator,
    )


def parse_record(data):
    reader, fields = Reader(data), collections.defaultdict(list)
    while not reader.ended:
        tag = reader.varint()
        fields[tag].append(reader.counted())
    return fields


def verified(key, signature, data):
    try:
        key.verify(signature, data)
        return True
    except InvalidSignature:
        return False


class Vault:
    def __init__(self, root, keys):
        self.keys, self.packs = keys, Packs(root, keys.vault)
        self.machines, self.points, replaced = {}, [], {}
        found = {kind: [b for k, b in self.packs.records if k == kind] for kind in (POINT, MACHINE, REDACTION)}
        for body in found[MACHINE]:
            reader = Reader(body)
            reader.take(1)
            machine, public, joined = reader.take(16).hex(), reader.take(32), reader.fixed("q")
            name, domain = reader.counted(), reader.counted()
            if not verified(keys.signing, body[-64:], b"holdfast/1/machine" + body[:-64]):
                print(f"warning: the record of machine {machine} is forged", file=sys.stderr)
            elif joined >= self.machines.get(machine, (0,))[0]:
                self.machines[machine] = (joined, Ed25519PublicKey.from_public_bytes(public), name.decode(), domain)
        for body in found[REDACTION]:
            reader = Reader(body)
            reader.take(1)
            point, time, digest = reader.take(16).hex(), reader.fixed("q"), reader.digest()
            reader.counted()
            reader.table(reader.digest)
            wrap, sealed = reader.take(reader.fixed("I")), reader.take(reader.fixed("I"))
            if verified(keys.signing, body[-64:], b"holdfast/1/redaction" + body[:-64]):
                replaced[digest] = max(replaced.get(digest, (time, b"", b"")), (time, wrap, sealed))
        for body in found[POINT]:
            signature, signed, point = parse_point(body)
            machine = self.machines.get(point.machine)
            if machine and not verified(machine[1], signature, signed):
                print(f"warning: the signature of point {point.id} is wrong", file=sys.stderr)
                continue
            if point.hash in replaced:
                _, wrap, sealed = replaced[point.hash]
                point = point._replace(
                    wrap=wrap, sealed=sealed, additional=b"holdfast/1/redaction" + point.locator)
            self.points.append(point)
        self.points.sort(key=lambda point: point.time)

    def find(self, text):
        matches = [p for p in self.points if p.id.startswith(text.lower())]
        if text == "latest":
            matches = [p for p in self.points if not p.partial][-1:] or self.points[-1:]
        if len(matches) != 1:
            sys.exit(f"{len(matches)} points are called {text}")
        return matches[0]

    def state(self, point):
        record = self.keys.record(point.wrap, point.sealed, point.additional)
        domain = self.machines[point.machine][3] if point.machine in self.machines else b"vault"
        return record, State(lambda key, kind: self.packs.open(key, kind, self.keys, domain), record)


# ---------------------------------------------------------------- trees

Entry = collections.namedtuple(
    "Entry", "kind mode uid gid size mtime user group link target device attributes flags remarks extents"
)


def path_of(key):
    """The path (bytes, without the first slash) that a key of the tree stands for."""
    if not key:
        return b""
    above, _, name = key.rpartition(b"\0")
    if above == b"":
        parts = [name]
    else:
        if not above.endswith(b"\0"):
            raise Damaged("a key of the tree is malformed")
        parts = above[:-1].split(b"\0") + [name]
    if any(part in (b"", b".", b"..") or b"/" in part for part in parts):
        raise Damaged("a key of the tree is malformed")
    return b"/".join(parts)


def key_of(path):
    above, slash, name = path.rpartition(b"/")
    return above.replace(b"/", b"\0") + slash.replace(b"/", b"\0") + b"\0" + name if path else b""


def below(path):
    """The prefix of the keys of everything below a directory."""
    return path.replace(b"/", b"\0") + b"\0" if path else b""


def parse_entry(reader, keys, names, fetch):
    kind, present, mode = reader.fixed("B"), reader.varint(), reader.varint()
    uid, gid, size = reader.varint(), reader.varint(), reader.varint()
    mtime = reader.zigzag() * 10**9 + reader.varint()
    has = lambda bit: present >> bit & 1
    user = names[reader.varint()] if has(0) else b""
    group = names[reader.varint()] if has(1) else b""
    link = (reader.varint(), reader.varint()) if has(2) else None
    target = reader.counted() if has(3) else b""
    device = (reader.varint(), reader.varint()) if has(4) else None
    attributes = parse_attributes(reader) if has(5) else []
    if has(6):
        attributes = keys[reader.varint()]
    flags = reader.varint() if has(7) else 0
    remarks = reader.fixed("B") if has(8) else 0
    extents = reader.table(lambda: parse_extent(reader, keys)) if has(9) else []
    if has(10):
        extents = keys[reader.varint()]
        reader.varint()
    return Entry(
        kind, mode, uid, gid, size, mtime, user, group, link, target, device, attributes, flags, remarks, extents)


def parse_attributes(reader):
    return reader.table(lambda: (reader.counted(), reader.counted()))


def parse_extent(reader, keys):
    index = reader.varint()
    if index == 0:
        return (None, 0, reader.varint())
    return (keys[index - 1], reader.varint(), reader.varint())


class State:
    """A tree and the deltas over it."""

    def __init__(self, fetch, record):
        self.fetch, self.root = fetch, record[1][0]
        self.over, self.cleared = {}, []
        for key in record[2]:
            self.apply(Reader(fetch(key, DELTA)))

    def apply(self, reader):
        if reader.fixed("B") != 1:
            raise Damaged("version of a delta")
        keys, names = reader.table(reader.digest), reader.table(reader.counted)
        operations, last = [], b""
        for _ in range(reader.varint()):
            code = reader.fixed("B")
            last = last[: reader.varint()] + reader.counted()
            operations.append((code, last, parse_entry(reader, keys, names, self.fetch) if code == 1 else None))
        for code, key, entry in sorted(operations, key=lambda operation: -operation[0]):
            if code == 3:
                prefix = below(path_of(key))
                self.over = {k: e for k, e in self.over.items() if k == b"" or not k.startswith(prefix)}
                self.cleared.append(prefix)
            else:
                self.over[key] = entry

    def is_cleared(self, key):
        return any(key != b"" and key.startswith(prefix) for prefix in self.cleared)

    def scan(self, first, end):
        """Keys and entries from `first` to before `end` (None: to the end), in order."""
        inside = lambda key: first <= key and (end is None or key < end)
        over = sorted((k, e) for k, e in self.over.items() if inside(k))
        position = 0
        for key, entry in self.nodes(self.root, None, first, end):
            while position < len(over) and over[position][0] < key:
                if over[position][1]:
                    yield over[position]
                position += 1
            if key not in self.over and not self.is_cleared(key):
                yield key, entry
        yield from ((k, e) for k, e in over[position:] if e)

    def nodes(self, key, level, first, end):
        reader = Reader(self.fetch(key, NODE))
        version, own = reader.fixed("B"), reader.fixed("B")
        if version != 1 or own > 32 or (level is not None and own != level):
            raise Damaged("version or level of a node")
        keys, names, items, last = reader.table(reader.digest), reader.table(reader.counted), [], b""
        for _ in range(reader.varint()):
            last = last[: reader.varint()] + reader.counted()
            if own == 0:
                items.append((last, parse_entry(reader, keys, names, self.fetch)))
            else:
                items.append((last, keys[reader.varint()]))
                reader.varint(), reader.varint()
        for index, (start, value) in enumerate(items):
            if end is not None and start >= end:
                return
            if own == 0:
                if start >= first:
                    yield start, value
            elif index + 1 == len(items) or items[index + 1][0] > first:
                yield from self.nodes(value, own - 1, first, end)

    def entries(self, path):
        """A path and everything below it, directories before what is in them."""
        key = key_of(path)
        if path:
            yield from ((path_of(k), e) for k, e in self.scan(key, key + b"\0"))
        prefix = below(path)
        end = prefix[:-1] + b"\x01" if prefix else None
        yield from ((path_of(k), e) for k, e in self.scan(prefix, end))

    def extents(self, entry):
        if isinstance(entry.extents, bytes):
            yield from self.extent_list(entry.extents, None)
        else:
            yield from entry.extents

    def extent_list(self, key, level):
        reader = Reader(self.fetch(key, EXTENTS))
        version, own = reader.fixed("B"), reader.fixed("B")
        if version != 1 or own > 32 or (level is not None and own != level):
            raise Damaged("version or level of a list of extents")
        keys = reader.table(reader.digest)
        for _ in range(reader.varint()):
            if own == 0:
                yield parse_extent(reader, keys)
            else:
                child = keys[reader.varint()]
                reader.varint(), reader.varint()
                yield from self.extent_list(child, own - 1)

    def attributes(self, entry):
        if isinstance(entry.attributes, bytes):
            return parse_attributes(Reader(self.fetch(entry.attributes, DATA)))
        return entry.attributes


# ---------------------------------------------------------------- restoring

FORMATS = {1: stat.S_IFREG, 2: stat.S_IFDIR, 3: stat.S_IFLNK, 4: stat.S_IFCHR, 5: stat.S_IFBLK, 6: stat.S_IFIFO,
           7: stat.S_IFSOCK}


class Restore:
    def __init__(self, state, target):
        self.state, self.target = state, os.fsencode(target)
        os.makedirs(self.target, exist_ok=True)
        if os.listdir(self.target):
            sys.exit(f"{target} is not empty")
        # Only directories made here are written into: a link inside of the point leads nowhere.
        self.made, self.directories, self.linked = {b""}, [], {}
        self.count = self.failures = 0

    def run(self, path):
        for name, entry in self.state.entries(path):
            try:
                self.make_parents(name)
                self.make(name, entry)
                self.count += 1
            except (OSError, Damaged, IndexError) as error:
                self.failures += 1
                print(f"{os.fsdecode(name)}: {error}", file=sys.stderr)
        for name, entry in reversed(self.directories):
            self.finish(name, entry)

    def make_parents(self, name):
        above = b""
        for part in name.split(b"/")[:-1]:
            above = above + b"/" + part if above else part
            if above not in self.made:
                os.mkdir(self.place(above), 0o700)
                self.made.add(above)

    def place(self, name):
        return os.path.join(self.target, name) if name else self.target

    def make(self, name, entry):
        place = self.place(name)
        if entry.link and entry.link in self.linked:
            os.link(self.linked[entry.link], place, follow_symlinks=False)
            return
        if entry.kind == 2:
            if name not in self.made:
                os.mkdir(place, 0o700)
                self.made.add(name)
            self.directories.append((name, entry))
            return
        if entry.kind == 1:
            self.write(place, entry)
        elif entry.kind == 3:
            os.symlink(entry.target, place)
        elif entry.kind in (4, 5):
            os.mknod(place, FORMATS[entry.kind] | 0o600, os.makedev(*entry.device))
        else:
            os.mknod(place, FORMATS[entry.kind] | 0o600)
        if entry.link:
            self.linked[entry.link] = place
        self.finish(name, entry)

    def write(self, place, entry):
        # Nobody else reads it before it has its owner and mode.
        with os.fdopen(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            for key, offset, length in self.state.extents(entry):
                if key is None:
                    file.seek(length, os.SEEK_CUR)
                    continue
                data = self.state.fetch(key, DATA)
                if offset + length > len(data):
                    raise Damaged("an extent reaches beyond its blob")
                file.write(data[offset : offset + length])
            file.truncate(entry.size)

    def finish(self, name, entry):
        place = self.place(name)
        if os.geteuid() == 0:
            os.chown(place, entry.uid, entry.gid, follow_symlinks=False)
        if entry.kind != 3:
            os.chmod(place, entry.mode & 0o7777)
        for attribute, value in self.state.attributes(entry):
            try:
                os.setxattr(place, attribute, value, follow_symlinks=False)
            except OSError as error:
                if error.errno not in (errno.EPERM, errno.ENOTSUP):
                    raise
                print(f"{os.fsdecode(name)}: attribute {attribute!r} is not restored: {error}", file=sys.stderr)
        os.utime(place, ns=(entry.mtime, entry.mtime), follow_symlinks=False)


# ---------------------------------------------------------------- commands


def show_time(nanoseconds):
    return datetime.datetime.fromtimestamp(nanoseconds // 10**9).astimezone().isoformat(" ", "seconds")


def points(vault):
    for point in vault.points:
        record = vault.keys.record(point.wrap, point.sealed, point.additional)
        numbers = Reader(record[5][0]) if record[5] else None
        files = [numbers.varint() for _ in range(4)] if numbers else [0] * 4
        host = vault.machines.get(point.machine, (0, 0, point.machine))[2]
        marks = (["partial"] if point.partial else []) + (["pinned"] if point.pinned else [])
        labels = [label.decode() for label in record[3]] + marks
        print(
            f"{point.id}  {show_time(point.time)}  {point.kind:10}  {host}  {files[1]} files  {files[3]} bytes",
            " ".join(labels))


def ls(vault, point, path):
    _, state = vault.state(point)
    for name, entry in state.entries(path):
        mode = stat.filemode(FORMATS.get(entry.kind, 0) | entry.mode)
        arrow = " -> " + os.fsdecode(entry.target) if entry.kind == 3 else ""
        print(f"{mode} {entry.uid:5} {entry.gid:5} {entry.size:12} {show_time(entry.mtime)} /{os.fsdecode(name)}{arrow}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("vault", help="the directory of the vault")
    parser.add_argument("--key-sheet", metavar="FILE", help="a file with the sixteen words")
    parser.add_argument("--passphrase-file", metavar="FILE", help="a file with the passphrase in its first line")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("points", help="list what can be restored")
    for name, text in (("ls", "list a directory and everything below"), ("restore", "restore a file or directory")):
        command = commands.add_parser(name, help=text)
        command.add_argument("point")
        command.add_argument("path", nargs="?", default="/")
        if name == "restore":
            command.add_argument("--to", required=True, metavar="DIR", help="an empty or new directory")
    options = parser.parse_args()

    sheet = passphrase = None
    if options.key_sheet:
        with open(options.key_sheet) as file:
            sheet = sheet_secret(file.read())
    elif options.passphrase_file:
        with open(options.passphrase_file, encoding="utf-8") as file:
            passphrase = file.readline().rstrip("\r\n")
    else:
        text = getpass.getpass("Passphrase, or the 16 words of the key sheet: ")
        sheet, passphrase = (sheet_secret(text), None) if len(text.split()) == 16 else (None, text)
    vault = Vault(options.vault, Keys(options.vault, sheet, passphrase))

    if options.command == "points":
        return points(vault)
    path = os.fsencode(options.path).strip(b"/")
    point = vault.find(options.point)
    if options.command == "ls":
        return ls(vault, point, path)
    _, state = vault.state(point)
    restore = Restore(state, options.to)
    restore.run(path)
    print(f"{restore.count} entries of point {point.id} are in {options.to}")
    if restore.failures or not restore.count:
        sys.exit(f"{restore.failures} could not be restored" if restore.failures else f"there is no {options.path}")


if __name__ == "__main__":
    try:
        main()
    except Damaged as error:
        sys.exit(f"damaged: {error}")
    except BrokenPipeError:
        sys.exit(1)
