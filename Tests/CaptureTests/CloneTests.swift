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
        arguments: [LoopFileSystem.Kind.xfs])
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
}
