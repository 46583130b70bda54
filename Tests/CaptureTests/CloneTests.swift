import Foundation
import Model
import Platform
import Synchronization
import TestSupport
import Testing
import Vault

@testable import Capture

@Suite("Files that go on changing", .enabled(if: geteuid() == 0))
struct CloneTests {
    /// Writes a whole file of one byte after the other over itself, again and again, each time in one call.
    private func rewriting(_ path: String, length: Int, _ body: () throws -> Void) throws {
        let isDone = Monitor(false)
        let file = Glibc.open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o644)
        let first = [UInt8](repeating: 1, count: length)
        #expect(pwrite(file, first, length, 0) == length)
        let thread = try WorkerThread(name: "rewriting") {
            var value: UInt8 = 1
            while !isDone.withLock({ $0 }) {
                value = value % 200 + 1
                let bytes = [UInt8](repeating: value, count: length)
                _ = pwrite(file, bytes, length, 0)
            }
        }
        defer {
            isDone.update { $0 = true }
            thread.join()
            close(file)
        }
        try body()
    }

    @Test(
        "on file systems that share blocks a large file is read as it was at one moment",
        arguments: [LoopFileSystem.Kind.xfs, .btrfs])
    func oneMoment(_ kind: LoopFileSystem.Kind) throws {
        guard let disk = LoopFileSystem.make(kind, megabytes: 512) else { return }
        let tree = "/" + disk.path.split(separator: "/").joined(separator: "/") + "/kept"
        mkdir(tree, 0o755)
        let fixture = try BackupFixture(tree: tree)
        try rewriting(tree + "/image", length: 6 << 20) {
            for _ in 0..<4 {
                let report = try fixture.backup().report
                #expect(report.warnings.isEmpty, "\(report.warnings)")
                let entry = try fixture.entries(report.point)[TreePath(tree + "/image")!.key]
                #expect(entry?.remarks == [])
                let read = try fixture.content(try fixture.reader(report.point), "image")
                let bytes = try #require(read)
                #expect(bytes.count == 6 << 20 && Set(bytes).count == 1)
            }
        }
        // Nothing stays behind.
        #expect(try FileManager.default.contentsOfDirectory(atPath: tree) == ["image"])
    }

    @Test("where nothing can be cloned a file is read as it is")
    func elsewhere() throws {
        let fixture = try BackupFixture()
        let bytes = SeededGenerator.some(3 << 20)
        try fixture.write("image", bytes)
        let report = try fixture.backup().report
        #expect(try fixture.content(try fixture.reader(report.point), "image") == bytes)
        #expect(report.warnings.isEmpty)
    }

    @Test("nothing is cloned where what is written meanwhile could fill the disk")
    func room() throws {
        #expect(CloneRoom.hasRoom(for: 10, available: 10_240))
        #expect(!CloneRoom.hasRoom(for: 10, available: 10_239))
        #expect(!CloneRoom.hasRoom(for: .max, available: .max))
        #expect(CloneRoom.hasRoom(for: 0, available: 0))
    }

    @Test("a file that cannot be cloned does not keep others from it")
    func oneCannot() throws {
        guard let disk = LoopFileSystem.make(.xfs, megabytes: 512) else { return }
        let path = disk.path + "/image"
        #expect(FileManager.default.createFile(atPath: path, contents: Data(SeededGenerator.some(2 << 20))))
        let whole = DirectoryHandle(try FileDescriptor.open(Array(path.utf8), .readOnly))
        let status = try whole.descriptor.status()
        // Of a directory nothing can be cloned; it stands for a file without copy-on-write.
        let other = DirectoryHandle(try FileDescriptor.open(Array(disk.path.utf8), [.readOnly, .directory]))
        let room = CloneRoom(nil)
        #expect(room.clone(of: other, status) == nil)
        #expect(room.clone(of: whole, status) != nil)
        // Too little room for it is no answer for all either.
        var large = status
        large.blocks = 1 << 40
        #expect(room.clone(of: whole, large) == nil)
        #expect(room.clone(of: whole, status) != nil)
    }
}
