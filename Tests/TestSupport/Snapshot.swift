import Foundation

/// What a golden file and a program disagree about.
package struct SnapshotMismatch: Error, CustomStringConvertible {
    package let description: String
}

/// Compares `text` with the golden file `name` in the folder `Golden` beside the calling test.
///
/// With `RECORD_GOLDEN` set, or when there is no such file, writes the file and then fails, so that a recording run is
/// never mistaken for a passing one.
package func assertSnapshot(_ text: String, named name: String, file: String = #filePath) throws {
    let golden = URL(fileURLWithPath: file).deletingLastPathComponent()
        .appendingPathComponent("Golden").appendingPathComponent(name)
    let expected = try? String(contentsOf: golden, encoding: .utf8)
    let isRecording = ProcessInfo.processInfo.environment["RECORD_GOLDEN"] != nil
    if let expected, !isRecording {
        if expected == text { return }
        throw SnapshotMismatch(description: difference(expected, text, golden.path))
    }
    if expected == text { return }
    try FileManager.default.createDirectory(
        at: golden.deletingLastPathComponent(), withIntermediateDirectories: true)
    try text.write(to: golden, atomically: true, encoding: .utf8)
    throw SnapshotMismatch(
        description: "Recorded \(golden.path). Read it, then run the test again without RECORD_GOLDEN.")
}

/// The first line that differs, with both readings.
private func difference(_ expected: String, _ actual: String, _ path: String) -> String {
    let expectedLines = expected.split(separator: "\n", omittingEmptySubsequences: false)
    let actualLines = actual.split(separator: "\n", omittingEmptySubsequences: false)
    for index in 0..<max(expectedLines.count, actualLines.count) {
        let golden = index < expectedLines.count ? String(expectedLines[index]) : "(end of file)"
        let text = index < actualLines.count ? String(actualLines[index]) : "(end of text)"
        if golden != text {
            return """
                \(path):\(index + 1) differs.
                golden: \(golden)
                now:    \(text)
                The whole text now:
                \(actual)
                """
        }
    }
    return "\(path) differs."
}
