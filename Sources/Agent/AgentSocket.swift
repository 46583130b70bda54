import Capture
import Model
import Platform
import Synchronization
package import Vault

/// Questions to an agent that runs, through a socket in its state directory, which only its owner may enter: one line of
/// JSON each way.
package enum AgentSocket {
    /// The socket's name in the state directory.
    package static let name = "agent.socket"
    private static let maximumLength = 1 << 20

    /// Asks the agent of a state directory.
    ///
    /// - Parameter question: with a `command`: `status` or `backup`.
    /// - Throws: `notFound` when no agent runs there; what the agent answers as an error.
    package static func ask(_ question: [String: JSONValue], state: [UInt8]) throws -> JSONFields {
        let answer: [UInt8]
        do {
            let socket = try LocalSocket.connect(directory: state, name: name)
            try socket.writeAll(JSONValue.object(question).encoded() + [UInt8(ascii: "\n")])
            answer = try socket.readAll(limit: maximumLength)
        } catch {
            throw HoldfastError(
                .notFound, "No agent runs on this machine with the state directory \(TreePath.display(state)).",
                context: ["hint": "Start one: holdfast agent run --protect PATH --vault LOCATION"], cause: error)
        }
        let fields = try JSONFields(parsing: answer, document: "the agent's answer")
        if fields.has("error") {
            throw HoldfastError(
                HoldfastError.Code(fields.has("code") ? try fields.string("code") : "io"), try fields.string("error"))
        }
        return fields
    }

    /// Serves questions until `stop`.
    package final class Server: Sendable {
        private let listener: LocalListener
        private let wakeUp: WakeUp
        private let isStopping = Atomic<Bool>(false)
        private let thread = Mutex<WorkerThread?>(nil)

        /// - Parameter answer: called on a thread of its own for each question.
        package init(
            state: [UInt8], _ answer: @escaping @Sendable (JSONFields) throws -> [String: JSONValue]
        ) throws {
            do throws(Errno) {
                listener = try LocalListener(directory: state, name: AgentSocket.name)
                wakeUp = try WakeUp()
                let worker = try WorkerThread(name: "socket") { [self] in run(answer) }
                thread.withLock { $0 = worker }
            } catch {
                throw HoldfastError(
                    .io, "the agent's socket in \(TreePath.display(state)) cannot be made: \(error)", cause: error)
            }
        }

        package func stop() {
            isStopping.store(true, ordering: .releasing)
            wakeUp.signal()
            thread.withLock { thread in
                defer { thread = nil }
                return thread
            }?.join()
        }

        private func run(_ answer: @escaping @Sendable (JSONFields) throws -> [String: JSONValue]) {
            while true {
                let happened = try? Poll.wait(
                    for: [(wakeUp.raw, .readable), (listener.raw, .readable)], milliseconds: nil)
                if isStopping.load(ordering: .acquiring) { return }
                guard happened?.last == true, let socket = try? listener.accept(seconds: 60) else { continue }
                let connection = Connection(socket)
                // One that takes long must not keep the others waiting.
                _ = try? WorkerThread(name: "answer") { connection.serve(answer) }
            }
        }
    }

    private final class Connection: Sendable {
        private let socket: FileDescriptor

        init(_ socket: consuming FileDescriptor) { self.socket = socket }

        func serve(_ answer: (JSONFields) throws -> [String: JSONValue]) {
            var reply: [String: JSONValue]
            do {
                reply = try answer(try JSONFields(parsing: try question(), document: "the question"))
            } catch {
                let known = error as? HoldfastError
                reply = [
                    "error": .string(known?.message ?? String(describing: error)),
                    "code": .string(known?.code.description ?? "io"),
                ]
            }
            try? socket.writeAll(JSONValue.object(reply).encoded())
        }

        private func question() throws -> [UInt8] {
            var bytes: [UInt8] = []
            let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 4096, alignment: 8)
            defer { buffer.deallocate() }
            while bytes.count < 65_536 {
                let count = try socket.read(into: buffer)
                bytes.append(contentsOf: buffer[..<count])
                if count == 0 || bytes.last == UInt8(ascii: "\n") { break }
            }
            return bytes
        }
    }
}

extension AgentStatus {
    /// For the socket; times and durations in nanoseconds.
    package var fields: [String: JSONValue] {
        func number(_ value: some BinaryInteger) -> JSONValue { .integer(Int64(clamping: value)) }
        var fields: [String: JSONValue] = [
            "activity": .string(activity.rawValue),
            "paths": .array(roots.map { .string($0.displayText) }),
            "lag": .integer(lag), "waiting": number(waiting), "points": number(points), "scans": number(scans),
            "scan_reasons": .array(scanReasons.map { .string($0) }),
            "not_kept_count": number(notKeptCount),
            "spooled": .bool(spooled), "spool_bytes": number(spoolBytes), "spool_full": .bool(isSpoolFull),
            "file_systems": .array(
                fileSystems.map { system in
                    var row: [String: JSONValue] = [
                        "mount_point": .string(system.mountPoint.displayText), "kind": .string(system.type),
                        "overflows": number(system.overflows),
                    ]
                    switch system.mode {
                    case .events: row["mode"] = .string("events")
                    case .scan(let reason):
                        row["mode"] = .string("scan")
                        row["reason"] = .string(reason)
                    }
                    return .object(row)
                }),
            "not_kept": .array(
                notKept.map { warning in
                    .object([
                        "path": .string("/" + TreePath.display(warning.path)), "text": .string(warning.text),
                    ])
                }),
        ]
        if let statistics {
            fields["files"] = number(statistics.files)
            fields["bytes"] = number(statistics.bytes)
            fields["entries"] = number(statistics.entries)
        }
        if let lastPoint {
            fields["last_point"] = .string(lastPoint.point.hex)
            fields["last_number"] = number(lastPoint.number)
        }
        if let lastTime { fields["last_time"] = .integer(lastTime.nanoseconds) }
        if let problem { fields["problem"] = .string(problem) }
        return fields
    }
}
