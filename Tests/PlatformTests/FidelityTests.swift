import Foundation
import Platform
import TestSupport
import Testing

/// What each file system holds is set and read back, in the order in which a restore does it.
@Suite(.serialized) struct FidelityTests {
    /// A mounted file system and a directory on it.
    private struct Disk {
        let mount: LoopFileSystem
        let directory: TemporaryDirectory
        var raw: Int32 { directory.raw }

        init?(_ kind: LoopFileSystem.Kind) throws {
            guard let mount = LoopFileSystem.make(kind) else { return nil }
            self.mount = mount
            directory = try TemporaryDirectory(in: mount.path)
        }
    }

    private func attribute(_ name: String, _ value: [UInt8]) -> FileAttribute {
        FileAttribute(name: Array(name.utf8), value: value)
    }

    /// The bytes of `system.posix_acl_access`: version 2, then tag, permissions and id of each entry.
    private func acl(_ entries: [(tag: UInt16, permissions: UInt16, id: UInt32)]) -> [UInt8] {
        var bytes: [UInt8] = [2, 0, 0, 0]
        for entry in entries {
            for value in [entry.tag, entry.permissions] { bytes += [UInt8(value & 0xFF), UInt8(value >> 8)] }
            for shift in [0, 8, 16, 24] { bytes.append(UInt8(truncatingIfNeeded: entry.id >> UInt32(shift))) }
        }
        return bytes
    }

    @Test("every kind of file keeps its owner, mode and time", arguments: LoopFileSystem.Kind.allCases)
    func kinds(kind: LoopFileSystem.Kind) throws {
        guard let disk = try Disk(kind) else { return }
        try disk.directory.write("regular", [1, 2, 3])
        try FileSystem.makeDirectory(at: disk.raw, "directory")
        try FileSystem.makeSymbolicLink(to: "nowhere/\u{FFFD}", at: disk.raw, "symbolicLink")
        // The largest numbers that fit; XFS has 9 and 18 bits for the two.
        let device: UInt64 = kind == .xfs ? 511 << 32 | 262_143 : 4095 << 32 | 1_048_575
        try FileSystem.makeNode(at: disk.raw, "characterDevice", kind: .characterDevice, mode: 0, device: device)
        try FileSystem.makeNode(at: disk.raw, "blockDevice", kind: .blockDevice, mode: 0, device: 7 << 32 | 300)
        try FileSystem.makeNode(at: disk.raw, "fifo", kind: .fifo, mode: 0)
        try FileSystem.makeNode(at: disk.raw, "socket", kind: .socket, mode: 0)
        for (index, fileKind) in FileKind.allCases.enumerated() {
            let name = "\(fileKind)"
            let uid = 4_000_000_000 - UInt32(index)
            try FileSystem.setOwner(at: disk.raw, name, uid: uid, gid: 70_000 + UInt32(index))
            // After the owner: changing that takes the set-user-id bits away.
            if fileKind == .symbolicLink {
                #expect(throws: Errno.notSupported) { try FileSystem.setMode(at: disk.raw, name, 0o600) }
            } else {
                try FileSystem.setMode(at: disk.raw, name, 0o7421)
            }
            let time = FileInstant(seconds: 1_000_000_000 + Int64(index), nanoseconds: 123_456_789)
            try FileSystem.setTimes(at: disk.raw, name, modified: time)
            let status = try FileSystem.status(at: disk.raw, name)
            #expect(status.kind == fileKind)
            #expect(status.uid == uid && status.gid == 70_000 + UInt32(index))
            #expect(status.mode == (fileKind == .symbolicLink ? 0o777 : 0o7421))
            #expect(status.modified == time)
            #expect(status.created != nil)
            // By descriptors that only refer to it, too.
            let reference = try FileDescriptor.open(at: disk.raw, name, .pathOnly)
            try FileSystem.setOwner(at: reference.raw, "", uid: nil, gid: 5)
            #expect(try reference.status().uid == uid && reference.status().gid == 5)
            let later = FileInstant(seconds: 2_000_000_000, nanoseconds: 1)
            do throws(Errno) {
                try FileSystem.setTimes(at: reference.raw, "", modified: later)
                #expect(try FileSystem.status(at: disk.raw, name).modified == later)
            } catch {
                // Linux before 6.0 or so
                #expect(error == .badDescriptor || error == .invalidArgument)
            }
            // Further names, of links and devices as well.
            try FileSystem.setOwner(at: disk.raw, name, uid: nil, gid: nil)
            if fileKind != .directory {
                try FileSystem.link(at: disk.raw, name, to: disk.raw, name + "-2")
                try FileSystem.link(descriptor: reference.raw, to: disk.raw, name + "-3")
                #expect(try FileSystem.status(at: disk.raw, name + "-3").links == 3)
            }
        }
        #expect(try FileSystem.status(at: disk.raw, "characterDevice").specialDevice == device)
        #expect(try FileSystem.status(at: disk.raw, "blockDevice").specialDevice == 7 << 32 | 300)
        #expect(try FileSystem.space(descriptor: disk.raw).typeName == "\(kind)")
        #expect(try FileSystem.status(at: FileSystem.currentDirectory, disk.mount.path).attributes.contains(.mountRoot))
    }

    @Test(
        "times before 1970 and after 2262 are kept, and a time that does not fit is seen",
        arguments: LoopFileSystem.Kind.allCases)
    func times(kind: LoopFileSystem.Kind) throws {
        guard let disk = try Disk(kind) else { return }
        try disk.directory.write("f")
        let inRange = [
            FileInstant(seconds: -2_147_483_648, nanoseconds: 0), FileInstant(seconds: -1, nanoseconds: 999_999_999),
            FileInstant(seconds: 0, nanoseconds: 1), FileInstant(seconds: 10_413_792_000, nanoseconds: 999_999_999),
            FileInstant(seconds: 15_032_385_535, nanoseconds: 0),
        ]
        for time in inRange {
            try FileSystem.setTimes(at: disk.raw, "f", modified: time, accessed: time)
            let status = try FileSystem.status(at: disk.raw, "f")
            #expect(status.modified == time && status.accessed == time)
        }
        // The year 36812: only btrfs holds it.
        let far = FileInstant(seconds: 1 << 40, nanoseconds: 5)
        try FileSystem.setTimes(at: disk.raw, "f", modified: far)
        #expect((try FileSystem.status(at: disk.raw, "f").modified == far) == (kind == .btrfs))
        let before = try FileSystem.status(at: disk.raw, "f")
        try FileSystem.setTimes(at: disk.raw, "f", modified: nil, accessed: inRange[3])
        let after = try FileSystem.status(at: disk.raw, "f")
        #expect(after.modified == before.modified && after.accessed == inRange[3])
    }

    @Test(
        "attributes, ACLs and capabilities are kept, of links and devices too", arguments: LoopFileSystem.Kind.allCases)
    func attributes(kind: LoopFileSystem.Kind) throws {
        guard let disk = try Disk(kind) else { return }
        try disk.directory.write("f")
        try FileSystem.makeDirectory(at: disk.raw, "d")
        try FileSystem.makeSymbolicLink(to: "f", at: disk.raw, "l")
        try FileSystem.makeNode(at: disk.raw, "p", kind: .fifo, mode: 0o644)
        // cap_net_raw=ep
        let capability = attribute("security.capability", [1, 0, 0, 2, 0, 0x20] + [UInt8](repeating: 0, count: 14))
        let access = attribute(
            "system.posix_acl_access",
            acl([(1, 7, .max), (2, 5, 12_345), (4, 5, .max), (16, 7, .max), (32, 0, .max)]))
        let inherited = attribute(
            "system.posix_acl_default",
            acl([(1, 7, .max), (4, 5, .max), (8, 7, 4_000_000_000), (16, 7, .max), (32, 5, .max)]))
        let sets: [(String, [FileAttribute])] = [
            ("f", [capability, access, attribute("trusted.t", [0]), attribute("user.u", [1, 2])]),
            (
                "d",
                [
                    access, inherited, attribute("trusted.t", []),
                    attribute("user.u", [UInt8](repeating: 9, count: 1_500)),
                ]
            ),
            ("l", [attribute("trusted.t", [1])]),
            ("p", [access, attribute("trusted.t", [2])]),
        ]
        var reader = AttributeReader()
        for (name, wanted) in sets {
            try FileSystem.setOwner(at: disk.raw, name, uid: 7, gid: 8)
            if name != "l" { try FileSystem.setMode(at: disk.raw, name, 0o770) }
            for one in wanted { try FileSystem.setAttribute(at: disk.raw, name, one) }
            #expect(try reader.read(at: disk.raw, name) == wanted, "\(name)")
            #expect(reader.failures == [])
        }
        // An ACL that says no more than the mode leaves no attribute behind, so what is read is what must be set.
        #expect(try FileSystem.status(at: disk.raw, "f").mode == 0o770)
        try FileSystem.removeAttribute(at: disk.raw, "f", "system.posix_acl_access")
        #expect(try FileSystem.attribute(at: disk.raw, "f", "system.posix_acl_access") == nil)
        // 64 KiB is the most that Linux allows; XFS holds it, the others have less room and say so.
        let large = attribute("user.large", [UInt8](repeating: 3, count: 65_536))
        do throws(Errno) {
            try FileSystem.setAttribute(at: disk.raw, "f", large)
            #expect(kind == .xfs)
            #expect(try reader.read(at: disk.raw, "f").contains(large))
        } catch {
            #expect(kind != .xfs)
            #expect(error.isNoSpace || error == Errno(code: 7) || error == .range)
        }
    }

    @Test("a list of attributes that is too long for Linux is reported, and does not cost the file")
    func tooManyAttributes() throws {
        guard let disk = try Disk(.xfs) else { return }
        try disk.directory.write("f", [1])
        let padding = String(repeating: "x", count: 230)
        for number in 0..<400 {
            try FileSystem.setAttribute(at: disk.raw, "f", attribute("user.\(number)\(padding)", [1]))
        }
        var reader = AttributeReader()
        #expect(try reader.read(at: disk.raw, "f") == [])
        #expect(reader.failures.map(\.name) == [Array("*".utf8)])
        try disk.directory.write("g", [1])
        #expect(try reader.read(at: disk.raw, "g") == [])
        #expect(reader.failures == [])
    }

    @Test("flags are kept, and those the file system lacks are named", arguments: LoopFileSystem.Kind.allCases)
    func flags(kind: LoopFileSystem.Kind) throws {
        guard let disk = try Disk(kind) else { return }
        let file = try FileDescriptor.open(at: disk.raw, "f", [.readWrite, .create])
        try FileSystem.makeDirectory(at: disk.raw, "d")
        let directory = try FileDescriptor.openDirectory(at: disk.raw, "d")
        let everywhere: InodeFlags = [.synchronous, .noDump, .noAccessTime]
        #expect(try FileSystem.setFlags(descriptor: file.raw, everywhere) == [])
        #expect(try FileSystem.setFlags(descriptor: directory.raw, everywhere) == [])
        let own: InodeFlags =
            switch kind {
            case .ext4: [.noTail, .undelete, .secureDeletion]
            case .xfs: []
            case .btrfs: [.noCopyOnWrite]
            }
        #expect(try FileSystem.setFlags(descriptor: file.raw, everywhere.union(own)) == [])
        let set = try FileSystem.flags(descriptor: file.raw)
        #expect(set.isSuperset(of: everywhere.union(own)), "\(String(set.rawValue, radix: 16))")
        // Needs a right (CAP_SYS_RESOURCE) that root in a container may not have.
        let rights = try FileSystem.setFlags(descriptor: file.raw, everywhere.union(.journalData))
        #expect(rights.isSubset(of: .journalData))
        #expect(try FileSystem.flags(descriptor: file.raw).isSuperset(of: everywhere))
        try FileSystem.setFlags(descriptor: file.raw, [])
        // One that this file system lacks, beside one that it has.
        let lacking: InodeFlags = kind == .ext4 ? .noCopyOnWrite : .undelete
        let missing = try FileSystem.setFlags(descriptor: file.raw, [.noDump, lacking, .immutable])
        #expect(missing == lacking)
        #expect(try FileSystem.flags(descriptor: file.raw).intersection(.settable) == [.noDump, .immutable])
        #expect(try FileSystem.status(at: disk.raw, "f").attributes.contains(.immutable))
        #expect(throws: Errno.notPermitted) { try FileSystem.setMode(at: disk.raw, "f", 0o600) }
        #expect(throws: Errno.notPermitted) { try FileSystem.remove(at: disk.raw, "f") }
        #expect(try FileSystem.setFlags(descriptor: file.raw, [.appendOnly]) == [])
        #expect(throws: Errno.notPermitted) { try FileDescriptor.open(at: disk.raw, "f", .writeOnly).close() }
        try FileDescriptor.open(at: disk.raw, "f", [.writeOnly, .append]).close()
        try FileSystem.setFlags(descriptor: file.raw, [])
        try FileSystem.remove(at: disk.raw, "f")
        if kind == .btrfs {
            let compressed = try FileDescriptor.open(at: disk.raw, "c", [.readWrite, .create])
            #expect(try FileSystem.setFlags(descriptor: compressed.raw, .compress) == [])
            #expect(try FileSystem.flags(descriptor: compressed.raw).contains(.compress))
        }
    }

    @Test("names of any bytes and 255 of them, in paths longer than PATH_MAX", arguments: LoopFileSystem.Kind.allCases)
    func names(kind: LoopFileSystem.Kind) throws {
        guard let disk = try Disk(kind) else { return }
        let all = (1...255).map { UInt8($0) }.filter { $0 != 0x2F } + [0x41]
        #expect(all.count == 255)
        var path: [UInt8] = []
        for _ in 0..<20 { path += all + [0x2F] }
        try DirectoryPath.makeDirectories(path, beneath: disk.raw).close()
        let file = try DirectoryPath.createFile(path + all, beneath: disk.raw)
        try file.writeAll([1])
        try file.close()
        var reader = DirectoryReader()
        let deep = try DirectoryPath.open(path, from: disk.raw, links: .refused)
        let list = try NameList(of: deep.raw, with: &reader)
        #expect(list.count == 1 && Array(list.name(0)) == all)
        #expect(throws: Errno.nameTooLong) { try DirectoryPath.createFile(all + [0x42], beneath: disk.raw).close() }
    }

    @Test("a file of a terabyte with little in it keeps its holes", arguments: LoopFileSystem.Kind.allCases)
    func sparse(kind: LoopFileSystem.Kind) throws {
        guard let disk = try Disk(kind) else { return }
        let file = try FileDescriptor.open(at: disk.raw, "sparse", [.readWrite, .create])
        let size: UInt64 = 1 << 40
        try file.truncate(to: size)
        let data = [UInt8](repeating: 1, count: 65_536)
        let places: [UInt64] = [1 << 20, 1 << 35, size - 65_536]
        for place in places { try data.withUnsafeBytes { try file.writeAll($0, at: place) } }
        var found: [FileDescriptor.DataRange] = []
        var position: UInt64 = 0
        while let range = try file.nextData(from: position, size: size) {
            found.append(range)
            position = range.offset + range.length
        }
        #expect(found.map(\.offset) == places)
        #expect(found.map(\.length) == [65_536, 65_536, 65_536])
        #expect(try file.status().blocks < 4_096)
        try file.sync()
        let copy = try FileDescriptor.open(at: disk.raw, "clone", [.readWrite, .create])
        #expect(try copy.clone(from: file) == (kind != .ext4))
        if kind != .ext4 {
            #expect(try copy.status().size == size)
            #expect(try copy.nextData(from: 0, size: size)?.offset == 1 << 20)
        }
        #expect(try file.punchHole(offset: 1 << 20, length: 65_536))
        #expect(try file.nextData(from: 0, size: size)?.offset == 1 << 35)
    }

    @Test(
        "an unnamed file is linked, names are exchanged or kept, a full disk says so",
        arguments: LoopFileSystem.Kind.allCases)
    func writing(kind: LoopFileSystem.Kind) throws {
        guard let disk = try Disk(kind) else { return }
        let file = try FileDescriptor.open(at: disk.raw, ".", [.readWrite, .unnamed])
        try file.writeAll([1])
        try FileSystem.link(descriptor: file.raw, to: disk.raw, "a")
        try disk.directory.write("b", [2])
        try FileSystem.rename(at: disk.raw, "a", to: disk.raw, "b", .exchange)
        #expect(try disk.directory.read("a") == [2])
        #expect(throws: Errno.exists) { try FileSystem.rename(at: disk.raw, "a", to: disk.raw, "b", .keep) }
        #expect(throws: Errno.noSpace) { try file.reserve(length: 1 << 40) }
        let block = [UInt8](repeating: 7, count: 1 << 20)
        #expect(throws: Errno.noSpace) {
            for _ in 0..<400 { try file.writeAll(block) }
            try file.sync()
            throw Errno.inputOutput
        }
        #expect(try FileSystem.space(descriptor: disk.raw).available < 64 << 20)
        if disk.mount.remount("ro") {
            #expect(throws: Errno.readOnly) { try FileSystem.makeDirectory(at: disk.raw, "x") }
            #expect(try FileSystem.space(descriptor: disk.raw).isReadOnly)
        }
    }

    @Test("reading a directory does not change its access time")
    func accessTime() throws {
        guard let mount = LoopFileSystem.make(.ext4, options: "strictatime") else { return }
        let directory = try TemporaryDirectory(in: mount.path)
        try FileSystem.makeDirectory(at: directory.raw, "d")
        try directory.write("d/f")
        let old = FileInstant(seconds: 1_000_000_000, nanoseconds: 0)
        try FileSystem.setTimes(at: directory.raw, "d", modified: old, accessed: old)
        let opened = try FileDescriptor.openDirectory(at: directory.raw, "d")
        var reader = DirectoryReader()
        #expect(try NameList(of: opened.raw, with: &reader).count == 1)
        #expect(try FileSystem.status(at: directory.raw, "d").accessed == old)
    }
}
