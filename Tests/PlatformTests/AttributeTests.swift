import CLinux
import Foundation
import Platform
import Testing

@Suite struct AttributeTests {
    let directory: TemporaryDirectory
    init() throws { directory = try TemporaryDirectory() }

    private static let isRoot = geteuid() == 0

    private func attribute(_ name: String, _ value: [UInt8]) -> FileAttribute {
        FileAttribute(name: Array(name.utf8), value: value)
    }

    @Test(
        "attributes of files, directories and links come back sorted, with and without the newer calls",
        arguments: [0, 1])
    func roundTrip(throughProc: Int32) throws {
        // Other tests may run meanwhile; both ways must answer alike, so that does not matter to them.
        hf_xattr_use_proc(throughProc)
        defer { hf_xattr_use_proc(0) }
        try directory.write("f")
        try FileSystem.makeDirectory(at: directory.raw, "d")
        try FileSystem.makeSymbolicLink(to: "f", at: directory.raw, "l")
        let large = attribute("user.large", (0..<3_000).map { UInt8(truncatingIfNeeded: $0) })
        let set = [attribute("user.b", [1, 0, 255]), large, attribute("user.a", [])]
        var reader = AttributeReader()
        for name in ["f", "d"] {
            #expect(try reader.read(at: directory.raw, name).filter { $0.name.starts(with: Array("user.".utf8)) } == [])
            for one in set { try FileSystem.setAttribute(at: directory.raw, name, one) }
            let found = try reader.read(at: directory.raw, name).filter { $0.name.starts(with: Array("user.".utf8)) }
            #expect(found == [set[2], set[0], set[1]])
            // By a descriptor that only refers to the file.
            let reference = try FileDescriptor.open(at: directory.raw, name, .pathOnly)
            #expect(try reader.read(at: reference.raw, "").count == found.count)
            #expect(try FileSystem.attribute(at: directory.raw, name, "user.large") == large.value)
            #expect(try FileSystem.attribute(at: reference.raw, "", "user.b") == [1, 0, 255])
            #expect(try FileSystem.attribute(at: directory.raw, name, "user.none") == nil)
            try FileSystem.removeAttribute(at: directory.raw, name, "user.b")
            #expect(throws: Errno.noData) { try FileSystem.removeAttribute(at: directory.raw, name, "user.b") }
        }
        // The link has none of its target's.
        #expect(try reader.read(at: directory.raw, "l").allSatisfy { !$0.name.starts(with: Array("user.".utf8)) })
        #expect(throws: Errno.noEntry) { try reader.read(at: directory.raw, "none") }
        #expect(reader.failures == [])
    }

    @Test(
        "attributes of a link itself are kept", .enabled(if: isRoot, "trusted attributes need root"), arguments: [0, 1])
    func links(throughProc: Int32) throws {
        hf_xattr_use_proc(throughProc)
        defer { hf_xattr_use_proc(0) }
        try directory.write("f")
        try FileSystem.makeSymbolicLink(to: "f", at: directory.raw, "l")
        let mark = attribute("trusted.holdfast", [7])
        do throws(Errno) { try FileSystem.setAttribute(at: directory.raw, "l", mark) } catch {
            print("skipped: \(error)")
            return
        }
        var reader = AttributeReader()
        #expect(try reader.read(at: directory.raw, "l").contains(mark))
        #expect(try !reader.read(at: directory.raw, "f").contains(mark))
        let reference = try FileDescriptor.open(at: directory.raw, "l", .pathOnly)
        #expect(try reader.read(at: reference.raw, "").contains(mark))
        try FileSystem.setAttribute(at: reference.raw, "", attribute("trusted.second", [8]))
        #expect(try FileSystem.attribute(at: directory.raw, "l", "trusted.second") == [8])
    }

    @Test("inode flags are set exactly, and what the file system does not have is returned")
    func flags() throws {
        let file = try FileDescriptor.open(at: directory.raw, "f", [.readWrite, .create])
        let before = try FileSystem.flags(descriptor: file.raw)
        let missing = try FileSystem.setFlags(descriptor: file.raw, [.noDump, .noAccessTime])
        let now = try FileSystem.flags(descriptor: file.raw)
        #expect(now.intersection(.settable).union(missing) == [.noDump, .noAccessTime])
        #expect(now.subtracting(.settable) == before.subtracting(.settable))
        try FileSystem.setFlags(descriptor: file.raw, [])
        #expect(try FileSystem.flags(descriptor: file.raw).intersection(.settable) == [])
        // No file system has all of these; those it has are set.
        let some = try FileSystem.setFlags(
            descriptor: file.raw, [.noDump, .undelete, .topDirectory, .noCopyOnWrite, .compress])
        #expect(!some.isEmpty)
        #expect(try FileSystem.flags(descriptor: file.raw).contains(.noDump) || some.contains(.noDump))
        // Where no flags exist at all.
        let null = try FileDescriptor.open("/dev/null", .readOnly)
        #expect(try FileSystem.flags(descriptor: null.raw) == [])
    }
}
