import Foundation
import Platform
import Testing

@Suite struct FileDescriptorTests {
    let directory: TemporaryDirectory
    init() throws { directory = try TemporaryDirectory() }

    @Test("what is written at offsets is read back, holes as zeros, and the end is short")
    func positions() throws {
        let file = try FileDescriptor.open(at: directory.raw, "f", [.readWrite, .create])
        try [1, 2, 3].withUnsafeBytes { (bytes: UnsafeRawBufferPointer) throws in
            try file.writeAll(UnsafeRawBufferPointer(rebasing: bytes[..<3]), at: 10)
        }
        var buffer = [UInt8](repeating: 9, count: 20)
        let count = try buffer.withUnsafeMutableBytes { try file.readFully(into: $0, at: 8) }
        #expect(count == 5)
        #expect(buffer[..<3] == [0, 0, 1])
        try file.truncate(to: 4)
        #expect(try file.status().size == 4)
        try file.sync()
        try file.syncData()
        try file.close()
    }

    @Test("a pipe is read to its end although it comes in pieces")
    func shortReads() throws {
        let ends = try FileDescriptor.pipe()
        let reading = FileDescriptor(owning: ends.reading)
        let bytes = (0..<500_000).map { UInt8(truncatingIfNeeded: $0 &* 31) }
        let writer = try WorkerThread(name: "writer") {
            let writing = FileDescriptor(owning: ends.writing)
            // Larger than a pipe's buffer: each write is cut short by the kernel.
            try? writing.writeAll(bytes)
        }
        var buffer = [UInt8](repeating: 0, count: 600_000)
        let count = try buffer.withUnsafeMutableBytes { try reading.readFully(into: $0) }
        writer.join()
        #expect(count == bytes.count)
        #expect(Array(buffer[..<count]) == bytes)
    }

    @Test("reading everything stops at the limit")
    func limit() throws {
        try directory.write("f", [UInt8](repeating: 7, count: 100_000))
        #expect(try directory.read("f").count == 100_000)
        #expect(throws: Errno.tooLarge) {
            try FileDescriptor.open(at: directory.raw, "f", .readOnly).readAll(limit: 99_999)
        }
    }

    @Test("the descriptor is closed at the end of its life, and release keeps it open")
    func lifetime() throws {
        let number: Int32
        do {
            let file = try FileDescriptor.open(at: directory.raw, ".", [.readOnly, .directory])
            number = file.raw
            #expect(try FileSystem.status(at: number, "").kind == .directory)
        }
        #expect(throws: Errno.self) {
            // Another test's thread may have taken the number meanwhile; then it is not this directory.
            let status = try FileSystem.status(at: number, "")
            if try !status.isSameFile(as: FileSystem.status(at: directory.raw, "")) { throw Errno.badDescriptor }
        }
        let kept = try FileDescriptor.open(at: directory.raw, ".", [.readOnly, .directory]).release()
        #expect(try FileSystem.status(at: kept, "").kind == .directory)
        try FileDescriptor(owning: kept).close()
    }

    @Test("a link in the last place is refused, a FIFO does not block, a missing file says so")
    func opening() throws {
        try directory.write("file")
        try FileSystem.makeSymbolicLink(to: "file", at: directory.raw, "link")
        try FileSystem.makeNode(at: directory.raw, "fifo", kind: .fifo, mode: 0o600)
        #expect(throws: Errno.symbolicLink) { try FileDescriptor.open(at: directory.raw, "link", .readOnly).close() }
        #expect(throws: Errno.symbolicLink) { try FileDescriptor.openForReading(at: directory.raw, "link").close() }
        try FileDescriptor.open(at: directory.raw, "link", [.readOnly, .followLink]).close()
        try FileDescriptor.openForReading(at: directory.raw, "fifo").close()
        #expect(throws: Errno.noEntry) { try FileDescriptor.openForReading(at: directory.raw, "none").close() }
        #expect(throws: Errno.notDirectory) { try FileDescriptor.openDirectory(at: directory.raw, "file").close() }
        #expect(throws: Errno.invalidArgument) { try FileDescriptor.open([0x61, 0, 0x62], .readOnly).close() }
    }

    @Test("reading for a backup leaves the access time alone")
    func accessTime() throws {
        try directory.write("f", [1, 2, 3])
        let old = FileInstant(seconds: 1_000_000, nanoseconds: 5)
        try FileSystem.setTimes(
            at: directory.raw, "f", modified: FileInstant(seconds: 2_000_000, nanoseconds: 0), accessed: old)
        let file = try FileDescriptor.openForReading(at: directory.raw, "f")
        #expect(try file.readAll(limit: 10) == [1, 2, 3])
        #expect(try FileSystem.status(at: directory.raw, "f").accessed == old)
    }

    @Test("errors read as words with their symbol")
    func errors() {
        #expect(Errno.accessDenied.description == "permission denied (EACCES)")
        #expect(Errno.inputOutput.description.hasSuffix("(EIO)"))
        #expect(Errno(code: 9_999).description == "unknown error (errno 9999)")
        #expect(Errno.noSpace.isNoSpace && Errno.quota.isNoSpace && Errno.notSupported.isUnsupported)
        #expect(Errno.notSupported.name == "EOPNOTSUPP" || Errno.notSupported.name == "ENOTSUP")
    }

    @Test("data ranges of a sparse file are found, and a punched hole is one")
    func sparse() throws {
        let file = try FileDescriptor.open(at: directory.raw, "sparse", [.readWrite, .create])
        let mebibyte = 1 << 20
        try file.truncate(to: UInt64(10 * mebibyte))
        let block = [UInt8](repeating: 1, count: mebibyte)
        try block.withUnsafeBytes { try file.writeAll($0, at: UInt64(2 * mebibyte)) }
        try block.withUnsafeBytes { try file.writeAll($0, at: UInt64(6 * mebibyte)) }
        func ranges() throws -> [FileDescriptor.DataRange] {
            var found: [FileDescriptor.DataRange] = []
            var position: UInt64 = 0
            while let range = try file.nextData(from: position, size: UInt64(10 * mebibyte)) {
                found.append(range)
                position = range.offset + range.length
            }
            return found
        }
        let before = try ranges()
        guard before.count == 2 else {
            print("skipped: the temporary directory's file system keeps no holes")
            return
        }
        #expect(before.map(\.offset) == [UInt64(2 * mebibyte), UInt64(6 * mebibyte)])
        #expect(before.map(\.length) == [UInt64(mebibyte), UInt64(mebibyte)])
        if try file.punchHole(offset: UInt64(2 * mebibyte), length: UInt64(mebibyte)) {
            #expect(try ranges().map(\.offset) == [UInt64(6 * mebibyte)])
        }
        try file.reserve(length: UInt64(12 * mebibyte))
        #expect(try file.status().size == UInt64(10 * mebibyte))
        let copy = try FileDescriptor.open(at: directory.raw, "copy", [.readWrite, .create])
        #expect(
            try copy.copyRange(from: file, offset: UInt64(6 * mebibyte), to: 5, length: 1 << 30) == UInt64(4 * mebibyte)
        )
        #expect(try copy.status().size == UInt64(4 * mebibyte + 5))
    }

    @Test("the space of the file system makes sense")
    func space() throws {
        let space = try FileSystem.space(descriptor: directory.raw)
        #expect(space.total >= space.free && space.free >= space.available && space.total > 0)
        #expect(space.nameLimit >= 255)
        let proc = try FileDescriptor.open("/proc", [.readOnly, .directory])
        #expect(try FileSystem.space(descriptor: proc.raw).typeName == "proc")
        #expect(try FileSystem.space(descriptor: proc.raw).isPseudo)
    }
}
