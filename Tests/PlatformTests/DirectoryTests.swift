import Foundation
import Platform
import Testing

@Suite struct DirectoryTests {
    let directory: TemporaryDirectory
    init() throws { directory = try TemporaryDirectory() }

    @Test("all names of a directory are listed once, sorted by bytes, also those that are not UTF-8")
    func names() throws {
        let seed = UInt64.random(in: .min ... .max)
        print("seed \(seed)")
        var random = SeededGenerator(seed: seed)
        var expected: Set<[UInt8]> = [
            [0x2E, 0x2E, 0x2E], [0x2E, 0x61], [0xFF], [0xC3, 0x28], [0x0A], [UInt8](repeating: 0x78, count: 255),
        ]
        while expected.count < 3_000 {
            let length = Int.random(in: 1...40, using: &random)
            let name = (0..<length).map { _ in UInt8.random(in: 1...255, using: &random) }.map {
                $0 == 0x2F ? 0x5F : $0
            }
            if name != [0x2E] && name != [0x2E, 0x2E] { expected.insert(name) }
        }
        for name in expected { try FileDescriptor.open(at: directory.raw, name, [.writeOnly, .create]).close() }
        // A small buffer makes many system calls.
        for size in [1024, 64 * 1024] {
            var reader = DirectoryReader(bufferSize: size)
            let handle = try FileDescriptor.open(at: directory.raw, ".", [.readOnly, .directory])
            let list = try NameList(of: handle.raw, with: &reader)
            #expect(list.count == expected.count)
            let found = (0..<list.count).map { Array(list.name($0)) }
            #expect(found == expected.sorted { $0.lexicographicallyPrecedes($1) })
            for index in 0..<list.count {
                #expect(list.kind(index) == .regular || list.kind(index) == nil)
                let place = found[index].withUnsafeBytes { list.index(of: $0) }
                #expect(place == index)
                #expect(try FileSystem.status(at: directory.raw, list.pointer(index)).kind == .regular)
            }
            #expect([0x00].withUnsafeBytes { list.index(of: UnsafeRawBufferPointer(rebasing: $0[..<1])) } == nil)
            var count = 0
            try reader.forEach(in: handle.raw) { _ in count += 1 }
            #expect(count == expected.count)
        }
    }

    @Test("a list is used again for other directories")
    func reuse() throws {
        try FileSystem.makeDirectory(at: directory.raw, "a")
        try FileSystem.makeDirectory(at: directory.raw, "empty")
        try directory.write("a/x")
        var reader = DirectoryReader()
        var list = NameList()
        let a = try FileDescriptor.openDirectory(at: directory.raw, "a")
        try list.read(a.raw, with: &reader)
        #expect(list.count == 1 && Array(list.name(0)) == Array("x".utf8))
        let empty = try FileDescriptor.openDirectory(at: directory.raw, "empty")
        try list.read(empty.raw, with: &reader)
        #expect(list.count == 0)
        let top = try FileDescriptor.openDirectory(at: directory.raw, ".")
        try list.read(top.raw, with: &reader)
        #expect((0..<list.count).map { list.kind($0) } == [.directory, .directory])
        list.setKind(0, .fifo)
        #expect(list.kind(0) == .fifo)
    }

    @Test("a million names stay below 40 MB and sort")
    func million() throws {
        var list = NameList()
        var number: UInt64 = 1
        for _ in 0..<1_000_000 {
            number = number &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            // 20 bytes of name
            try withUnsafeBytes(
                of: (number | 0x0101_0101_0101_0101, number ^ 0x0F0F | 0x0101_0101_0101_0101, UInt32(0x4142_4344))
            ) {
                (bytes: UnsafeRawBufferPointer) in
                try list.append(UnsafeRawBufferPointer(rebasing: bytes[..<20]), kind: .regular)
            }
        }
        list.sort()
        #expect(list.memory < 40_000_000)
        for index in stride(from: 0, to: 999_999, by: 997) {
            #expect(!list.name(index + 1).lexicographicallyPrecedes(list.name(index)))
        }
    }

    @Test("status tells what statx knows")
    func status() throws {
        try directory.write("f", [1, 2, 3, 4])
        let before = try FileSystem.status(at: directory.raw, "f")
        #expect(before.kind == .regular && before.size == 4 && before.mode == 0o644 && before.links == 1)
        #expect(before.modified.seconds > 1_700_000_000)
        #expect(before.isUnchanged(since: try FileSystem.status(at: directory.raw, Array("f".utf8))))
        try FileSystem.setMode(at: directory.raw, "f", 0o4711)
        let after = try FileSystem.status(at: directory.raw, "f")
        #expect(after.mode == 0o4711 && after.isSameFile(as: before) && !after.isUnchanged(since: before))
        #expect(try FileSystem.statusIfAny(at: directory.raw, "none") == nil)
        #expect(try FileSystem.status(at: FileSystem.currentDirectory, "/dev/null").specialDevice == 1 << 32 | 3)
        #expect(try FileSystem.status(at: FileSystem.currentDirectory, "/dev/null").kind == .characterDevice)
        try FileSystem.makeSymbolicLink(to: "f", at: directory.raw, "l")
        #expect(try FileSystem.status(at: directory.raw, "l").kind == .symbolicLink)
        #expect(try FileSystem.statusFollowing(at: directory.raw, "l").kind == .regular)
    }

    @Test("names are linked, renamed without replacing, exchanged and removed")
    func renaming() throws {
        try directory.write("a", [1])
        try directory.write("b", [2])
        #expect(throws: Errno.exists) { try FileSystem.rename(at: directory.raw, "a", to: directory.raw, "b", .keep) }
        try FileSystem.rename(at: directory.raw, "a", to: directory.raw, "b", .exchange)
        #expect(try directory.read("a") == [2])
        try FileSystem.rename(at: directory.raw, "a", to: directory.raw, "b")
        #expect(try directory.read("b") == [2])
        try FileSystem.rename(at: directory.raw, "b", to: directory.raw, "c", .keep)
        try FileSystem.link(at: directory.raw, "c", to: directory.raw, "d")
        #expect(try FileSystem.status(at: directory.raw, "d").links == 2)
        try FileSystem.makeSymbolicLink(to: "nowhere", at: directory.raw, "s")
        try FileSystem.link(at: directory.raw, "s", to: directory.raw, "s2")
        #expect(try FileSystem.linkTarget(at: directory.raw, "s2") == Array("nowhere".utf8))
        let reference = try FileDescriptor.open(at: directory.raw, "s", .pathOnly)
        #expect(try FileSystem.linkTarget(at: reference.raw, "") == Array("nowhere".utf8))
        try FileSystem.link(descriptor: reference.raw, to: directory.raw, "s3")
        #expect(try FileSystem.status(at: directory.raw, "s3").links == 3)
        try FileSystem.remove(at: directory.raw, "d")
        try FileSystem.makeDirectory(at: directory.raw, "dir")
        try directory.write("dir/x")
        #expect(throws: Errno.notEmpty) { try FileSystem.removeDirectory(at: directory.raw, "dir") }
        try FileSystem.remove(at: directory.raw, "dir/x")
        try FileSystem.removeDirectory(at: directory.raw, "dir")
        #expect(throws: Errno.noEntry) { try FileSystem.remove(at: directory.raw, "d") }
    }

    @Test("an unnamed file gets its name when it is complete")
    func unnamed() throws {
        let file = try FileDescriptor.open(at: directory.raw, ".", [.readWrite, .unnamed], mode: 0o600)
        try file.writeAll([1, 2, 3])
        try FileSystem.link(descriptor: file.raw, to: directory.raw, "final")
        #expect(try directory.read("final") == [1, 2, 3])
        #expect(throws: Errno.exists) { try FileSystem.link(descriptor: file.raw, to: directory.raw, "final") }
    }

    @Test("a long link target is read whole")
    func longTarget() throws {
        let target = [UInt8](repeating: 0x74, count: 4095)
        try withCName(target) { (pointer) throws(Errno) in
            try FileSystem.makeSymbolicLink(to: pointer, at: directory.raw, "l")
        }
        #expect(try FileSystem.linkTarget(at: directory.raw, "l") == target)
    }
}
