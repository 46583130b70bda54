import Foundation
import Recovery

/// Programs of others.
enum Tool {
    /// What other programs say is in an archive.
    static func names(in bytes: [UInt8], _ format: PointArchive.Format) -> [String] {
        let file = FileManager.default.temporaryDirectory.appendingPathComponent("holdfast-\(UUID().uuidString)")
        defer { try? FileManager.default.removeItem(at: file) }
        try? Data(bytes).write(to: file)
        let command =
            switch format {
            case .zip:
                [
                    "python3", "-c", "import sys,zipfile; print('\\n'.join(zipfile.ZipFile(sys.argv[1]).namelist()))",
                    file.path,
                ]
            case .tarZstd: ["tar", "--zstd", "-tf", file.path]
            }
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = command
        let pipe = Pipe()
        process.standardOutput = pipe
        guard (try? process.run()) != nil else { return ["(no such program)"] }
        let text = String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        return text.split(separator: "\n").map(String.init).sorted()
    }
}
