import Foundation
import Model
import Testing

@testable import Browsing

@Suite("Who could read what")
struct AccessCheckTests {
    static let ann = CapturedUser(uid: 1_000, name: Array("ann".utf8), groups: [1_000, 50])

    /// An access control list as the kernel keeps it.
    static func list(
        owner: UInt16, users: [(UInt32, UInt16)] = [], group: UInt16, groups: [(UInt32, UInt16)] = [],
        mask: UInt16? = nil, others: UInt16
    ) -> ExtendedAttribute {
        var bytes: [UInt8] = [2, 0, 0, 0]
        func add(_ tag: UInt16, _ bits: UInt16, _ id: UInt32 = .max) {
            bytes += [UInt8(tag), 0, UInt8(bits), 0]
            for shift in stride(from: UInt32(0), to: 32, by: 8) { bytes.append(UInt8(truncatingIfNeeded: id >> shift)) }
        }
        add(1, owner)
        for (id, bits) in users { add(2, bits, id) }
        add(4, group)
        for (id, bits) in groups { add(8, bits, id) }
        if let mask { add(0x10, mask) }
        add(0x20, others)
        return ExtendedAttribute(name: Array("system.posix_acl_access".utf8), value: bytes)
    }

    private func reads(
        _ user: CapturedUser = ann, mode: UInt16, uid: UInt32 = 0, gid: UInt32 = 0, owner: String = "",
        _ attributes: [ExtendedAttribute] = []
    ) -> Bool {
        let entry = Entry(kind: .regular, mode: mode, uid: uid, gid: gid, user: Array(owner.utf8))
        return AccessCheck.grants(.read, on: entry, attributes: attributes, to: user)
    }

    @Test("the first class that somebody belongs to decides, also when a later one would allow more")
    func classes() {
        #expect(reads(mode: 0o400, uid: 1_000))
        #expect(!reads(mode: 0o044, uid: 1_000), "an owner without the right is not somebody else")
        #expect(reads(mode: 0o040, gid: 50), "by a further group")
        #expect(!reads(mode: 0o404, gid: 50), "a group without the right is not everybody else")
        #expect(reads(mode: 0o004))
        #expect(!reads(mode: 0o660))
    }

    @Test("a number that another name had at the time is another's")
    func names() {
        #expect(reads(mode: 0o400, uid: 1_000, owner: "ann"))
        #expect(!reads(mode: 0o400, uid: 1_000, owner: "bob"))
        let byName = CapturedUser(uid: nil, name: Array("ann".utf8), groups: nil)
        #expect(reads(byName, mode: 0o400, uid: 7, owner: "ann") && !reads(byName, mode: 0o400, uid: 7))
    }

    @Test("root's exemption is nobody's")
    func root() {
        let root = CapturedUser(uid: 0, name: Array("root".utf8), groups: [0])
        #expect(!reads(root, mode: 0o600, uid: 1_000) && reads(root, mode: 0o400, uid: 0))
    }

    @Test("where the groups are not known, every class that might decide has to allow it")
    func unknownGroups() {
        let ann = CapturedUser(uid: 1_000, name: nil, groups: nil)
        #expect(reads(ann, mode: 0o400, uid: 1_000))
        #expect(reads(ann, mode: 0o044) && !reads(ann, mode: 0o004) && !reads(ann, mode: 0o040))
        let closed = Self.list(owner: 7, group: 4, groups: [(50, 0)], mask: 7, others: 4)
        #expect(!reads(ann, mode: 0o774, [closed]))
    }

    @Test("a list's entries count as far as its mask lets them, but for the owner's and everybody's")
    func lists() {
        func one(_ list: ExtendedAttribute, uid: UInt32 = 0, gid: UInt32 = 0) -> Bool {
            reads(mode: 0o070, uid: uid, gid: gid, [list])
        }
        #expect(one(Self.list(owner: 0, users: [(1_000, 4)], group: 0, mask: 4, others: 0)))
        #expect(!one(Self.list(owner: 0, users: [(1_000, 4)], group: 0, mask: 3, others: 4)), "the mask takes it")
        #expect(!one(Self.list(owner: 7, users: [(1_000, 0)], group: 7, mask: 7, others: 7)), "named, and shut out")
        #expect(one(Self.list(owner: 4, users: [(1_000, 0)], group: 0, mask: 0, others: 0), uid: 1_000), "the owner")
        #expect(one(Self.list(owner: 0, group: 0, groups: [(50, 4)], mask: 4, others: 0)), "a named group")
        #expect(
            !one(Self.list(owner: 0, group: 4, groups: [(50, 0)], mask: 4, others: 4)), "in a group that has nothing")
        #expect(
            one(Self.list(owner: 0, group: 4, groups: [(50, 0)], mask: 4, others: 0), gid: 1_000),
            "one of two is enough")
        #expect(one(Self.list(owner: 0, group: 0, mask: 0, others: 4)), "in none of the groups")
    }

    @Test("a list that is damaged or of another kind gives nothing away")
    func brokenLists() {
        let whole = Self.list(owner: 4, users: [(1_000, 4)], group: 4, mask: 4, others: 4)
        #expect(reads(mode: 0o444, [whole]))
        for length in 0..<whole.value.count where (length - 4) % 8 != 0 || length < 44 {
            let cut = ExtendedAttribute(name: whole.name, value: Array(whole.value[..<length]))
            #expect(!reads(mode: 0o444, uid: 1_000, [cut]), "cut to \(length) bytes")
        }
        var strange = whole
        strange.value[4] = 0x40
        #expect(!reads(mode: 0o444, [strange]))
        let foreign = ExtendedAttribute(name: Array("system.nfs4_acl".utf8), value: [1, 2, 3])
        #expect(!reads(mode: 0o444, [foreign]) && reads(mode: 0o400, uid: 1_000, [foreign]))
    }

    /// Files with random owners, modes and lists, and whether the kernel lets somebody read them.
    private static let kernel = #"""
        import os, random, struct, sys, tempfile
        seed, place = int(sys.argv[1]), tempfile.mkdtemp()
        os.chmod(place, 0o755)
        r = random.Random(seed)
        ids = [1000, 1001, 1002]
        path = place + "/file"
        for _ in range(300):
            open(path, "w").close()
            uid, gid = r.choice(ids), r.choice(ids)
            os.chown(path, uid, gid)
            os.chmod(path, r.randrange(512))
            acl = b""
            if r.random() < 0.7:
                e = [(1, r.randrange(8), 0xffffffff)]
                e += [(2, r.randrange(8), i) for i in ids if r.random() < .4]
                e += [(4, r.randrange(8), 0xffffffff)]
                e += [(8, r.randrange(8), i) for i in ids if r.random() < .4]
                e += [(16, r.randrange(8), 0xffffffff), (32, r.randrange(8), 0xffffffff)]
                acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *x) for x in e)
                try: os.setxattr(path, "system.posix_acl_access", acl)
                except OSError: sys.exit(77)
            try: acl = os.getxattr(path, "system.posix_acl_access")
            except OSError: acl = b""
            mode = os.stat(path).st_mode & 0o777
            user, groups = r.choice(ids), r.sample(ids, r.randrange(1, 3))
            child = os.fork()
            if child == 0:
                os.setgroups(groups); os.setgid(groups[0]); os.setuid(user)
                try: os.close(os.open(path, os.O_RDONLY)); os._exit(0)
                except OSError: os._exit(1)
            may = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
            print(mode, uid, gid, user, ",".join(map(str, groups)), acl.hex() or "-", int(may))
            os.unlink(path)
        os.rmdir(place)
        """#

    @Test("it is what the kernel says, and never more", .enabled(if: getuid() == 0))
    func likeTheKernel() throws {
        let seed = Int.random(in: 1...1_000_000)
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = ["python3", "-c", Self.kernel, "\(seed)"]
        let pipe = Pipe()
        process.standardOutput = pipe
        try process.run()
        let text = String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        // A file system without lists has nothing to compare with.
        if process.terminationStatus == 77 { return }
        #expect(process.terminationStatus == 0)
        var count = 0
        for line in text.split(separator: "\n") {
            let words = line.split(separator: " ").map(String.init)
            let numbers = words[..<4].compactMap { UInt32($0) }
            let groups = Set(words[4].split(separator: ",").compactMap { UInt32($0) })
            var attributes: [ExtendedAttribute] = []
            if let bytes = Hex.decode(words[5]), !bytes.isEmpty {
                attributes = [ExtendedAttribute(name: Array("system.posix_acl_access".utf8), value: bytes)]
            }
            let user = CapturedUser(uid: numbers[3], name: nil, groups: groups)
            let ours = reads(
                user, mode: UInt16(numbers[0]), uid: numbers[1], gid: numbers[2], attributes)
            let kernels = words[6] == "1"
            // With an empty mask the kernel does not look at the list, and takes who is named in it for everybody else.
            let isShortened = numbers[0] & 0o070 == 0
            #expect(ours == kernels || (isShortened && !ours), "seed \(seed): \(line)")
            // Who does not know the groups is never shown more than who does.
            let blind = CapturedUser(uid: numbers[3], name: nil, groups: nil)
            if reads(blind, mode: UInt16(numbers[0]), uid: numbers[1], gid: numbers[2], attributes) {
                #expect(ours, "seed \(seed), without groups: \(line)")
            }
            count += 1
        }
        #expect(count == 300)
    }
}
