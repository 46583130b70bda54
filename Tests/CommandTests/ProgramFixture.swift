import Foundation
import Testing

/// Runs the program that was built beside the tests, as a user would.
struct ProgramFixture {
    struct Result {
        var status: Int32
        var output: [UInt8]
        var error: String
        var text: String { String(decoding: output, as: UTF8.self) }
        var lines: [String] { text.split(separator: "\n").map(String.init) }
    }

    /// A directory of its own, removed by `close`.
    let directory: URL
    /// What the program is told about its environment.
    var environment: [String: String]

    init() throws {
        directory = URL(fileURLWithPath: NSTemporaryDirectory())
            .appendingPathComponent("holdfast-command-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        environment = [
            "PATH": "/usr/bin:/bin", "HOME": directory.path, "TZ": "Europe/Berlin", "LC_ALL": "C.UTF-8",
            "COLUMNS": "100",
            "HOLDFAST_STATE": directory.appendingPathComponent("state").path,
        ]
    }

    func close() { try? FileManager.default.removeItem(at: directory) }

    /// The path of the program.
    static let program: URL = {
        var folder = URL(fileURLWithPath: CommandLine.arguments[0]).resolvingSymlinksInPath()
            .deletingLastPathComponent()
        for _ in 0..<4 {
            let candidate = folder.appendingPathComponent("holdfast")
            if FileManager.default.isExecutableFile(atPath: candidate.path) { return candidate }
            folder = folder.deletingLastPathComponent()
        }
        return folder.appendingPathComponent("holdfast")
    }()

    /// Runs the program to its end; standard input is empty.
    @discardableResult
    func run(_ arguments: String...) throws -> Result { try run(arguments) }

    func run(_ arguments: [String]) throws -> Result {
        let process = Process()
        process.executableURL = Self.program
        process.arguments = arguments
        process.environment = environment
        process.currentDirectoryURL = directory
        process.standardInput = FileHandle.nullDevice
        // Files instead of pipes: no reader that has to keep up.
        let output = directory.appendingPathComponent(".output-\(UUID().uuidString)")
        let error = directory.appendingPathComponent(".error-\(UUID().uuidString)")
        for file in [output, error] { try Data().write(to: file) }
        process.standardOutput = try FileHandle(forWritingTo: output)
        process.standardError = try FileHandle(forWritingTo: error)
        try process.run()
        process.waitUntilExit()
        defer {
            for file in [output, error] { try? FileManager.default.removeItem(at: file) }
        }
        return Result(
            status: process.terminationReason == .exit ? process.terminationStatus : -process.terminationStatus,
            output: Array(try Data(contentsOf: output)),
            error: String(decoding: try Data(contentsOf: error), as: UTF8.self))
    }

    /// The objects that a command printed with `--json`.
    static func objects(_ result: Result) throws -> [[String: Any]] {
        try result.lines.map { line in
            let object = try JSONSerialization.jsonObject(with: Data(line.utf8))
            return try #require(object as? [String: Any])
        }
    }
}
