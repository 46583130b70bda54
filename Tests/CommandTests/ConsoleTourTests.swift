import Foundation
import Testing

@Suite("The console in a browser", .serialized)
struct ConsoleTourTests {
    @Test("every page and every task, on a desktop and a phone, light and dark, with nothing wrong")
    func tour() throws {
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        let output = FileManager.default.temporaryDirectory.appendingPathComponent("tour-\(UUID().uuidString)")
        _ = FileManager.default.createFile(atPath: output.path, contents: nil)
        defer { try? FileManager.default.removeItem(at: output) }
        let process = Process()
        process.executableURL = root.appendingPathComponent("scripts/console-tour")
        process.arguments = ["--holdfast", ProgramFixture.program.path]
        process.standardOutput = try FileHandle(forWritingTo: output)
        process.standardError = try FileHandle(forWritingTo: output)
        process.standardInput = FileHandle.nullDevice
        try process.run()
        process.waitUntilExit()
        let text = try String(contentsOf: output, encoding: .utf8)
        if process.terminationStatus == 77 {
            print("There is no Chromium: \(text)")
            return
        }
        #expect(process.terminationStatus == 0, "\(text)")
    }
}
