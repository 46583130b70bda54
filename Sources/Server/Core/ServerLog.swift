import Foundation
import Glibc
package import Logging
import Model
import Vault

/// How the log is written.
package enum ServerLogFormat: String, Sendable, CaseIterable {
    /// For people and for the journal, which adds the time.
    case text
    /// One object a line, with the time, for programs that collect logs.
    case json
}

/// Writes the server's log to standard error, one line for each event. A line is one write: lines of several threads do not
/// mix.
package struct ServerLog: LogHandler {
    package var metadata: Logger.Metadata = [:]
    package var logLevel: Logger.Level
    private let label: String
    private let format: ServerLogFormat
    private let write: @Sendable (String) -> Void

    package static func logger(
        _ label: String = "holdfast.server", format: ServerLogFormat, level: Logger.Level = .notice,
        write: @escaping @Sendable (String) -> Void = ServerLog.toStandardError
    ) -> Logger {
        Logger(label: label) { ServerLog(label: $0, format: format, level: level, write: write) }
    }

    private init(
        label: String, format: ServerLogFormat, level: Logger.Level, write: @escaping @Sendable (String) -> Void
    ) {
        self.label = label
        self.format = format
        self.write = write
        logLevel = level
    }

    package subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    package static let toStandardError: @Sendable (String) -> Void = { line in
        var bytes = Array(line.utf8)
        bytes.append(UInt8(ascii: "\n"))
        var offset = 0
        while offset < bytes.count {
            let count = bytes[offset...].withUnsafeBytes { Glibc.write(2, $0.baseAddress, $0.count) }
            if count < 0, errno == EINTR { continue }
            // A log that cannot be written must not stop the server.
            if count <= 0 { return }
            offset += count
        }
    }

    package func log(event: LogEvent) {
        var all = metadata
        for (name, value) in event.metadata ?? [:] { all[name] = value }
        switch format {
        case .json:
            var fields: [String: JSONValue] = [
                "level": .string(event.level.rawValue), "logger": .string(label),
                "message": .string(ServerLog.clean(event.message.description)),
                "time": .string(Date().ISO8601Format(.init(includingFractionalSeconds: true))),
            ]
            for (name, value) in all where fields[name] == nil {
                fields[name] = .string(ServerLog.clean(value.description))
            }
            write(String(decoding: JSONValue.object(fields).encoded(), as: UTF8.self))
        case .text:
            var line = "holdfast: \(event.level.rawValue): \(ServerLog.clean(event.message.description))"
            for (name, value) in all.sorted(by: { $0.key < $1.key }) {
                line += " \(name)=\(ServerLog.clean(value.description))"
            }
            write(line)
        }
    }

    /// What others sent must not begin a new line or move the cursor of who reads the log.
    private static func clean(_ text: String) -> String {
        String(
            String.UnicodeScalarView(
                text.unicodeScalars.prefix(2_000).map { $0.value < 0x20 || $0.value == 0x7F ? " " : $0 }))
    }
}
