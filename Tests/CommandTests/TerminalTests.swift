import Foundation
import Model
import Testing

@testable import holdfast

@Suite("What the terminal shows")
struct TerminalTests {
    @Test("tables are as wide as their contents, numbers to the right")
    func table() {
        var table = Table(("id", .left), ("size", .right), ("label", .left))
        table.add("3fa9", "1.2 GB", "before the update")
        table.add("b", "17 B", "日本")
        table.add("c")
        #expect(
            table.lines() == [
                "id      size  label", "3fa9  1.2 GB  before the update", "b       17 B  日本", "c",
            ])
    }

    @Test(
        "long texts lose their middle",
        arguments: [(40, "usr/share/doc/package/copyright"), (20, "usr/s...ge/copyright"), (3, "...")])
    func shorten(width: Int, expected: String) {
        let text = Table.shorten("usr/share/doc/package/copyright", to: width)
        #expect(text == expected)
        #expect(Table.width(text) <= width)
    }

    @Test("JSON has sorted keys, escapes and plain numbers")
    func json() throws {
        let value = JSON.object([
            "b": .string("a\"\\\n\u{1}\u{7F}é日"), "a": .array([.null, .bool(true), .integer(-5), .unsigned(.max)]),
            "c": .number(1.5), "d": .number(-0.25), "e": .number(.infinity), "f": .number(3), "g": .object([:]),
        ])
        #expect(
            value.line
                == #"{"a":[null,true,-5,18446744073709551615],"b":"a\"\\\n\u0001\u007fé日","c":1.5,"d":-0.25,"e":null,"f":3,"g":{}}"#
        )
        let parsed = try JSONSerialization.jsonObject(with: Data(value.line.utf8)) as? [String: Any]
        #expect(parsed?["b"] as? String == "a\"\\\n\u{1}\u{7F}é日")
    }

    @Test("paths that are not UTF-8 keep their bytes in JSON")
    func jsonPaths() throws {
        var fields: [String: JSON] = [:]
        fields.setPath("path", try #require(TreePath("etc/fstab")))
        #expect(JSON.object(fields).line == #"{"path":"/etc/fstab"}"#)
        fields.setPath("path", TreePath(unchecked: [0x61, 0xFF]))
        #expect(JSON.object(fields).line == #"{"path":"/a\\xff","path_hex":"2f61ff"}"#)
    }

    @Test("arguments keep their bytes on the way through the parser")
    func argumentBytes() {
        var generator = SystemRandomNumberGenerator()
        for _ in 0..<2_000 {
            let bytes = (0..<Int.random(in: 0...12)).map { _ in UInt8.random(in: 0...255, using: &generator) }
            #expect(ArgumentBytes.decode(ArgumentBytes.encode(bytes)) == bytes, "\(bytes)")
        }
        #expect(ArgumentBytes.encode(Array("/home/é".utf8)) == "/home/é")
        // A name that looks like an escape is escaped itself.
        let sly = Array("\u{10FEFF}".utf8)
        #expect(ArgumentBytes.decode(ArgumentBytes.encode(sly)) == sly)
    }

    @Test("the progress line shows rate and what remains, and fits")
    func progress() {
        var meter = ProgressMeter(now: 0)
        var progress = Progress(
            phase: "reading", totalFiles: 2_000, totalBytes: 3_300_000_000, item: "usr/lib/swift/x.so")
        for second in 1...10 {
            progress.files = UInt64(second) * 100
            progress.bytes = UInt64(second) * 150_000_000
            meter.update(progress, now: Int64(second) * 1_000_000_000)
        }
        #expect(abs(meter.bytesPerSecond - 150e6) < 1e6)
        #expect(
            meter.line(progress, now: 10_000_000_000, width: 120)
                == "reading  1,000 of 2,000 files  1.50 GB  150 MB/s  45.5 %  12 s left  usr/lib/swift/x.so")
        for width in [10, 30, 60, 80] {
            #expect(Table.width(meter.line(progress, now: 10_000_000_000, width: width)) <= width)
        }
        #expect(meter.remaining(progress, now: 1_000_000_000) == nil)
    }

    @Test("zones of the system's files are read; names that could leave the folder are not")
    func zones() {
        #expect(LocalZone.load("../../../etc/passwd") == nil)
        #expect(LocalZone.load("") == nil)
        #expect(LocalZone.load("No/Such") == nil)
        #expect(LocalZone.load("UTC") == .utc)
    }
}
