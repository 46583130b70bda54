import Foundation
import Model
import TestSupport
import Testing

@testable import Recovery

@Suite("Archives in ZIP format")
struct ZipWriterTests {
    private let time = CivilTime(secondsOnClock: 1_795_000_000)

    /// What Python's own reader says of an archive.
    private func read(_ archive: [UInt8]) throws -> String {
        let file = FileManager.default.temporaryDirectory.appendingPathComponent("holdfast-\(UUID().uuidString).zip")
        defer { try? FileManager.default.removeItem(at: file) }
        try Data(archive).write(to: file)
        let script = """
            import sys, zipfile
            with zipfile.ZipFile(sys.argv[1]) as z:
                print(z.testzip())
                for i in z.infolist():
                    print(i.filename, oct(i.external_attr >> 16), i.date_time, len(z.read(i)), i.CRC)
            """
        let outcome = Tool.run(["python3", "-c", script, file.path])
        #expect(outcome.status == 0, "\(outcome)")
        return outcome.text
    }

    @Test("directories, files, links and names of other scripts are read by others as they were written")
    func contents() throws {
        var archive: [UInt8] = []
        let output: ZipWriter.Output = { archive += Array($0) }
        var writer = ZipWriter()
        try writer.addDirectory(Array("folder".utf8), mode: 0o750, time: time, to: output)
        let text = Array("contents\n".utf8)
        try writer.addFile(Array("folder/größe.txt".utf8), mode: 0o640, time: time, size: 9, to: output) { write in
            try text[..<4].withUnsafeBytes { try write($0) }
            try text[4...].withUnsafeBytes { try write($0) }
        }
        try writer.addFile(Array("empty".utf8), mode: 0o600, time: time, size: 0, to: output) { _ in }
        try writer.addLink(Array("link".utf8), target: Array("folder".utf8), time: time, to: output)
        try writer.finish(to: output)
        let lines = try read(archive).split(separator: "\n")
        #expect(lines.first == "None")
        #expect(lines.contains { $0.hasPrefix("folder/ 0o40750") })
        #expect(lines.contains { $0.hasPrefix("folder/größe.txt 0o100640") && $0.contains(" 9 ") })
        #expect(lines.contains { $0.hasPrefix("empty 0o100600") && $0.hasSuffix(" 0 0") })
        #expect(lines.contains { $0.hasPrefix("link 0o120777") && $0.contains(" 6 ") })
    }

    @Test("more than 65,535 names are read by others")
    func many() throws {
        var archive: [UInt8] = []
        let output: ZipWriter.Output = { archive += Array($0) }
        var writer = ZipWriter()
        for index in 0..<70_000 {
            try writer.addFile(Array("\(index)".utf8), mode: 0o600, time: time, size: 0, to: output) { _ in }
        }
        try writer.finish(to: output)
        #expect(try read(archive).split(separator: "\n").count == 70_001)
    }

    @Test("a file that is not as long as was said ends the archive")
    func wrongLength() {
        for size: UInt64 in [2, 4] {
            var writer = ZipWriter()
            #expect(throws: HoldfastError.self) {
                try writer.addFile(Array("a".utf8), mode: 0, time: time, size: size, to: { _ in }) { write in
                    try [UInt8(1), 2, 3].withUnsafeBytes { try write($0) }
                }
            }
        }
    }
}
