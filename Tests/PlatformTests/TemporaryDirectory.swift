import Foundation
import Platform

/// A directory of a test's own, gone with the value.
final class TemporaryDirectory: Sendable {
    let path: String
    let raw: Int32

    init(in parent: String = NSTemporaryDirectory()) throws {
        path = "\(parent)/holdfast-platform-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        raw = try FileDescriptor.open(Array(path.utf8), [.readOnly, .directory]).release()
    }

    deinit {
        _ = FileDescriptor(owning: raw)
        // rm does what FileManager does not: names that are not UTF-8, paths longer than PATH_MAX.
        run(["chattr", "-R", "-ai", path])
        run(["rm", "-rf", path])
    }

    /// Makes a file with the given content.
    func write(_ name: String, _ content: [UInt8] = []) throws {
        let file = try FileDescriptor.open(at: raw, name, [.writeOnly, .create, .truncate], mode: 0o644)
        try file.writeAll(content)
        try file.close()
    }

    func read(_ name: String) throws -> [UInt8] {
        try FileDescriptor.open(at: raw, name, .readOnly).readAll(limit: 1 << 30)
    }
}

/// Runs a tool and returns its exit status and what it printed.
@discardableResult
func run(_ arguments: [String], input: [UInt8]? = nil) -> (status: Int32, output: String) {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = arguments
    let output = Pipe()
    process.standardOutput = output
    process.standardError = FileHandle.nullDevice
    process.standardInput = FileHandle.nullDevice
    do { try process.run() } catch { return (-1, "\(error)") }
    let data = output.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    return (process.terminationStatus, String(decoding: data, as: UTF8.self))
}

/// Numbers that a printed seed brings back.
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64
    init(seed: UInt64) { state = seed }
    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}
